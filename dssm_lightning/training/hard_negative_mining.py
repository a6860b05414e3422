"""Hard negatives mined from the current model: every query is scored against the whole corpus, by all processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor

from dssm_lightning.data.negatives import Hard, SamplerTables
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.models.evaluating import evaluating
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.training.frozen_backbones import use_fixed_features
from dssm_lightning.utils import distributed
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Features, Ragged, take


def mine_pools(
    samplers: Sequence[Hard],
    batches: Iterable[tuple[Tensor, Features]],
    score: Callable[[Features], Tensor],
    epoch: int,
) -> int:
    """Give samplers new pools: each process mines its share of the queries, and all processes end with all pools.

    Args:
        samplers: whose pools are due.
        batches: this process's queries, as rows (Q,) of the query table, with their features.
        score: features of queries -> (Q, N) logits of the corpus.
        epoch: the epoch that begins next.

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


def mine_once(sampler: Hard, model: TwoTowerModel, data: RetrievalData) -> int:
    """Mine the pools of a sampler with a trained model, outside a fit. Returns how many queries were mined.

    Args:
        sampler: not bound yet; afterwards it holds the pools.
        model: trained.
        data: whose training queries are mined for.

    Raises:
        UserError: query features vary by event, so that a query has several embeddings.
    """
    prepared = data.data
    if prepared.event:
        raise UserError(
            f"mine: each query is mined once, but {sorted(prepared.event)} are columns of the interactions, one value "
            "for each event: put the columns into the query table"
        )
    sampler.bind(SamplerTables(prepared.interactions, len(prepared.queries), data.num_candidates))
    use_fixed_features(model.towers, data)
    with evaluating(model):
        corpus = model.embed_corpus(data.corpus_batches(), data.num_candidates)
        return mine_pools([sampler], data.mining_batches(sampler.queries), partial(model.score, corpus=corpus), 0)


def scored_pools(sampler: Hard, model: TwoTowerModel, data: RetrievalData) -> tuple[Ragged, Tensor]:
    """Score the mined candidates of each query, and its training positives, which a distillation compares them with.

    Args:
        sampler: mined.
        model: scores the candidates.
        data: as for :func:`mine_once`.

    Returns:
        a row for each mined query: the corpus rows of its pool, best first, then of its training positives; and the
        logits (T,) of these candidates.
    """
    queries, likes = sampler.queries, data.assembler.likes.candidates
    parts = [take(lists, queries) for lists in (sampler.pools, likes)]
    rows = torch.cat([part.rows for part in parts])
    order = rows.argsort(stable=True)
    candidates = torch.cat([part.values.long() for part in parts])[order]
    lists, scores = Ragged.from_lengths(candidates, torch.bincount(rows, minlength=len(queries))), []
    use_fixed_features(model.towers, data)
    with evaluating(model):
        corpus = model.embed_corpus(data.corpus_batches(), data.num_candidates)
        done = 0
        for query, features in data.mining_batches(queries):
            part = take(lists, torch.arange(done, done + len(query)))
            logits = model.score(features, corpus).cpu()
            scores.append(logits[part.rows, part.values])
            done += len(query)
    return lists, torch.cat(scores)
