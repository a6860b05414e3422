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
from dssm_lightning.data.interactions import Interactions
from dssm_lightning.data.negatives import Hard
from dssm_lightning.distributed import Pool
from dssm_lightning.losses import SampledSoftmax, TripletMargin
from dssm_lightning.memory import Memory
from dssm_lightning.mining import mine
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
    "memory": lambda: SampledSoftmax(repeats="inclusion"),
}
ALONE = 1  # a row whose query likes the whole corpus: it has no negative, and no weight


class Model(nn.Module):
    """Two small towers and a learnt scale."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.query = nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, WIDTH))
        self.candidate = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, WIDTH))
        self.scorer = Dot(logit_scale=3.0, learnable=True)
        self.memory = Memory(2 * CORPUS, WIDTH)

    def forward(self, batch: Batch, loss: nn.Module, gather: bool, remember: bool = False) -> Tensor:
        """The mean loss as ``TwoTower.training_step`` takes it."""
        query = nn.functional.normalize(self.query(batch.query["x"]), dim=-1)
        embedding = nn.functional.normalize(self.candidate(batch.candidates.features["x"]), dim=-1)
        pool = Pool(embedding, *batch.candidates[1:])
        memory = self.memory if remember else None
        losses, compared, _ = per_query_loss(
            batch, query, pool, self.scorer, loss, gather=gather, chunk_size=None, memory=memory
        )
        assert compared.tolist() == [row != ALONE or loss.symmetric for row in batch.row.tolist()]
        weight = batch.weight * compared
        share = distributed.sum_over_ranks(weight.sum()) / distributed.world_size() if gather else weight.sum()
        return (losses * weight).sum() / share


def make_batch(rows: Tensor, proposals: float) -> Batch:
    """The rows' batch: queries, candidates, knowns and weights are functions of the row."""
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(100, 7, generator=generator)
    corpus = torch.randn(CORPUS, 4, generator=generator)
    own = torch.randint(0, CORPUS, (100,), generator=generator)
    likes = torch.randint(0, CORPUS, (100, 3), generator=generator)
    liked = [torch.arange(CORPUS) if row == ALONE else likes[row] for row in range(100)]
    known = Ragged(torch.cat(liked), torch.tensor([0, *map(len, liked)]).cumsum(0))
    weight = torch.rand(100, generator=generator) + 0.1
    frequency = torch.rand(CORPUS, generator=generator)
    ids, target = torch.unique(own[rows], return_inverse=True)
    count = torch.bincount(target, minlength=len(ids)).float()
    log_q = (proposals * frequency[ids] / frequency.sum()).log()
    candidates = Candidates({"x": corpus[ids]}, ids, count, log_q)
    return Batch({"x": query[rows]}, candidates, target, None, take(known, rows), None, weight[rows], rows)


def same_pools(rank: int, world_size: int) -> bool:
    """Whether ranks that share the mining end with the pools of one that does it all."""
    generator = torch.Generator().manual_seed(2)
    query, candidate = torch.arange(9).repeat(2), torch.randint(0, CORPUS, (18,), generator=generator)
    interactions = Interactions(query, candidate, torch.zeros(18, dtype=torch.int8), None, None, None, None)
    scores, queries = torch.randn(9, CORPUS, generator=generator), torch.arange(9)
    alone, shared = Hard(2, (1, 6)), Hard(2, (1, 6))
    for sampler in (alone, shared):
        sampler.bind(interactions, 9, CORPUS)
    alone.keep(queries, alone.choose(queries, scores), epoch=4)
    own = queries[rank::world_size].split(2)
    mine([shared], [(part, {"row": part}) for part in own], lambda features: scores[features["row"]], epoch=4)
    one, two = alone.state_dict(), shared.state_dict()
    return len(one["pools"]) > 9 and all(torch.equal(one[key], two[key]) for key in ("pools", "offsets"))


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
        model = DistributedDataParallel(Model())
        here, all_rows, remember = torch.arange(first, first + SIZES[rank]), torch.arange(total), name == "memory"
        if remember:  # one batch before, of other rows
            with torch.no_grad():
                whole(make_batch(all_rows + 20, total), make(), False, remember)
                model.module(make_batch(here + 20, total / world_size), make(), True, remember)
            whole.memory.commit()
            model.module.memory.commit()
        reference = whole(make_batch(all_rows, total), make(), False, remember)
        reference.backward()
        part = model(make_batch(here, total / world_size), make(), True, remember)
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
        print(json.dumps({"losses": report, "pools": same_pools(rank, world_size)}), flush=True)
    else:
        same_pools(rank, world_size)
    del model, part, value  # DDP's threads end with it, before gloo's
    dist.barrier()  # nobody leaves while another still talks
    dist.destroy_process_group()


if __name__ == "__main__":
    world = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OMP_NUM_THREADS"] = "1"
        mp.spawn(work, args=(world, os.path.join(folder, "store")), nprocs=world)
