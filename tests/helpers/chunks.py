"""Every loss, and a small model of large batches: for the tests of chunks."""

from __future__ import annotations

from typing import Any

import torch
from helpers.small import TOWER, small_model

from dssm_lightning import TwoTower
from dssm_lightning.losses import (
    BPR,
    GBCE,
    WARP,
    BinaryCrossEntropy,
    CosineEmbedding,
    HardestNegative,
    SampledSoftmax,
    SigLIP,
    TripletMargin,
)

LOSSES = [
    BPR(),
    TripletMargin(0.5),
    TripletMargin(0.5, "hardest"),
    TripletMargin(0.5, "semi_hard"),
    WARP(),
    HardestNegative(2),
    HardestNegative(9, margin=1.0),
    BinaryCrossEntropy(),
    GBCE(),
    CosineEmbedding(),
    SigLIP(),
    SampledSoftmax(),
    SampledSoftmax("count"),
    SampledSoftmax("count_log_q"),
    SampledSoftmax("inclusion"),
    SampledSoftmax("refined"),
    SampledSoftmax("count", symmetric=True),
]


SIZES = {"encode_chunk_size": 5, "score_chunk_size": 7}


def built(data: Any, dropout: float, **changes: Any) -> TwoTower:
    torch.manual_seed(3)
    tower = {**TOWER, "init_args": {**TOWER["init_args"], "hidden_dims": [24], "dropout": dropout}}
    model = small_model(query_tower=tower, candidate_tower=tower, **changes)
    model.build(data.schemas)
    return model
