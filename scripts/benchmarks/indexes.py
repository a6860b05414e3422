"""Indexes as ``bench.py`` times them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.report import Row, Section, alternate, rates
from dssm_lightning.retrieval.indexes import Exact, Faiss, Index, Qdrant, load_index, recall_table

Vectors = NDArray[np.float32]
_HARD, _EASY = 1.0, 0.7  # noise of a vector, in units of its centre: where clusters overlap, graphs find less
_ONE = 20  # queries, one at a time
_TILE = 8192  # rows of a product


def indexes(
    num_candidates: int = 100_000,
    num_queries: int = 256,
    dim: int = 64,
    bits_dim: int = 128,
    k: int = 100,
    small: Sequence[tuple[int, int]] = ((1_911, 300), (17_000, 128)),
    filtered: int = 50_000,
    repeats: int = 5,
) -> Section:
    """`dssm_lightning.retrieval.indexes` over vectors in clusters, which overlap but for the binary codes.

    `Exact` finds the best of a batch of queries, against the product of the same queries and vectors of which nothing
    is kept, and against FAISS' flat index. Then one query at a time: a graph of FAISS, with the least `efSearch` whose
    recall of 10 is at least .95, and binary codes whose best rows are scored again as int8, both against `Exact`.

    Then corpora of the size of the examples, and the recall under filters.

    `--num-candidates 1000000` measures a larger corpus; its graph takes about 12 minutes to build.
    """
    vectors, queries = _clustered(num_candidates, num_queries, dim, _HARD)
    exact = Exact().build(vectors)
    rows, notes = _batches(exact, vectors, queries, k, repeats), []
    for row, note in (
        *_graph(exact, vectors, queries, repeats),
        _binary(num_candidates, num_queries, bits_dim, k, repeats),
    ):
        rows.append(row)
        notes.append(note)
    return Section("Indexes", [*rows, *_small(small, repeats)], [*notes, _filtered(filtered)])


def _batches(exact: Exact, vectors: Vectors, queries: Vectors, k: int, repeats: int) -> list[Row]:
    sides: list[Callable[[], object]] = [partial(exact.search, queries, k)]
    sides += [partial(_product, queries, vectors), partial(_fastest_product, queries, vectors)]
    names = ["the product alone, a row for each query", "the product alone, a column for each query"]
    if (flat := _faiss("Flat", vectors)) is not None:
        scores = [side.search(queries, k).scores for side in (exact, flat)]
        assert np.allclose(*scores, atol=1e-5), "both find the same"
        sides.append(partial(flat._index.search, queries, k))
        names.append("FAISS Flat")
    ours, *others = (rates(len(queries), each) for each in alternate(sides, repeats))
    what = f"{k} of {len(vectors):,} × {vectors.shape[1]}, {len(queries)} queries at once"
    return [
        Row(f"{what}, {name}", "queries/s", ours, each, "the product: 1" if "product" in name else "the product")
        for name, each in zip(names, others, strict=True)
    ]


def _graph(exact: Exact, vectors: Vectors, queries: Vectors, repeats: int) -> list[tuple[Row, str]]:
    graph = _faiss("HNSW32", vectors)
    if graph is None:
        return []
    expected, found = exact.search(queries, 10).rows, {}
    for ef in (32, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512):  # at 32 first, which says how hard the vectors are
        graph.set_parameters(efSearch=ef)
        found[ef] = _recall(graph.search(queries, 10).rows, expected)
        if len(found) > 1 and found[ef] >= 0.95:
            break
    what = f"HNSW32 with a recall of 10 of .95, against Exact, {len(vectors):,} × {vectors.shape[1]}"
    note = f"HNSW32 has a recall of 10 of {found[ef]:.3f} at efSearch {ef} ({found[32]:.3f} at 32)."
    return [(_one_at_a_time(what, graph, exact, queries, 10, repeats), note)]


def _binary(num_candidates: int, num_queries: int, dim: int, k: int, repeats: int) -> tuple[Row, str]:
    vectors, queries = _clustered(num_candidates, num_queries, dim, _EASY)
    exact = Exact().build(vectors)
    expected = exact.search(queries, k).rows
    with TemporaryDirectory() as folder:
        Exact("binary").build(vectors).save(Path(folder, "index"))
        index = load_index(Path(folder, "index"))
        assert isinstance(index, Exact)
        for index.oversampling in (10, 20, 30, 40, 50, 60, 80, 160):
            found = _recall(index.search(queries, k).rows, expected)
            if found >= 0.98:
                break
        what = f"binary with a recall of {k} of .98, the best again as int8 mapped from a file, against Exact"
        what += f", {num_candidates:,} × {dim}"
        note = f"Binary codes have a recall of {k} of {found:.3f} with {index.oversampling} · k scored again."
        return _one_at_a_time(what, index, exact, queries, k, repeats), note


def _small(sizes: Sequence[tuple[int, int]], repeats: int, k: int = 10) -> list[Row]:
    """Corpora of the size of the examples, against the product alone."""
    rows = []
    for count, dim in sizes:
        vectors, queries = _clustered(count, 1_000, dim, _EASY)
        exact = Exact().build(vectors)
        sides = [partial(exact.search, queries, k), partial(np.matmul, queries, vectors.T)]
        ours, theirs = (rates(len(queries), each) for each in alternate(sides, repeats))
        what = f"{k} of {count:,} × {dim}"
        rows.append(
            Row(f"{what}, 1,000 queries at once, the product alone", "queries/s", ours, theirs, "the product: 1")
        )

        def one(search: Callable[[Vectors], object], queries: Vectors = queries) -> None:
            for query in queries:
                search(query[None])

        columns = vectors.T
        sides = [partial(one, partial(_search, exact, k)), partial(one, partial(_times, columns))]
        ours, theirs = (rates(len(queries), each) for each in alternate(sides, repeats))
        rows.append(Row(f"{what}, the product alone", "queries/s, one at a time", ours, theirs, "the product: 1"))
    return rows


def _search(index: Index, k: int, queries: Vectors) -> object:
    return index.search(queries, k)


def _times(columns: Vectors, queries: Vectors) -> object:
    return queries @ columns


def _filtered(count: int, dim: int = 64, k: int = 10) -> str:
    """The recall under filters, in one sentence."""
    vectors, queries = _clustered(count, 256, dim, _HARD)
    exact = Exact().build(vectors)
    indexes: list[Index] = [exact, Exact("int8", rescore="float32").build(vectors), Qdrant().build(vectors)]
    indexes += [each for factory in ("HNSW32", "IVF256,Flat") if (each := _faiss(factory, vectors, None))]
    found = []
    for index in indexes:
        name = getattr(index, "factory", getattr(index, "precision", ""))
        shares = recall_table(index, exact, queries, k)[1:]
        found.append(f"{type(index).__name__} {name}".strip() + " " + " ".join(f"{row.recall:.3f}" for row in shares))
    return f"Recall of {k} of {count:,} × {dim} under filters that leave 50, 5 and .5 %: {', '.join(found)}."


def _one_at_a_time(what: str, index: Index, exact: Exact, queries: Vectors, k: int, repeats: int) -> Row:
    def run(side: Index) -> None:
        for query in queries[:_ONE]:
            side.search(query[None], k)

    ours, theirs = alternate([partial(run, index), partial(run, exact)], repeats)
    number = len(queries[:_ONE])
    return Row(what, "queries/s, one at a time", rates(number, ours), rates(number, theirs))


def _clustered(count: int, num_queries: int, dim: int, noise: float) -> tuple[Vectors, Vectors]:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(max(4, count // 100), dim)).astype(np.float32)
    total = count + num_queries
    points = centres[rng.integers(len(centres), size=total)]
    points += noise * rng.standard_normal((total, dim), np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points[:count], points[count:]


def _faiss(factory: str, vectors: Vectors, exact_below: float | None = 1.0) -> Faiss | None:
    try:
        import faiss
    except ImportError:
        return None
    faiss.omp_set_num_threads(torch.get_num_threads())
    return Faiss(factory, exact_below=exact_below).build(vectors)


def _recall(found: NDArray[np.int64], expected: NDArray[np.int64]) -> float:
    return float((found[:, :, None] == expected[:, None, :]).any(2).mean())


def _product(queries: Vectors, vectors: Vectors) -> None:
    for start in range(0, len(vectors), _TILE):
        queries @ vectors[start : start + _TILE].T


def _fastest_product(queries: Vectors, vectors: Vectors) -> None:
    """In tiles that stay in the cache, into memory that is used again."""
    columns, scores = np.ascontiguousarray(queries.T), np.empty((2048, len(queries)), np.float32)
    for start in range(0, len(vectors), 2048):
        tile = vectors[start : start + 2048]
        np.matmul(tile, columns, out=scores[: len(tile)])
