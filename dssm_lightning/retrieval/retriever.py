"""Answers to raw queries: the candidates of an embedded corpus that score highest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dssm_lightning.features.raw_values import shown
from dssm_lightning.features.readings import Reading, Truncation
from dssm_lightning.retrieval.candidate_lookup import CandidateLookup
from dssm_lightning.retrieval.corpus import Corpus
from dssm_lightning.retrieval.corpus_changes import replaced, with_candidates, without_candidates
from dssm_lightning.retrieval.given_lists import GivenList, RankedCandidate, given_list, rank_lists
from dssm_lightning.retrieval.hits import Hit
from dssm_lightning.retrieval.raw_records import RawValues, require_ids
from dssm_lightning.retrieval.readings import read_record
from dssm_lightning.retrieval.searcher import Searcher, SearchOptions
from dssm_lightning.retrieval.towers import Side
from dssm_lightning.utils.errors import UserError, is_whole

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Hit", "RawValues", "Retriever", "SearchOptions"]


class Retriever(Searcher):
    """Answers raw queries from an embedded corpus. It needs NumPy, and what runs the towers.

    Searches may run in several threads at once, and go on while :meth:`add`, :meth:`remove` or :meth:`refresh` make
    another corpus. The same question always has the same answer.

    Args:
        schemas: the fitted features of both sides.
        corpus: the embedded candidates, and the model that embedded them.
        display: the columns to show beside an answer.
        query_texts: the columns of a query that a hybrid search reads.
        folder: the bundle from which the retriever was loaded.
        blend: the rule of a hybrid search, which ``fit`` chose; None = reciprocal rank fusion with weight 1.

    Example:
        >>> import numpy as np
        >>> from dssm_lightning.features import Vector
        >>> from dssm_lightning.features.schema import Schema, Schemas
        >>> from dssm_lightning.retrieval.candidate_rows import CandidateRows
        >>> class Unchanged:
        ...     num_indexes, vector_width, scorer = 1, 2, "Dot"
        ...     def encode(self, side, columns): return columns["direction"]
        ...     def vectors(self, embeddings): return embeddings[None]
        ...     def score(self, query, candidate, columns): return np.einsum("qd,qnd->qn", query, candidate[columns])
        >>> side = Schema((Vector(name="direction", length=2),))
        >>> rows = CandidateRows.of(["id", "name"], [["a", "ant"], ["b", "bee"]])
        >>> corpus = Corpus.build(Unchanged(), rows, np.eye(2, dtype=np.float32))
        >>> retriever = Retriever(Schemas(side, side), corpus, ["name"])
        >>> retriever.search({"direction": [0.0, 0.5]}, k=1)
        [Hit(id='b', score=0.5, display={'name': 'bee'})]
        >>> retriever.add([{"id": "c", "name": "cow", "direction": [0.0, 2.0]}])
        >>> [hit.id for hit in retriever.search({"direction": [0.0, 0.5]}, k=2, filter="name != 'ant'")]
        ['c', 'b']
        >>> [(each.candidate, each.score) for each in retriever.rank({"direction": [1.0, 0.0]}, ["b", "a"])]
        [('a', 1.0), ('b', 0.0)]
    """

    @classmethod
    def load(cls, bundle: str | Path, *, verify: bool = True, threads: int = 1) -> Retriever:
        """Open a bundle, which ``export`` wrote, without torch, Lightning or the training data.

        Args:
            bundle: a folder, or a URL that fsspec knows, from which the bundle is pulled into a cache first.
            verify: compare the checksum of every file. Without it, only names and sizes are compared.
            threads: threads of one call of a tower. One is best for single queries, and for threads of your own.

        Raises:
            UserError: no bundle, one of a newer release, or one with a missing, changed or further file; onnxruntime is
                not installed.
        """
        from dssm_lightning.retrieval.bundle.reading import open_bundle

        return open_bundle(bundle, verify=verify, threads=threads)

    # -- given lists ---------------------------------------------------------------------------------------------------

    def rank(self, query: RawValues, candidates: Sequence[Any]) -> list[RankedCandidate]:
        """Return given candidates in the order of the model's scores, best first.

        Args:
            query: raw values, as for :meth:`search`.
            candidates: ids of candidates, or raw values of new ones by column name, in any mixture; it may be empty.
                Equal scores stay in the given order.

        Raises:
            UserError: an id that no candidate has; and as for :meth:`encode_query`.
        """
        corpus = self.corpus
        (found,) = rank_lists(self._encoder, corpus, [given_list(self._encoder, corpus, query, candidates)])
        return found

    def rank_all(self, lists: Sequence[GivenList]) -> list[list[RankedCandidate]]:
        """Return the candidates of many lists, as :meth:`rank` does, in batches.

        Raises:
            UserError: as for :meth:`encode_query`.
        """
        return rank_lists(self._encoder, self.corpus, lists)

    def given_list(self, query: RawValues, candidates: Sequence[Any]) -> GivenList:
        """Check a query and its candidates for :meth:`rank_all`; the corpus must not change in between.

        Raises:
            UserError: an unknown column; an id that no candidate has.
        """
        return given_list(self._encoder, self.corpus, query, candidates)

    # -- what is shown beside answers ----------------------------------------------------------------------------------

    def read(self, values: RawValues, side: Side = "query") -> list[Reading]:
        """Return what a raw query becomes in each feature: known and unknown values, and what is cut off.

        Args:
            values: raw values, as for :meth:`search`.
            side: "query", or "candidate" for a raw candidate.

        Raises:
            UserError: as for :meth:`encode_query`.
        """
        (record,) = self._encoder.records(side, [values])
        return read_record(self._encoder.schema(side), record, self.corpus.rows)

    def truncations(self, values: RawValues, side: Side = "query") -> list[Truncation]:
        """Return what the features cut off a raw query, within microseconds; arguments as for :meth:`read`.

        Raises:
            UserError: an unknown column. A value that a feature refuses has no truncation.
        """
        (record,) = self._encoder.records(side, [values])
        return self._encoder.schema(side).truncations(record)

    def picture(self, candidate_id: Any) -> bytes | None:
        """Return the small picture of a candidate, a WebP or PNG file; None if the bundle has none.

        Raises:
            UserError: an id that no candidate has.
        """
        corpus = self.corpus
        (row,) = self._rows_of(corpus, [candidate_id])
        return None if corpus.pictures is None else corpus.pictures.at(row)

    def find(self, text: str, k: int = 10) -> list[Hit]:
        """Return at most k candidates whose shown columns or id contain every word of a text, for a person who picks.

        Case and accents do not count. Exact names come first, then names that begin with the text, then shorter names.
        The score of every hit is 0. An empty text finds the first k candidates.

        Raises:
            UserError: no text; k is not a whole number, or below 1.
        """
        if not isinstance(text, str):
            raise UserError(f"find: {shown(text)} is no text")
        if not is_whole(k) or k < 1:
            raise UserError(f"find: k is {k!r}; it must be a whole number, at least 1")
        corpus = self.corpus
        rows = self._lookup_of(corpus).find(text, k)
        return self._hits(corpus, [(np.zeros(len(rows), np.float32), np.array(rows, np.int64))])[0]

    def _lookup_of(self, corpus: Corpus) -> CandidateLookup:
        """Return the folded texts of a corpus, which are made at the first call; other threads wait for them."""
        with self._looking_up:
            if self._lookup is None or self._lookup.rows is not corpus.rows:
                self._lookup = CandidateLookup(corpus.rows, self.display)
            return self._lookup

    # -- other candidates ----------------------------------------------------------------------------------------------

    def add(self, candidates: Sequence[Mapping[str, Any]]) -> None:
        """Embed further candidates and search them, too, without training: give many at once.

        Args:
            candidates: values by column name: the id, what the model reads, and what is shown or filtered by.

        Raises:
            UserError: an id that exists, is missing or occurs twice; an unknown column; a value that a feature refuses.
        """
        self._change(lambda corpus: with_candidates(corpus, self._encoder, candidates))

    def remove(self, ids: Collection[Any]) -> None:
        """Remove candidates.

        Raises:
            UserError: an id that no candidate has; no candidate would be left.
        """
        gone = require_ids(ids, "remove")
        self._change(lambda corpus: without_candidates(corpus, self._encoder, gone))

    def refresh(self, candidates: Sequence[Mapping[str, Any]]) -> None:
        """Search these candidates in place of all others, embedded anew. Arguments and errors as for :meth:`add`."""
        self._change(lambda corpus: replaced(corpus, self._encoder, candidates))

    def save(self, bundle: str | Path) -> None:
        """Write a bundle of the model with the present candidates, whole or not at all.

        Args:
            bundle: a folder; may be that from which the retriever was loaded.

        Raises:
            UserError: the retriever was not loaded from a bundle; the folder holds something else.
            OSError: the folder cannot be written.
        """
        from dssm_lightning.retrieval.bundle.writing import save_corpus

        if self.folder is None:
            raise UserError("the retriever was not loaded from a bundle: use `export`, then Retriever.load")
        save_corpus(self.folder, Path(bundle), self.corpus)

    def _change(self, changed: Callable[[Corpus], Corpus]) -> None:
        with self._changing:  # a search keeps the corpus that it began with
            self._corpus = changed(self.corpus)
        self._lookup = None

    def close(self) -> None:
        """Release the corpus; searches that have begun come to their end, and a change that has begun is waited for."""
        with self._changing:
            self._corpus = None
        self._lookup = None

    def __enter__(self) -> Self:
        """Return the retriever, which is closed at the end of the block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the retriever."""
        self.close()
