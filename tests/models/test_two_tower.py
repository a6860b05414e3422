"""Both towers and the scorer as a plain torch module, without a trainer."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from helpers.small import TOWER, small_data, small_model

from dssm_lightning import Tower
from dssm_lightning.models.fusion import Concat
from dssm_lightning.models.scorers import Dot
from dssm_lightning.models.two_tower import TwoTowerModel

BIASED = {**TOWER, "init_args": {**TOWER["init_args"], "bias": True}}


def test_plain_torch_scores_as_the_lightning_module_does(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    data.setup("fit")
    model = small_model(query_tower=BIASED, candidate_tower=BIASED)
    model.build(data.schemas)
    tower = partial(Tower, fusion=Concat, output_dim=16, bias=True)
    plain = TwoTowerModel(tower, tower, Dot(logit_scale=10))
    plain.build(data.schemas)
    assert plain.state_dict().keys() == model.state_dict().keys()
    plain.load_state_dict(model.state_dict())
    batch = next(iter(data.train_dataloader()))
    found = plain(batch.query, batch.candidates.features)
    assert found.shape == (32, len(batch.candidates.id))
    assert torch.equal(found, model(batch.query, batch.candidates.features))
    assert plain.widths == (18, 18)  # 16, the side's own bias, and the 1 for the other side's bias


def test_a_chunk_holds_at_least_one_row() -> None:
    with pytest.raises(ValueError, match="encode_chunk_size is 0"):
        TwoTowerModel(partial(Tower, fusion=Concat), None, Dot(), encode_chunk_size=0)
