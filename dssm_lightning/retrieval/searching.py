"""One search: embedded queries in, scores and rows of the corpus out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dssm_lightning.retrieval.best_places import best_places
from dssm_lightning.retrieval.corpus import Corpus, Mask, Rows
from dssm_lightning.retrieval.diversity import POOL, diverse_places
from dssm_lightning.retrieval.hybrid import Hybrid
from dssm_lightning.retrieval.raw_encoder import BATCH, Record, require_finite
from dssm_lightning.retrieval.towers import Floats
from dssm_lightning.utils.errors import UserError, is_whole

SCORES = 1 << 24
"""Scores that are in memory at once where every candidate is scored."""


@dataclass(frozen=True)
class Search:
    """What the queries of a search have in common.

    Attributes:
        corpus: what is searched.
        k: number of answers.
        allowed: (N,) candidates that may be found; None = all.
        hybrid: blends the model's scores with those of BM25; None = the model alone.
        diversity: λ of :func:`~dssm_lightning.retrieval.diversity.diverse_places`; 0 = the best scores.
    """

    corpus: Corpus
    k: int
    allowed: Mask | None
    hybrid: Hybrid | None = None
    diversity: float = 0.0

    def run(
        self, queries: Floats, excluded: Sequence[Collection[int]], values: Sequence[Any]
    ) -> list[tuple[NDArray[Any], Rows]]:
        """Return for each embedded query (Q, D) the scores and the rows of its best candidates, best first.

        Diverse candidates come in the order in which they were chosen.

        Args:
            queries: (Q, D).
            excluded: for each query the rows that it must not find.
            values: the queries as the caller gave them; a hybrid search reads their texts.

        Raises:
            UserError: a score that is not finite.
        """
        step, found = self._at_once, []
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            found += self._run(queries[part], excluded[part], values[part])
        return [self._diverse(*each) for each in found] if self.diversity else found

    def _diverse(self, scores: NDArray[Any], rows: Rows) -> tuple[NDArray[Any], Rows]:
        places = diverse_places(scores, self.corpus.directions(rows), self.k, self.diversity)
        return scores[places], rows[places]

    @property
    def _wanted(self) -> int:
        """The best candidates that are found: the answers, or those that diverse answers are chosen from."""
        return min(POOL * self.k, len(self.corpus.rows)) if self.diversity else self.k

    @property
    def _at_once(self) -> int:
        """The queries whose scores of all candidates are in memory at once."""
        whole = self.hybrid is not None or not self.corpus.indexes
        return max(1, SCORES // len(self.corpus.rows)) if whole else BATCH

    def _run(
        self, queries: Floats, excluded: Sequence[Collection[int]], values: Sequence[Any]
    ) -> list[tuple[NDArray[Any], Rows]]:
        if self.hybrid is not None:
            return self._fused(self.hybrid, queries, excluded, values)
        found = self.corpus.search(queries, self._wanted, self.allowed, excluded if any(excluded) else ())
        if not np.isfinite(np.concatenate([scores for scores, _ in found])).all():
            for number, (scores, _) in enumerate(found):
                require_finite(scores[None], values[number : number + 1], "a score of query")
        return found

    def _fused(
        self, hybrid: Hybrid, queries: Floats, excluded: Sequence[Collection[int]], records: Sequence[Record]
    ) -> list[tuple[NDArray[Any], Rows]]:
        scores = self.corpus.scores(queries)
        require_finite(scores, records, "a score of query")
        fused = hybrid.fuse(scores, hybrid.texts_of(records))
        found = []
        for own, out in zip(fused, excluded, strict=True):
            kept = np.ones(len(own), bool) if self.allowed is None else self.allowed.copy()
            kept[list(out)] = False
            places = np.flatnonzero(kept)
            best = best_places(own[places], self._wanted)
            found.append((own[places[best]], places[best]))
        return found


def require_embeddings(embeddings: ArrayLike, width: int) -> Floats:
    """Return embedded queries as (Q, D) float32.

    Raises:
        UserError: another width, or numbers that are not finite.
    """
    try:
        with np.errstate(over="ignore"):
            queries = np.ascontiguousarray(embeddings, np.float32)
    except (ValueError, TypeError) as error:
        raise UserError(f"the embedded queries are no table of numbers: {error}") from error
    if queries.ndim != 2 or queries.shape[1] != width:
        raise UserError(f"the embedded queries are of shape {queries.shape}; the model's are (Q, {width})")
    require_finite(queries, range(len(queries)), "the embedding of query")
    return queries


def require_left(k: Any, total: int, excluded: int, in_history: bool) -> None:
    """Refuse a number of answers that is no whole number from 1 to the candidates that are left.

    Args:
        k: the number of answers.
        total: N.
        excluded: the most candidates that a query excludes.
        in_history: whether a history excludes some of them, for the message.

    Raises:
        UserError: such a number.
    """
    if not is_whole(k):
        raise UserError(f"k is {k!r}; it must be a whole number, at least 1")
    left = total - excluded
    if not 1 <= k <= left:
        where = " in the history" if in_history else ""
        out = f", {excluded:,} of them excluded{where}" if excluded else ""
        raise UserError(f"k is {k}; the corpus has {total:,} candidates{out}: choose a k from 1 to {left:,}")
