"""Exact search as ``bench.py`` times it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.report import Row, Section, alternate, rates
from dssm_lightning.retrieval.indexes import Exact

Vectors = NDArray[np.float32]


def search(
    num_queries: int = 256, num_candidates: int = 1_000_000, dim: int = 64, k: int = 100, repeats: int = 5
) -> Section:
    """The exact k nearest by inner product (`dssm_lightning.retrieval.indexes.exact`), against FAISS' `IndexFlatIP`.

    FAISS is no part of the package: without `faiss-cpu` (the extra `bench`) a `torch.matmul` with `topk` stands in its
    place. Beside them stands the product of all queries and candidates alone, of which nothing is kept.
    """
    numbers = np.random.default_rng(0)
    query, corpus = (_directions(numbers.standard_normal((n, dim), np.float32)) for n in (num_queries, num_candidates))
    exact, (name, version, other) = Exact().build(corpus), _rival(corpus, k)
    product = partial(_product, query, corpus)
    assert np.allclose(exact.search(query, k).scores, other(query), atol=1e-5), "the sides find the same"
    seconds = alternate([partial(exact.search, query, k), partial(other, query), product], repeats)
    ours, rival, bare = (rates(num_queries, each) for each in seconds)
    what = f"{k} of {num_candidates:,} × {dim}"
    rows = [
        Row(f"{what}, {name}", "queries/s", ours, rival, "the product at GEMM speed"),
        Row(f"{what}, the product alone", "queries/s", ours, bare, "the product: 1"),
    ]
    return Section("Exact search", rows, [f"FAISS {version}."] if version else [])


def _directions(vectors: Vectors) -> Vectors:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _rival(corpus: Vectors, k: int) -> tuple[str, str, Callable[[Vectors], Vectors]]:
    """Its name, its version, and (Q, D) -> (Q, k) the greatest products."""
    try:
        import faiss
    except ImportError:
        return "torch.matmul and topk", "", partial(_torch_top_k, torch.from_numpy(corpus), k)
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(corpus.shape[1])
    index.add(corpus)
    return "FAISS IndexFlatIP", faiss.__version__, lambda query: index.search(query, k)[0]


def _torch_top_k(corpus: torch.Tensor, k: int, query: Vectors) -> Vectors:
    parts = torch.from_numpy(query).split(64)
    return torch.cat([(part @ corpus.T).topk(k).values for part in parts]).numpy()


def _product(query: Vectors, corpus: Vectors) -> None:
    for start in range(0, len(corpus), 8192):
        query @ corpus[start : start + 8192].T
