"""Run by test_gradients_across_ranks.py: gloo processes against one process with one big batch; prints JSON lines."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import torch
import torch.nn.functional as F
from helpers import chunks_across_ranks
from helpers.ranks import fork
from helpers.teachers import Table
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dssm_lightning.data.batch import Batch, Candidates
from dssm_lightning.data.interactions import Interactions
from dssm_lightning.data.negatives import Hard, SamplerTables
from dssm_lightning.losses import (
    BPR,
    ELSA,
    GBCE,
    WARP,
    BinaryCrossEntropy,
    CosineEmbedding,
    EmbeddingMSE,
    HardestNegative,
    KLDivergence,
    Loss,
    MarginMSE,
    Matryoshka,
    Objectives,
    RatingHead,
    SampledSoftmax,
    SigLIP,
    TripletMargin,
    WeightedSum,
)
from dssm_lightning.models.embedding_layout import EmbeddingLayout, Layouts
from dssm_lightning.models.scorers import Dot
from dssm_lightning.training.candidate_pool import Pool, gather_pool
from dssm_lightning.training.cross_batch_memory import Memory
from dssm_lightning.training.hard_negative_mining import mine_pools
from dssm_lightning.training.objective import per_query_loss, row_weights
from dssm_lightning.training.teachers import GuidedNegatives
from dssm_lightning.training.teaching import Teaching
from dssm_lightning.utils import distributed
from dssm_lightning.utils.ragged import Ragged, take

SIZES = (7, 4, 6)  # rows of each process: batches by query differ in size
CORPUS, WIDTH, ROWS = 12, 5, 100
DRAWN = (3, 4)  # shared negatives of a process, own negatives of a row
LOSSES = {
    "softmax": lambda: SampledSoftmax(repeats="ignore"),
    "count": lambda: SampledSoftmax(repeats="count"),
    "count_log_q": lambda: SampledSoftmax(repeats="count_log_q"),
    "inclusion": lambda: SampledSoftmax(repeats="inclusion"),
    "refined": lambda: SampledSoftmax(repeats="refined"),
    "symmetric": lambda: SampledSoftmax(symmetric=True),
    "symmetric_log_q": lambda: SampledSoftmax(repeats="count_log_q", symmetric=True),
    "triplet": lambda: TripletMargin(margin=0.5),
    "triplet_hardest": lambda: TripletMargin(margin=0.5, negatives="hardest"),
    "triplet_semi_hard": lambda: TripletMargin(margin=0.5, negatives="semi_hard"),
    "bpr": BPR,
    "warp": WARP,
    "hardest": lambda: HardestNegative(num_negatives=2),
    "hardest_margin": lambda: HardestNegative(num_negatives=2, margin=0.5),
    "bce": BinaryCrossEntropy,
    "gbce": GBCE,
    "siglip": lambda: SigLIP(bias=-1.0),
    "cosine": CosineEmbedding,
    "elsa": lambda: WeightedSum([ELSA, SampledSoftmax]),  # alone it does not depend on the scale, which is compared
    "kl": lambda: KLDivergence(temperature=2.0),
    "kl_symmetric": lambda: KLDivergence(symmetric=True),
    "margin_mse": MarginMSE,
    "matryoshka": lambda: Matryoshka(lambda: SampledSoftmax("inclusion"), [2, WIDTH], [0.5, 1.0]),
    "matryoshka_symmetric": lambda: Matryoshka(lambda: SampledSoftmax(symmetric=True), [1, 3, WIDTH]),
    "sum": lambda: WeightedSum([SampledSoftmax, MarginMSE, EmbeddingMSE], [1.0, 0.3, 2.0]),
    "rated": lambda: WeightedSum([lambda: SampledSoftmax(symmetric=True), lambda: RatingHead(4)]),
    "objectives": lambda: Objectives({"click": SampledSoftmax, "buy": BPR}, {"click": 1.0, "buy": 3.0}),
    "objectives_learned": lambda: Objectives({"click": SampledSoftmax, "buy": SampledSoftmax}, "learned"),
    "objectives_of_all_kinds": lambda: Objectives(
        {"click": lambda: SampledSoftmax("inclusion"), "buy": BinaryCrossEntropy, "stars": RatingHead}, "learned"
    ),
}
CHUNKED = ("count_log_q", "symmetric", "triplet", "kl_symmetric", "matryoshka", "matryoshka_symmetric")
CHUNKED += ("elsa", "rated", "objectives", "objectives_learned", "objectives_of_all_kinds")
SIDE = EmbeddingLayout(WIDTH, heads=1, parts=1, normalize=True)
ALONE = 1  # a row whose query likes all candidates: it has no negative, and no weight


class Case(NamedTuple):
    """A loss, and the kind of its batch."""

    loss: str
    negatives: str  # in_batch, shared (drawn by each process) or own (of each row)
    known: bool = True
    remember: bool = False
    chunk_size: int | None = None
    guide: str | None = None  # "model", or a "table" of scores


CASES = [
    *(Case(loss, negatives) for loss in LOSSES for negatives in ("in_batch", "shared")),
    *(Case(loss, "own") for loss in LOSSES if loss != "elsa"),  # which is refused there
    *(Case(loss, "in_batch", known=False) for loss in ("softmax", "symmetric", "siglip")),  # nothing is masked
    *(Case(loss, "shared", remember=True) for loss in ("inclusion", "symmetric", "hardest", "matryoshka", "elsa")),
    *(Case(loss, "shared", remember=True) for loss in ("objectives_learned", "rated")),
    *(Case(loss, "shared", chunk_size=2) for loss in CHUNKED),
    *(Case("softmax", kind, guide=guide) for kind in ("in_batch", "shared", "own") for guide in ("model", "table")),
    *(Case("symmetric", kind, guide=guide) for kind in ("in_batch", "own") for guide in ("model", "table")),
    *(Case("symmetric", "shared", chunk_size=2, guide=guide) for guide in ("model", "table")),
    Case("kl_symmetric", "shared", remember=True, guide="table"),
]


class Model(nn.Module):
    """Two small towers, a learned scale, and the parameters of the loss."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.query = nn.Sequential(nn.Linear(7, 8), nn.Tanh(), nn.Linear(8, WIDTH))
        self.candidate = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, WIDTH))
        self.scorer = Dot(logit_scale=3.0, learnable=True)
        self.loss: Loss = LOSSES[case.loss]()
        self.loss.build((WIDTH, WIDTH))
        self.memory = Memory(2 * CORPUS, WIDTH) if case.remember else None
        sizes, generator = ((ROWS, CORPUS), (ROWS, WIDTH), (CORPUS, WIDTH)), torch.Generator().manual_seed(6)
        table = Table(*(torch.randn(size, generator=generator) for size in sizes))
        guide = GuidedNegatives(None if case.guide == "model" else table, margin=0.1) if case.guide else None
        self.teaching = Teaching(guide, table if self.loss.uses_teacher else None)
        self.case = case

    def forward(self, batch: Batch, gather: bool) -> Tensor:
        """Return the mean loss, as ``TwoTower.training_step`` does."""
        query = F.normalize(self.query(batch.query["x"]), dim=-1)
        pool = Pool(F.normalize(self.candidate(batch.candidates.features["x"]), dim=-1), *batch.candidates[1:])
        losses = per_query_loss(
            batch,
            query,
            pool,
            self.scorer,
            self.loss,
            gather=gather,
            chunk_size=self.case.chunk_size,
            memory=self.memory,
            weight=row_weights(batch, self.loss),
            teaching=self.teaching,
            layouts=Layouts(SIDE, SIDE),
        )
        weight = row_weights(batch, self.loss)
        weight = weight * losses.compared if self.loss.compares else weight
        if self.case.known and not self.loss.symmetric:
            assert not losses.compared[batch.row == ALONE].any()
        share = distributed.sum_over_ranks(weight.sum()) / distributed.world_size() if gather else weight.sum()
        return losses.total / share


def make_batch(case: Case, rows: Tensor, processes: list[int], proposals: float) -> Batch:
    """Make the batch of some rows, with the draws of some processes; a batch has ``proposals`` rows on average."""
    generator = torch.Generator().manual_seed(1)
    query, corpus = torch.randn(ROWS, 7, generator=generator), torch.randn(CORPUS, 4, generator=generator)
    own = torch.randint(0, CORPUS, (ROWS,), generator=generator)
    likes = torch.randint(0, CORPUS, (ROWS, 3), generator=generator)
    liked = [torch.arange(CORPUS) if row == ALONE else likes[row] for row in range(ROWS)]
    known = Ragged(torch.cat(liked), torch.tensor([0, *map(len, liked)]).cumsum(0))
    weight = torch.rand(ROWS, generator=generator) + 0.1
    label = (torch.rand(ROWS, generator=generator) > 0.3).float() if LOSSES[case.loss]().uses_labels else None
    frequency = torch.rand(2, CORPUS, generator=generator)  # of the rows' candidates, and of draws
    frequency /= frequency.sum(1, keepdim=True)
    drawn = _drawn(case.negatives, rows, processes, generator)
    ids, column = torch.unique(torch.cat([own[rows], drawn[drawn >= 0]]), return_inverse=True)
    target = column[: len(rows)]
    expected = proposals * frequency[0] + len(drawn) * frequency[1] * (case.negatives == "shared")
    candidates = Candidates(
        {"x": corpus[ids]}, ids, torch.bincount(target, minlength=len(ids)).float(), expected[ids].log()
    )
    generator = torch.Generator().manual_seed(7)
    clicked, bought = torch.rand(2, ROWS, generator=generator) < torch.tensor([[0.8], [0.4]])
    rating = torch.randn(ROWS, generator=generator).masked_fill(~clicked, torch.nan)
    negatives = None
    if case.negatives == "own":
        negatives = torch.full_like(drawn, -1).masked_scatter(drawn >= 0, column[len(rows) :])
    return Batch(
        query={"x": query[rows]},
        candidates=candidates,
        target=target,
        negatives=negatives,
        known=take(known, rows) if case.known else None,
        label=None if label is None else label[rows],
        weight=weight[rows],
        row=rows,
        num_candidates=CORPUS,
        objectives={"click": clicked[rows].float(), "buy": bought[rows].float()},
        rating=rating[rows],
    )


def _drawn(negatives: str, rows: Tensor, processes: list[int], generator: torch.Generator) -> Tensor:
    """Draw no candidates, (n,) that the rows share, or (B, n) of each row, -1 = none."""
    shared = torch.randint(0, CORPUS, (len(SIZES), DRAWN[0]), generator=generator)
    own = torch.randint(-1, CORPUS, (ROWS, DRAWN[1]), generator=generator)
    if negatives == "in_batch":
        return shared.new_empty(0)
    return shared[processes].flatten() if negatives == "shared" else own[rows]


@contextmanager
def same_draws(first: int) -> Iterator[None]:
    """Give a loss that draws the same numbers for each row of the big batch, in any process."""
    drawn = torch.rand(ROWS, CORPUS, generator=torch.Generator().manual_seed(3))
    with mock.patch.object(torch, "rand", lambda shape, **_: drawn[first : first + shape[0], : shape[1]]):
        yield


def compare(case: Case, process_rank: int, world_size: int) -> dict[str, float]:
    """Return the largest differences between this process's part and one process, over towers, scale and loss."""
    first, total = sum(SIZES[:process_rank]), sum(SIZES[:world_size])
    local, every = torch.arange(first, first + SIZES[process_rank]), torch.arange(total)
    whole, model = Model(case), DistributedDataParallel(Model(case))

    def batches(shift: int) -> tuple[Batch, Batch]:
        big = make_batch(case, every + shift, list(range(world_size)), total)
        return big, make_batch(case, local + shift, [process_rank], total / world_size)

    if case.remember:  # an earlier batch, of other rows
        with torch.no_grad():
            for each, batch, gather in zip((whole, model.module), batches(20), (False, True), strict=True):
                each(batch, gather)
                each.memory.commit()
    big, small = batches(0)
    with same_draws(0):
        reference = whole(big, gather=False)
    reference.backward()
    with same_draws(first):
        part = model(small, gather=True)
    part.backward()
    value = distributed.sum_over_ranks(part) / world_size
    return {"loss": abs(value.item() - reference.item()), **_differences(whole, model.module)}


def _differences(whole: nn.Module, part: nn.Module) -> dict[str, float]:
    found: dict[str, float] = {"cosine": 1.0, "norm": 0.0, "gradient": torch.inf}
    for name in ("query", "candidate", "scorer", "loss"):
        gradients = [[p.grad.flatten() for p in getattr(model, name).parameters()] for model in (whole, part)]
        if gradients[0]:
            expected, own = map(torch.cat, gradients)
            found["cosine"] = min(found["cosine"], F.cosine_similarity(own, expected, dim=0).item())
            # the last digits of a nearly vanishing sum are lost
            norm = abs(own.norm() - expected.norm()) / expected.norm().clamp(min=0.01)
            found["norm"] = max(found["norm"], norm.item())
            found["gradient"] = min(found["gradient"], expected.norm().item())
    return found


def local_negatives(process_rank: int, world_size: int) -> float:
    """Return how far processes that gather nothing are from the mean of processes that train alone."""
    case = Case("softmax", "in_batch")
    alone, model = Model(case), DistributedDataParallel(Model(case))
    starts = [sum(SIZES[:each]) for each in range(world_size)]
    batches = [
        make_batch(case, torch.arange(start, start + SIZES[each]), [each], SIZES[each])
        for each, start in enumerate(starts)
    ]
    torch.stack([alone(batch, gather=False) for batch in batches]).mean().backward()
    model(batches[process_rank], gather=False).backward()
    pairs = zip(alone.parameters(), model.module.parameters(), strict=True)
    return max((a.grad - b.grad).abs().max().item() for a, b in pairs)


def same_pools(process_rank: int, world_size: int) -> bool:
    """Return whether processes that share the mining have the same pools as one process that mines alone."""
    generator = torch.Generator().manual_seed(2)
    query, candidate = torch.arange(9).repeat(2), torch.randint(0, CORPUS, (18,), generator=generator)
    interactions = Interactions(query, candidate, torch.zeros(18, dtype=torch.int8), None, None, None, None)
    scores, queries = torch.randn(9, CORPUS, generator=generator), torch.arange(9)
    alone, shared = Hard(2, (1, 6)), Hard(2, (1, 6))
    for sampler in (alone, shared):
        sampler.bind(SamplerTables(interactions, 9, CORPUS))
    alone.keep(queries, alone.choose(queries, scores), epoch=4)
    own = queries[process_rank::world_size].split(2)
    mine_pools([shared], [(part, {"row": part}) for part in own], lambda features: scores[features["row"]], epoch=4)
    one, two = alone.state_dict(), shared.state_dict()
    return len(one["pools"]) > 9 and all(torch.equal(one[key], two[key]) for key in ("pools", "offsets"))


def gathered(process_rank: int) -> dict[str, Any]:
    """Gather from processes with 0, 1, 2 … rows, forward and backward, and ids that several processes hold."""
    local = torch.full((process_rank, 2), float(process_rank), requires_grad=True)
    every = distributed.gather_rows(local)
    (every * 10.0**process_rank).sum().backward()
    # 7 in every process, 8 in all processes but the first
    ids = torch.tensor([process_rank, 7, 8]) if process_rank else torch.tensor([7])
    pool = Pool(torch.full((len(ids), 1), float(process_rank)), ids, torch.ones(len(ids)), torch.zeros(len(ids)))
    pool = gather_pool(pool)
    return {
        "rows": every[:, 0].tolist(),
        "gradient": None if local.grad is None else local.grad[:, 0].tolist(),
        "before": distributed.rows_before(local),
        "ids": pool.id.tolist(),
        "count": pool.count.tolist(),
        "owner": pool.embedding[:, 0].tolist(),
        "proposed": pool.log_q.exp().tolist(),
    }


def work(process_rank: int, world_size: int) -> None:
    """Compare every case, in one process; the last process prints its results."""
    place = process_rank, world_size
    report = {
        "cases": {"_".join(map(str, case)): compare(case, *place) for case in CASES},
        "pools": same_pools(*place),
        "gathered": gathered(process_rank),
        "local": local_negatives(*place),
    }
    if process_rank == world_size - 1:
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    for number in (2, 3):
        fork(work, number)
    with tempfile.TemporaryDirectory() as folder:
        fork(chunks_across_ranks.work, 2, folder)
