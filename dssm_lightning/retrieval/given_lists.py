"""Lists of candidates that the caller gives, ordered by a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dssm_lightning.features.raw_values import shown
from dssm_lightning.retrieval.corpus import Corpus
from dssm_lightning.retrieval.raw_encoder import BATCH, RawEncoder, Record, require_finite
from dssm_lightning.retrieval.raw_records import RawValues, record_of, require_ids
from dssm_lightning.retrieval.towers import Floats
from dssm_lightning.utils.errors import UserError


class RankedCandidate(NamedTuple):
    """A candidate of a given list.

    Example:
        >>> RankedCandidate("c7", score=0.5, place=0).candidate
        'c7'
    """

    candidate: Any  # as it was given: an id, or raw values
    score: float
    place: int  # in the given list, from 0


class GivenList(NamedTuple):
    """A query and its candidates, checked."""

    query: Record
    candidates: list[Any]  # as they were given
    found: list[int | Record]  # the corpus row of each id, the values of each raw candidate


def given_list(encoder: RawEncoder, corpus: Corpus, query: RawValues, candidates: Iterable[Any]) -> GivenList:
    """Check a query and its candidates: ids of the corpus, or raw values by column name.

    Raises:
        UserError: an unknown column; an id that no candidate has; candidates that are no list.
    """
    (record,) = encoder.records("query", [query])
    given = require_ids(candidates, "candidates")
    return GivenList(record, given, [_found(encoder, corpus, each) for each in given])


def _found(encoder: RawEncoder, corpus: Corpus, candidate: Any) -> int | Record:
    key, columns = corpus.rows.columns[0], encoder.columns["candidate"]
    is_raw = isinstance(candidate, Mapping) and set(candidate) != {key}
    if is_raw:
        return record_of("candidate", candidate, columns, [key])
    candidate_id = candidate[key] if isinstance(candidate, Mapping) else candidate
    row = corpus.rows.find(candidate_id)
    if row is None:
        raise UserError(
            f"no candidate has {key} = {shown(candidate_id)}; a new candidate is an object of the columns {columns}"
        )
    return row


def rank_lists(encoder: RawEncoder, corpus: Corpus, lists: Sequence[GivenList]) -> list[list[RankedCandidate]]:
    """Return the candidates of each list, best first; equal scores stay in the given order.

    Raises:
        UserError: a value that a feature refuses, or an embedding or a score that is not finite.
    """
    answers = []
    for start in range(0, len(lists), BATCH):
        part = lists[start : start + BATCH]
        queries = encoder.embed("query", [each.query for each in part], corpus.rows, corpus.embeddings)
        raw = [entry for each in part for entry in each.found if not isinstance(entry, int)]
        embedded = iter(encoder.embed("candidate", raw, corpus.rows, corpus.embeddings))
        for query, each in zip(queries, part, strict=True):
            vectors = [corpus.embeddings[e] if isinstance(e, int) else next(embedded) for e in each.found]
            answers.append(_ranked(corpus, query, each, vectors))
    return answers


def _ranked(corpus: Corpus, query: Floats, given: GivenList, vectors: Sequence[Floats]) -> list[RankedCandidate]:
    if not vectors:
        return []
    # Equal candidates are scored once: at another place of a matrix, a product may be rounded differently.
    distinct, number = np.unique(np.stack(vectors), axis=0, return_inverse=True)
    scores = corpus.towers.score(query[None], distinct, np.arange(len(distinct))[None])[0][number.reshape(-1)]
    require_finite(scores[None], [given.query], "a score of query")
    order = np.argsort(-scores, kind="stable")
    return [RankedCandidate(given.candidates[place], float(scores[place]), int(place)) for place in order]
