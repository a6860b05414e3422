"""Exact search as ``bench.py`` times it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.report import Row, Section, alternate, rates
from dssm_lightning.retrieval.exact_search import exact_top_k


def search(
    num_queries: int = 256, num_candidates: int = 1_000_000, dim: int = 64, k: int = 100, repeats: int = 5
) -> Section:
    """The exact k nearest by inner product (`dssm_lightning.retrieval.exact_search`), against FAISS' `IndexFlatIP`.

    FAISS is no part of the package: without `faiss-cpu` (the extra `bench`) a `torch.matmul` with `topk` stands in its
    place. Beside them stands the product of all queries and candidates alone, of which nothing is kept.
    """
    generator = torch.Generator().manual_seed(0)
    query, corpus = (
        F.normalize(torch.randn(n, dim, generator=generator), dim=1) for n in (num_queries, num_candidates)
    )
    name, other = _rival(corpus, k)
    product = partial(_product, query, corpus)
    assert torch.allclose(exact_top_k(query, corpus, k)[0], other(query), atol=1e-5), "the sides find the same"
    seconds = alternate([partial(exact_top_k, query, corpus, k), partial(other, query), product], repeats)
    ours, *others = (rates(num_queries, each) for each in seconds)
    what = f"{k} of {num_candidates:,} × {dim}"
    return Section(
        "Exact search",
        [
            Row(f"{what}, {side}", "queries/s", ours, each)
            for side, each in zip((name, "the product alone"), others, strict=True)
        ],
    )


def _rival(corpus: Tensor, k: int) -> tuple[str, Callable[[Tensor], Tensor]]:
    """Its name, and (Q, D) -> (Q, k) the greatest products."""
    try:
        import faiss
    except ImportError:
        parts = partial(Tensor.split, split_size=64)
        return "torch.matmul and topk", lambda query: torch.cat([(q @ corpus.T).topk(k).values for q in parts(query)])
    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(corpus.shape[1])
    index.add(corpus.numpy())
    return f"FAISS {faiss.__version__} IndexFlatIP", lambda query: torch.from_numpy(index.search(query.numpy(), k)[0])


def _product(query: Tensor, corpus: Tensor) -> None:
    for part in corpus.split(8192):
        query @ part.T
