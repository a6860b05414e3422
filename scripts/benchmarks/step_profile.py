"""Where the time of a training step goes, as ``bench.py`` finds out part by part."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from benchmarks.deep_retrieval import CONFIG, film_data
from benchmarks.report import Row, Section, alternate
from dssm_lightning.api import load_untrained
from dssm_lightning.data.batch import Batch
from dssm_lightning.training.candidate_pool import Pool
from dssm_lightning.training.module import TwoTower
from dssm_lightning.training.objective import per_query_loss
from dssm_lightning.utils.ragged import Ragged
from dssm_lightning.utils.seeding import Counter

CHUNK = 256
LIMITS = dict.fromkeys(("batch", "optimizer"), "bytes moved at memory speed: 1")
Part = Callable[[], object]


def step_profile(num_ratings: int | None = None, batch_size: int = 2048, repeats: int = 30) -> Section:
    """The parts of a step of `deep_retrieval`, each by itself, against what arithmetic and memory traffic allow.

    Theirs is that limit. For towers and scores it is their matrix products alone, one forward and two backward, as
    `torch.mm` does them. For the batch it is a copy of its bytes, for the optimizer five passes over the parameters
    (weight, gradient and state are read, weight and state written), as fast as memory is copied. A ratio of 1 would be
    the limit.

    The scores are the greatest part. Beyond their products they cost traffic: correction, softmax and gradient pass
    over blocks of the (Q, C) matrix in the cache. Chunks (`score_chunk_size`) spare it where the matrix is larger than
    the cache that a process has to itself, which `big_batches` shows; here it is 6 MB. What could be avoided was the
    batch: it took twice as long before its columns were gathered by `index_select` and its distinct candidates found by
    NumPy's sort.
    """
    with TemporaryDirectory() as folder:
        data = film_data(Path(folder), num_ratings, batch_size)
        model = load_untrained([CONFIG])
        model.build(data.schemas)
        parts = iter(data.assembler.rows[torch.randperm(len(data.assembler.rows))].split(batch_size) * (repeats + 2))
        batch = data.assembler.batch(next(parts), Counter(0))
        pairs: dict[str, tuple[Part, Part]] = {
            "batch": (lambda: data.assembler.batch(next(parts), Counter(0)), partial(_copied, _num_bytes(batch))),
            "towers, forward and backward": (partial(_towers, model, batch), partial(_linear_products, model, batch)),
        }
        products = partial(_products, len(batch.row), model.query_tower.output_dim, len(batch.candidates.id))
        generator, width = torch.Generator().manual_seed(0), model.query_tower.output_dim
        sides = [torch.randn(n, width, generator=generator).div_(9) for n in (len(batch.row), len(batch.candidates.id))]
        for how, size in (("at once", None), (f"{CHUNK} queries at once", CHUNK)):
            pairs[f"scores, loss and their gradients, {how}"] = partial(_scores, model, batch, sides, size), products
        optimizer = model.configure_optimizers()
        _towers(model, batch)  # there is a gradient
        size = sum(4 * p.numel() for p in model.parameters() if p.grad is not None)
        pairs["optimizer"] = optimizer.step, partial(_copied, 5 * size // 2)  # a copy is two passes
        seconds = alternate([side for pair in pairs.values() for side in pair], repeats)
    rows = [
        Row(
            what,
            "ms",
            *([1e3 * each for each in side] for side in both),
            limit=LIMITS.get(what, "products at GEMM speed: 1"),
        )
        for what, both in zip(pairs, zip(seconds[::2], seconds[1::2], strict=True), strict=True)
    ]
    return Section("Where a step's time goes", rows)


def _towers(model: TwoTower, batch: Batch) -> None:
    model.zero_grad()
    query, candidate = model.encode_query(batch.query), model.encode_candidate(batch.candidates.features)
    torch.autograd.backward([query, candidate], [torch.ones_like(query), torch.ones_like(candidate)])


def _scores(model: TwoTower, batch: Batch, sides: list[Tensor], chunk_size: int | None) -> None:
    query, candidate = (embedding.detach().requires_grad_() for embedding in sides)
    pool = Pool(candidate, *batch.candidates[1:])
    losses = per_query_loss(batch, query, pool, model.scorer, model.loss, gather=False, chunk_size=chunk_size)
    losses.total.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it


def _products(rows: int, width: int, columns: int) -> None:
    left, right, matrix = torch.ones(rows, width), torch.ones(columns, width), torch.empty(rows, columns)
    torch.mm(left, right.T, out=matrix)
    torch.mm(matrix, right)
    torch.mm(matrix.T, left)


def _linear_products(model: TwoTower, batch: Batch) -> None:
    for tower, rows in ((model.query_tower, len(batch.row)), (model.candidate_tower, len(batch.candidates.id))):
        for layer in tower.modules():
            if isinstance(layer, nn.Linear):
                _products(rows, layer.in_features, layer.out_features)


def _copied(num_bytes: int) -> None:
    torch.empty(num_bytes, dtype=torch.uint8).copy_(_SOURCE[:num_bytes])


_SOURCE = torch.zeros(1 << 26, dtype=torch.uint8)


def _num_bytes(batch: Batch) -> int:
    """Of all that a batch holds."""
    columns = [*batch.query.values(), *batch.candidates.features.values(), *batch.candidates[1:], *batch[2:]]
    parts = [part for column in columns for part in (column if isinstance(column, Ragged) else [column])]
    return sum(part.nbytes for part in parts if isinstance(part, Tensor))
