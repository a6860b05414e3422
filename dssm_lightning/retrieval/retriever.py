"""Answers to raw queries: the candidates of an embedded corpus that score highest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dssm_lightning.retrieval.corpus import Corpus
from dssm_lightning.retrieval.corpus_changes import replaced, with_candidates, without_candidates
from dssm_lightning.retrieval.hits import Hit
from dssm_lightning.retrieval.raw_records import RawValues, require_ids
from dssm_lightning.retrieval.searcher import Searcher, SearchOptions
from dssm_lightning.utils.errors import UserError

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

    def close(self) -> None:
        """Release the corpus; searches that have begun come to their end, and a change that has begun is waited for."""
        with self._changing:
            self._corpus = None

    def __enter__(self) -> Self:
        """Return the retriever, which is closed at the end of the block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the retriever."""
        self.close()
