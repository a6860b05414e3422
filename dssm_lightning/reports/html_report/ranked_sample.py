"""A sample of the held-out queries, scored by the model against every candidate that they rank."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.interactions import FOLDS, TEST, VALIDATION
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.evaluation.evaluator import list_scores
from dssm_lightning.evaluation.metrics.ranks import places_in_lists, rank, rank_lists
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.training.frozen_backbones import use_fixed_features
from dssm_lightning.utils.progress import track
from dssm_lightning.utils.ragged import Ragged

QUERIES = 1000
"""Queries or events that are scored."""
SCORES = 1 << 27
"""Scores in all: a large corpus is ranked for fewer queries."""
NEGATIVES = 20
"""Random candidates of each query whose scores are shown."""
TOP = 6
SEED = 0


class RankedSample(NamedTuple):
    """What the model does with Q sampled queries, and where it puts the N ranked candidates.

    P counts pairs of a query and one of its relevant candidates. Candidates that a query liked in training are left
    out of its ranking.
    """

    fold: str
    total: int  # queries or events of the fold
    corpus: Tensor  # (N, D) embeddings of the ranked candidates
    queries: Tensor  # (Q, D)
    query_row: Tensor  # (Q,) rows of the query table
    event_row: Tensor | None  # (Q,) rows of the interactions, if events are ranked
    pair_query: Tensor  # (P,) number of the pair's query, from 0 to Q − 1
    pair_candidate: Tensor  # (P,) place among the ranked candidates
    pair_rank: Tensor  # (P,) candidates above it, and half of its ties
    pair_score: Tensor  # (P,)
    negative_score: Tensor  # random candidates that are neither relevant nor seen
    best_wrong: Tensor  # (Q,) the highest score of a candidate that is neither
    top: Tensor  # (Q, TOP) places of the best candidates
    top_score: Tensor  # (Q, TOP); −inf where fewer candidates are ranked
    ranked: Tensor | None  # (N,) corpus rows; None = the whole corpus, in order
    longest_list: int | None = None  # candidates of the longest list, if each query ranks its own

    def corpus_row(self, place: int) -> int:
        """Return the row of the corpus at a place among the ranked candidates."""
        return place if self.ranked is None else int(self.ranked[place])


def rank_sample(model: TwoTowerModel, data: RetrievalData) -> RankedSample | None:
    """Score a sample of the test queries, or without any of the validation queries; None without either.

    The sample is drawn by a fixed seed: two reports of the same rows show the same queries.
    """
    fold = next((each for each in (TEST, VALIDATION) if data.evaluation_batches(each).total), None)
    if fold is None:
        return None
    batches, ranking = data.evaluation_batches(fold), data.ranking(fold)
    generator = torch.Generator().manual_seed(SEED)
    size = max(1, min(QUERIES, SCORES // max(1, ranking.size), len(batches.numbers)))
    chosen = torch.randperm(len(batches.numbers), generator=generator)[:size].sort().values
    batches = replace(batches, numbers=batches.numbers[chosen], total=size)
    use_fixed_features(model.towers, data)
    corpus_batches = data.corpus_batches(fold)
    with torch.inference_mode():
        shown = track(corpus_batches, "embedding the corpus", len(corpus_batches), least=4)
        corpus = model.embed_corpus(shown, len(corpus_batches.numbers))
        parts = [_rank_batch(model, corpus, batch, generator) for batch in batches]
    joined = _joined(parts, FOLDS[fold], data, corpus, ranking.rows)
    return joined._replace(longest_list=ranking.longest_list)


def _joined(
    parts: list[dict[str, Tensor]], fold: str, data: RetrievalData, corpus: Tensor, ranked: Tensor | None
) -> RankedSample:
    """Join the batches; queries are numbered through."""
    first = [0, *itertools.accumulate(len(part["queries"]) for part in parts)]
    columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    number = [part["pair_query"] + start for part, start in zip(parts, first, strict=False)]
    return RankedSample(
        fold=fold,
        total=len(data.evaluation_batches(FOLDS.index(fold)).numbers),
        corpus=corpus,
        queries=columns["queries"],
        query_row=columns["query_row"],
        event_row=columns.get("event_row"),
        pair_query=torch.cat(number),
        pair_candidate=columns["pair_candidate"],
        pair_rank=columns["pair_rank"],
        pair_score=columns["pair_score"],
        negative_score=columns["negative_score"],
        best_wrong=columns["best_wrong"],
        top=columns["top"],
        top_score=columns["top_score"],
        ranked=ranked,
    )


def _rank_batch(
    model: TwoTowerModel, corpus: Tensor, batch: EvaluationBatch, generator: torch.Generator
) -> dict[str, Tensor]:
    embedding = model.embed_rows(model.encode_query, batch.query)
    scores = model.scorer(embedding, corpus).float()
    relevant, candidate = batch.relevant.rows, batch.relevant.values.long()
    pair_score = scores[relevant, candidate]
    if batch.listed is None:
        ranks = rank(scores, batch.relevant, batch.seen)
    else:
        places = places_in_lists(batch.listed, batch.relevant)
        ranks = rank_lists(list_scores(scores, batch), batch.listed, places)
        scores = _only_listed(scores, batch.listed)
    scores[batch.seen.rows, batch.seen.values.long()] = -torch.inf
    width = min(TOP, scores.shape[1])
    top_score, top = scores.topk(width)
    scores[relevant, candidate] = -torch.inf
    if batch.listed is None:
        drawn = torch.randint(scores.shape[1], (len(scores), NEGATIVES), generator=generator)
        negative = scores.gather(1, drawn)
    else:  # what was shown and not liked
        negative = scores[scores.isfinite()]
    return {
        "queries": embedding,
        "query_row": batch.query_row,
        **({} if batch.row is None else {"event_row": batch.row}),
        "pair_query": relevant,
        "pair_candidate": candidate,
        "pair_rank": ranks.above + ranks.ties / 2,
        "pair_score": pair_score,
        "negative_score": negative[negative.isfinite()],
        "best_wrong": scores.amax(1),
        "top": top,
        "top_score": top_score,
    }


def _only_listed(scores: Tensor, listed: Ragged) -> Tensor:
    """Return the scores (Q, N) with −inf for the candidates that are not in their query's list."""
    inside = torch.zeros_like(scores, dtype=torch.bool)
    inside[listed.rows, listed.values.long()] = True
    return scores.masked_fill(~inside, -torch.inf)


def best_ranks(sample: RankedSample) -> Tensor:
    """Return (Q,) the rank of each query's first relevant candidate; inf for a query without any."""
    best = torch.full((len(sample.queries),), torch.inf)
    return best.scatter_reduce(0, sample.pair_query, sample.pair_rank.float(), "amin")
