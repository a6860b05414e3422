"""Run by test_distributed.py: W gloo processes against one big batch; prints the worst differences as JSON."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dssm_lightning import distributed
from dssm_lightning.batch import Batch, Candidates, Ragged, take
from dssm_lightning.distributed import Pool
from dssm_lightning.losses import SampledSoftmax, TripletMargin
from dssm_lightning.objective import per_query_loss
from dssm_lightning.scorers import Dot

SIZES = (7, 4, 6)  # rows of each rank: batches by query differ in size
CORPUS, WIDTH = 12, 5
LOSSES = {
    "ignore": lambda: SampledSoftmax(repeats="ignore"),
    "count": lambda: SampledSoftmax(repeats="count"),
    "log_q": lambda: SampledSoftmax(repeats="count_log_q"),
    "inclusion": lambda: SampledSoftmax(repeats="inclusion"),
    "symmetric": lambda: SampledSoftmax(symmetric=True),
    "triplet": lambda: TripletMargin(margin=0.5),
}


class Model(nn.Module):
    """Two small towers and a learnt scale."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.query = nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, WIDTH))
        self.candidate = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, WIDTH))
        self.scorer = Dot(logit_scale=3.0, learnable=True)

    def forward(self, batch: Batch, loss: nn.Module, gather: bool) -> Tensor:
        """The mean loss as ``TwoTower.training_step`` takes it."""
        query = nn.functional.normalize(self.query(batch.query["x"]), dim=-1)
        embedding = nn.functional.normalize(self.candidate(batch.candidates.features["x"]), dim=-1)
        pool = Pool(embedding, *batch.candidates[1:])
        losses = per_query_loss(batch, query, pool, self.scorer, loss, gather=gather, chunk_size=None)
        share = (
            distributed.sum_over_ranks(batch.weight.sum()) / distributed.world_size() if gather else batch.weight.sum()
        )
        return (losses * batch.weight).sum() / share


def make_batch(rows: Tensor, proposals: float) -> Batch:
    """The rows' batch: queries, candidates, knowns and weights are functions of the row."""
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(100, 7, generator=generator)
    corpus = torch.randn(CORPUS, 4, generator=generator)
    own = torch.randint(0, CORPUS, (100,), generator=generator)
    likes = torch.randint(0, CORPUS, (300,), generator=generator)
    known = Ragged(likes, torch.arange(0, 301, 3))
    weight = torch.rand(100, generator=generator) + 0.1
    frequency = torch.rand(CORPUS, generator=generator)
    ids, target = torch.unique(own[rows], return_inverse=True)
    count = torch.bincount(target, minlength=len(ids)).float()
    log_q = (proposals * frequency[ids] / frequency.sum()).log()
    candidates = Candidates({"x": corpus[ids]}, ids, count, log_q)
    return Batch({"x": query[rows]}, candidates, target, None, take(known, rows), None, weight[rows], rows)


def work(rank: int, world_size: int, store: str) -> None:
    """One rank: compare every loss's value and gradients with those of one process."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=world_size, timeout=timedelta(seconds=30)
    )
    report = {}
    first, total = sum(SIZES[:rank]), sum(SIZES[:world_size])
    for name, make in LOSSES.items():
        whole = Model()
        reference = whole(make_batch(torch.arange(total), total), make(), False)
        reference.backward()
        model = DistributedDataParallel(Model())
        part = model(make_batch(torch.arange(first, first + SIZES[rank]), total / world_size), make(), True)
        part.backward()
        value = distributed.sum_over_ranks(part) / world_size
        expected = torch.cat([p.grad.flatten() for p in whole.parameters()])
        found = torch.cat([p.grad.flatten() for p in model.module.parameters()])
        report[name] = {
            "loss": abs(value.item() - reference.item()),
            "cosine": nn.functional.cosine_similarity(found, expected, dim=0).item(),
            "norm": abs((found.norm() / expected.norm()).item() - 1),
            "gradient": expected.norm().item(),
        }
    if rank == 0:
        print(json.dumps(report), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    world = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OMP_NUM_THREADS"] = "1"
        mp.spawn(work, args=(world, os.path.join(folder, "store")), nprocs=world)
