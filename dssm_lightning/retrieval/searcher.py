"""Answers of an embedded corpus to raw queries."""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, overload

import numpy as np
from numpy.typing import ArrayLike

from dssm_lightning.features.raw_values import shown
from dssm_lightning.features.schema import Schemas
from dssm_lightning.retrieval.blend import Blend
from dssm_lightning.retrieval.candidate_lookup import CandidateLookup
from dssm_lightning.retrieval.corpus import Corpus
from dssm_lightning.retrieval.diversity import require_diversity
from dssm_lightning.retrieval.history_rows import history_rows
from dssm_lightning.retrieval.hits import Hit, hits_of
from dssm_lightning.retrieval.hybrid import Hybrid
from dssm_lightning.retrieval.raw_encoder import BATCH, RawEncoder
from dssm_lightning.retrieval.raw_records import RawValues, Several, are_several, as_list, require_ids
from dssm_lightning.retrieval.searching import Search, require_embeddings, require_left
from dssm_lightning.retrieval.towers import Floats, Side
from dssm_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from typing_extensions import Unpack


class SearchOptions(TypedDict, total=False):
    """Options of a search; see :meth:`Retriever.search_all`."""

    exclude: Collection[Any]
    exclude_history: bool
    filter: str | None
    hybrid: float | bool | None
    diversity: float


class Searcher:
    """What a retriever answers, without what changes it.

    Its one subclass is :class:`~dssm_lightning.retrieval.retriever.Retriever`, which documents the arguments.
    """

    def __init__(
        self,
        schemas: Schemas,
        corpus: Corpus,
        display: Sequence[str],
        query_texts: Sequence[str] = (),
        folder: Path | None = None,
        blend: Blend | None = None,
    ) -> None:
        self.schemas, self.towers, self.folder = schemas, corpus.towers, folder
        self.blend = Blend() if blend is None else blend
        self.display, self.query_texts = list(display), list(query_texts)
        self._encoder = RawEncoder(schemas, corpus.towers)
        self._corpus: Corpus | None = corpus
        self._changing = threading.Lock()  # one change of the corpus after the other
        self._looking_up = threading.Lock()
        self._lookup: CandidateLookup | None = None

    @property
    def corpus(self) -> Corpus:
        """The embedded candidates.

        Raises:
            UserError: the retriever is closed.
        """
        if self._corpus is None:
            raise UserError("the retriever is closed; load it again")
        return self._corpus

    def __len__(self) -> int:
        """N, the number of candidates."""
        return len(self.corpus.rows)

    # -- search --------------------------------------------------------------------------------------------------------

    @overload
    def search(self, query: RawValues, k: int = ..., **options: Unpack[SearchOptions]) -> list[Hit]: ...
    @overload
    def search(self, query: Several, k: int = ..., **options: Unpack[SearchOptions]) -> list[list[Hit]]: ...
    def search(
        self, query: RawValues | Several, k: int = 10, **options: Unpack[SearchOptions]
    ) -> list[Hit] | list[list[Hit]]:
        """Return the k candidates that score highest, best first; of several queries, a list for each.

        Arguments and errors as for :meth:`search_all`.
        """
        hits = self.search_all(as_list(query), k, **options)
        return hits if are_several(query) else hits[0]

    def search_all(
        self,
        queries: Sequence[RawValues],
        k: int = 10,
        *,
        exclude: Collection[Any] = (),
        exclude_history: bool = False,
        filter: str | None = None,
        hybrid: float | bool | None = None,
        diversity: float = 0.0,
    ) -> list[list[Hit]]:
        """Return the hits of many queries, in batches: several times as fast as one :meth:`search` after the other.

        Args:
            queries: raw values. An omitted column is a missing value. A value that training never saw is served as
                unknown.
            k: number of answers; there are fewer where a filter leaves fewer.
            exclude: ids of candidates that are left out.
            exclude_history: leave out the candidates in each query's own history, as an evaluation masks them.
            filter: a condition on the candidates' columns, such as ``year > 1990``:
                :func:`~dssm_lightning.retrieval.filters.parse_filter`.
            hybrid: True = blend the scores with BM25's as :attr:`blend` says; a number = the weight of BM25's list in a
                reciprocal rank fusion; None or False = the model alone.
            diversity: 0 = the best scores; up to 1, answers that differ more from each other, chosen among the 5 k best
                (:func:`~dssm_lightning.retrieval.diversity.diverse_places`) and in this order.

        Raises:
            UserError: an unknown column; a value that a feature refuses, or that is needed and not given; k that is not
                a whole number, or is larger than the searched corpus; an id to exclude that no candidate has; a hybrid
                without texts; a diversity outside [0, 1]; scores that are not finite.
        """
        diversity = require_diversity(diversity)
        corpus, records = self.corpus, self._encoder.records("query", as_list(queries))
        out = self._rows_of(corpus, require_ids(exclude, "exclude"))
        excluded = [out] * len(records)
        if exclude_history:
            excluded = [out | history_rows(self.schemas.query, record, corpus.rows) for record in records]
        require_left(k, len(corpus.rows), max(map(len, excluded), default=0), exclude_history)
        fusion = None
        if hybrid is not None and hybrid is not False:
            fusion = Hybrid(corpus.terms, self.query_texts, self.blend if hybrid is True else hybrid)
        search = Search(corpus, k, corpus.allowed(filter), fusion, diversity)
        hits: list[list[Hit]] = []
        for start in range(0, len(records), BATCH):
            part, out_of_part = records[start : start + BATCH], excluded[start : start + BATCH]
            embedded = self._encoder.embed("query", part, corpus.rows, corpus.embeddings)
            hits += self._hits(corpus, search.run(embedded, out_of_part, part))
        return hits

    def search_vectors(
        self,
        embeddings: ArrayLike,
        k: int = 10,
        *,
        exclude: Collection[Any] = (),
        filter: str | None = None,
        diversity: float = 0.0,
    ) -> list[list[Hit]]:
        """Return the hits of embedded queries (Q, D), as :meth:`encode_query` returns them.

        Raises:
            UserError: embeddings of another width, or with numbers that are not finite; and as for :meth:`search_all`.
        """
        corpus, diversity = self.corpus, require_diversity(diversity)
        queries = require_embeddings(embeddings, corpus.embeddings.shape[1])
        out = self._rows_of(corpus, require_ids(exclude, "exclude"))
        require_left(k, len(corpus.rows), len(out), False)
        search = Search(corpus, k, corpus.allowed(filter), None, diversity)
        hits: list[list[Hit]] = []
        for start in range(0, len(queries), BATCH):
            part = queries[start : start + BATCH]
            hits += self._hits(corpus, search.run(part, [out] * len(part), range(start, start + len(part))))
        return hits

    def similar(
        self, candidate_id: Any, k: int = 10, *, exclude: Collection[Any] = (), filter: str | None = None
    ) -> list[Hit]:
        """Return the k other candidates whose embeddings have the greatest cosine with that of a candidate.

        Raises:
            UserError: an id that no candidate has; and as for :meth:`search_all`.
        """
        corpus = self.corpus
        out = self._rows_of(corpus, [candidate_id, *require_ids(exclude, "exclude")])
        require_left(k, len(corpus.rows), len(out), False)
        (row,) = self._rows_of(corpus, [candidate_id])
        (hits,) = self._hits(corpus, [corpus.similar(row, k, corpus.allowed(filter), out)])
        return hits

    # -- embeddings and scores -----------------------------------------------------------------------------------------

    def encode_query(self, queries: RawValues | Several) -> Floats:
        """Return the embeddings (Q, D) of raw queries, each by its own values alone; of one query, (1, D).

        Raises:
            UserError: an unknown column, a value that a feature refuses, or an embedding that is not finite.
        """
        return self._embed("query", queries)

    def encode_candidate(self, candidates: RawValues | Several) -> Floats:
        """Return the embeddings (C, D) of raw candidates. Errors as for :meth:`encode_query`."""
        return self._embed("candidate", candidates)

    def score(self, query: RawValues, candidates: RawValues | Several) -> list[float]:
        """Return the model's score of a query with each of the raw candidates, as :meth:`search` would show it.

        Raises:
            UserError: as for :meth:`encode_query`.
        """
        embedded = self.encode_candidate(candidates)
        columns = np.arange(len(embedded))[None]
        found: list[float] = self.towers.score(self.encode_query(query), embedded, columns)[0].tolist()
        return found

    def similarity(self, query: Floats, candidate: Floats) -> Floats:
        """(Q, D), (C, D) -> (Q, C): the unscaled inner products that an index ranks by.

        A scorer that no index can serve gives its scores instead.
        """
        return self.corpus.similarity(query, candidate)

    def _embed(self, side: Side, values: RawValues | Several) -> Floats:
        corpus = self.corpus
        records = self._encoder.records(side, as_list(values))
        return self._encoder.embed(side, records, corpus.rows, corpus.embeddings)

    # -- helpers -------------------------------------------------------------------------------------------------------

    def _hits(self, corpus: Corpus, found: Sequence[tuple[Floats, Any]]) -> list[list[Hit]]:
        return hits_of(corpus.rows, self.display, found)

    def _rows_of(self, corpus: Corpus, ids: Sequence[Any]) -> frozenset[int]:
        rows = [corpus.rows.find(candidate_id) for candidate_id in ids]
        if None in rows:
            missing = next(each for each, row in zip(ids, rows, strict=True) if row is None)
            raise UserError(f"no candidate has {corpus.rows.columns[0]} = {shown(missing)}")
        return frozenset(row for row in rows if row is not None)
