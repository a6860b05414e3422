"""Hard negatives from the model as it is: every query scored against the whole corpus, shared by all ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dssm_lightning.data.negatives import Hard
from dssm_lightning.utils import distributed
from dssm_lightning.utils.ragged import Features


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Without gradient and dropout; afterwards every part trains that did."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True


def mine_pools(
    samplers: Sequence[Hard],
    batches: Iterable[tuple[Tensor, Features]],
    score: Callable[[Features], Tensor],
    epoch: int,
) -> int:
    """Give samplers new pools: each rank mines its share of the queries, and all end with the same.

    Args:
        samplers: what is due.
        batches: this rank's queries, as rows (Q,) of the query table, with their features.
        score: features of queries -> (Q, N) logits of the corpus.
        epoch: the epoch that is about to begin.

    Returns:
        how many queries were mined.
    """
    queries: list[Tensor] = []
    pools: list[list[Tensor]] = [[] for _ in samplers]
    for query, features in batches:
        scores = score(features)
        queries.append(query.to(scores.device))
        for sampler, chosen in zip(samplers, pools, strict=True):
            chosen.append(sampler.choose(query, scores))
    every_query = distributed.gather_rows(torch.cat(queries)).cpu()
    for sampler, chosen in zip(samplers, pools, strict=True):
        sampler.keep(every_query, distributed.gather_rows(torch.cat(chosen)).cpu(), epoch)
    return len(every_query)
