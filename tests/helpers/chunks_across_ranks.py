"""Two gloo processes with batches in chunks, against one big batch; run by gradients_across_ranks.py."""

from __future__ import annotations

import copy
import json
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
import torch.distributed as dist
from helpers.chunks import LOSSES, SIZES, built
from helpers.small import small_data
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from dssm_lightning import TwoTower
from dssm_lightning.data.batch import Batch
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.losses import WARP
from dssm_lightning.models import two_tower
from dssm_lightning.utils import distributed
from dssm_lightning.utils.seeding import Counter

ROWS = (19, 14)  # of each process


class Step(nn.Module):
    """The mean loss, as in ``TwoTower.training_step``, with random weights."""

    def __init__(self, model: TwoTower) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss () of this process."""
        weight = 0.1 + batch.row.float().sin().square()
        losses = self.model.per_query_loss(batch, weight)
        if self.model.loss.compares:
            weight = weight * losses.compared
        return losses.total / distributed.sum_over_ranks(weight.sum()) * distributed.world_size()


def compared(step: nn.Module, batch: Batch, reference: nn.Module, all_rows: Batch) -> dict[str, float]:
    """Compare the loss and the gradients of all processes with a reference in one process."""
    part = step(batch)
    part.backward()
    value = distributed.sum_over_ranks(part) / distributed.world_size()
    found = gradients(step)
    expected_value = reference(all_rows)
    expected_value.backward()
    return difference(value, found, expected_value, gradients(reference))


def difference(value: Tensor, found: Tensor, expected_value: Tensor, expected: Tensor) -> dict[str, float]:
    """Return the differences of losses and of gradients."""
    return {
        "loss": abs(value.item() / expected_value.item() - 1),
        "cosine": nn.functional.cosine_similarity(found, expected, dim=0).item(),
        "norm": abs((found.norm() / expected.norm()).item() - 1),
        "gradient": expected.norm().item(),
    }


def gradients(step: nn.Module) -> Tensor:
    """Return all gradients as one vector."""
    return torch.cat([p.grad.to_dense().flatten() for p in step.parameters() if p.grad is not None])


class Alone(Step):
    """The step of a single process, although there are others."""

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss () of the batch."""
        with patch.object(distributed, "world_size", lambda: 1):
            return super().forward(batch)


def dropout(data: RetrievalDataModule, batch: Batch) -> dict[str, float]:
    """Compare chunks that are encoded again in the backward pass with chunks that are kept, in two processes."""
    found = []
    for again in (True, False):
        step = DistributedDataParallel(Step(built(data, 0.4, **SIZES)))
        used = checkpoint if again else lambda tower, features, use_reentrant: tower(features)
        with patch.object(two_tower, "checkpoint", used):
            torch.manual_seed(4 + dist.get_rank())
            value = step(batch)
            value.backward()
        found.append((value, gradients(step)))
    return difference(*found[0], *found[1])


def work(process_rank: int, world_size: int, folder: str) -> None:
    """Compare every loss, in one process; the first process prints the results."""
    data = small_data(Path(folder, str(process_rank)))
    data.prepare_data()
    data.setup("fit")
    rows = data.assembler.rows[: sum(ROWS)]
    whole = data.assembler.batch(rows, Counter(0))
    batch = data.assembler.batch(rows.split(ROWS)[process_rank], Counter(0), sum(ROWS) / 2)
    report = {}
    learnt = {"class_path": "dssm_lightning.models.scorers.Dot", "init_args": {"logit_scale": 5, "learnable": True}}
    for loss in LOSSES:
        if isinstance(loss, WARP):
            continue  # it draws, and two processes draw other numbers than one
        make = partial(copy.deepcopy, loss)
        model, plain = (built(data, 0.0, loss=make, scorer=learnt, **sizes) for sizes in (SIZES, {}))
        report[str(loss)] = compared(DistributedDataParallel(Step(model)), batch, Alone(plain), whole)
    report["dropout"] = dropout(data, batch)
    if process_rank == 0:
        print(json.dumps(report), flush=True)
