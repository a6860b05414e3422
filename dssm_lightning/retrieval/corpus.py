"""What is searched: the candidates' embeddings, their values, and the indexes of both."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.retrieval.best_places import best_places
from dssm_lightning.retrieval.candidate_pictures import CandidatePictures
from dssm_lightning.retrieval.candidate_rows import CandidateRows
from dssm_lightning.retrieval.column_kinds import TIMES
from dssm_lightning.retrieval.filters.columns import Column
from dssm_lightning.retrieval.filters.grammar import parse_filter
from dssm_lightning.retrieval.indexes.base import Index
from dssm_lightning.retrieval.indexes.exact import Exact
from dssm_lightning.retrieval.term_search import BM25
from dssm_lightning.retrieval.towers import Floats, Towers
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.optional_packages import naming_packages
from dssm_lightning.utils.suggestions import did_you_mean

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]
_PAIRS = 1 << 20  # scored at once where no index can serve


@dataclass(frozen=True)
class Corpus:
    """N embedded candidates. An object never changes, so that searches go on while another one takes its place.

    Attributes:
        towers: the model that embedded them.
        rows: ids and values.
        embeddings: (N, D), of the candidate tower.
        indexes: H indexes of the vectors that rank as the scorer does; none if no index can serve the model.
        terms: the index of words, for a hybrid search; None = no texts.
        kinds: of the columns by name, as :data:`~dssm_lightning.retrieval.column_kinds.KINDS` has them.
        pictures: small pictures of the candidates; None if no column has pictures.
    """

    towers: Towers
    rows: CandidateRows
    embeddings: Floats
    indexes: tuple[Index, ...]
    terms: BM25 | None = None
    kinds: dict[str, str] = field(default_factory=dict)
    pictures: CandidatePictures | None = None
    _columns: dict[str, Column] = field(default_factory=dict, compare=False)

    @classmethod
    def build(
        cls,
        towers: Towers,
        rows: CandidateRows,
        embeddings: Floats,
        terms: BM25 | None = None,
        kinds: dict[str, str] | None = None,
        like: Sequence[Index] = (),
        pictures: CandidatePictures | None = None,
    ) -> Corpus:
        """Index embeddings (N, D): exactly, or with the settings of the indexes ``like``.

        Raises:
            UserError: embeddings that are not finite, or an index that cannot be built.
        """
        if not towers.num_indexes:
            return cls(towers, rows, embeddings, (), terms, kinds or {}, pictures)
        makers = like or [Exact()] * towers.num_indexes
        vectors = towers.vectors(embeddings)
        built = [type(each)(**each.settings).build(part) for each, part in zip(makers, vectors, strict=True)]
        return cls(towers, rows, embeddings, tuple(built), terms, kinds or {}, pictures)

    def allowed(self, filter: str | None) -> Mask | None:
        """Return which candidates (N,) a filter keeps; None without a filter.

        Raises:
            UserError: no filter, an unknown column, or a value of another type than the column's.
        """
        if filter is None:
            return None
        with naming_packages("a filter"):
            parsed = parse_filter(filter)
        names = self.rows.columns
        for name in parsed.columns:
            if name not in names:
                raise UserError(f"filter: there is no column {name!r}; columns are {names}{did_you_mean(name, names)}")
            if name not in self._columns:
                self._columns[name] = self._column(name)
        return parsed.mask(self._columns)

    def _column(self, name: str) -> Column:
        values = self.rows.column(name)
        if self.kinds.get(name) in TIMES:
            unit = "D" if self.kinds[name] == "date" else "us"
            try:
                return Column.of(name, np.array(values, f"datetime64[{unit}]"))
            except (ValueError, TypeError) as error:
                raise UserError(f"filter: column {name!r} holds a time that is none: {error}") from error
        return Column.of(name, values)

    def search(
        self, queries: Floats, k: int, allowed: Mask | None, excluded: Sequence[Collection[int]] = ()
    ) -> list[tuple[Floats, Rows]]:
        """Return for each query the scores and the rows of its best candidates, best first; of equal scores lower rows.

        Args:
            queries: (Q, D) embeddings.
            k: number of candidates; there are fewer where a filter leaves fewer.
            allowed: (N,) candidates that may be found; None = all.
            excluded: rows that each query must not find; empty = none for all.
        """
        left = len(self.rows) if allowed is None else int(allowed.sum())
        wanted = min(left, k + max(map(len, excluded), default=0))
        if not wanted or not len(queries):
            return [(np.empty(0, np.float32), np.empty(0, np.int64))] * len(queries)
        if self.indexes:
            scores, rows = self._search_indexes(queries, wanted, allowed)
        else:
            scores, rows = self._search_scores(self.scores(queries), wanted, allowed)
        if not any(excluded):
            return list(zip(scores[:, :k], rows[:, :k], strict=True))
        found = []
        for own_scores, own_rows, out in zip(scores, rows, excluded, strict=True):
            kept = ~np.isin(own_rows, list(out))
            found.append((own_scores[kept][:k], own_rows[kept][:k]))
        return found

    @cached_property
    def _scale(self) -> float:
        """What a score is of the greatest inner product of vectors."""
        query = np.zeros((1, self.embeddings.shape[1]), np.float32)
        query[0, 0] = 1.0
        product = float((self.towers.vectors(query) ** 2).sum(-1).max())
        return float(self.towers.score(query, query, np.zeros((1, 1), np.int64))[0, 0]) / product

    def _search_indexes(self, queries: Floats, k: int, allowed: Mask | None) -> tuple[Floats, Rows]:
        pairs = zip(self.indexes, self.towers.vectors(queries), strict=True)
        parts = [index.search(vectors, k, allowed) for index, vectors in pairs]
        if len(parts) == 1 and self.indexes[0].exact_scores:
            return parts[0].scores * np.float32(self._scale), parts[0].rows
        rows = np.sort(np.concatenate([part.rows for part in parts], axis=1), axis=1)
        scores = _with_nan_first(self.towers.score(queries, self.embeddings, rows))
        scores[:, 1:][rows[:, 1:] == rows[:, :-1]] = -np.inf  # a candidate that several heads found counts once
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)

    def _search_scores(self, scores: Floats, k: int, allowed: Mask | None) -> tuple[Floats, Rows]:
        places = np.arange(len(self.rows)) if allowed is None else np.flatnonzero(allowed)
        own = _with_nan_first(scores if allowed is None else scores[:, places])
        best = np.stack([best_places(each, k) for each in own])
        return np.take_along_axis(own, best, 1), places[best]

    def scores(self, queries: Floats) -> Floats:
        """Return numbers (Q, N) that rank all candidates as the model does."""
        return self.similarity(queries, self.embeddings)

    def similarity(self, query: Floats, candidate: Floats) -> Floats:
        """(Q, D), (C, D) -> (Q, C): inner products of the vectors of an index, or else the scorer's scores."""
        if self.towers.num_indexes:
            best: Floats = (self.towers.vectors(query) @ self.towers.vectors(candidate).transpose(0, 2, 1)).max(0)
            return best
        step = max(1, _PAIRS // max(len(query), 1))
        blocks = [candidate[start : start + step] for start in range(0, len(candidate), step)]
        columns = [np.broadcast_to(np.arange(len(block)), (len(query), len(block))) for block in blocks]
        found = [self.towers.score(query, *pair) for pair in zip(blocks, columns, strict=True)]
        return np.concatenate(found, axis=1)

    def similar(self, row: int, k: int, allowed: Mask | None, excluded: Collection[int]) -> tuple[Floats, Rows]:
        """Return the cosines and the rows of the candidates most similar to one, best first."""
        vectors = self.embeddings[:, : self.towers.vector_width]
        own = vectors[row]
        with np.errstate(divide="ignore", invalid="ignore"):
            cosines = (vectors @ own) / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(own))
        cosines = np.nan_to_num(cosines)  # a vector of zeros is similar to none
        kept = np.ones(len(cosines), bool) if allowed is None else allowed.copy()
        kept[list(excluded)] = False
        places = np.flatnonzero(kept)
        best = best_places(cosines[places], k)
        return cosines[places[best]], places[best]

    def directions(self, rows: Rows) -> Floats:
        """Return the embeddings (n, D) of some candidates, scaled to length 1; a vector of zeros stays as it is."""
        vectors = self.embeddings[rows, : self.towers.vector_width].astype(np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        scaled: Floats = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        return scaled


def _with_nan_first(scores: Floats) -> Floats:
    """Return scores in which NaN is the greatest, so that it is found, and refused, and not left out in silence."""
    return np.where(np.isnan(scores), np.float32(np.inf), scores)
