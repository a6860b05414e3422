"""The base of searches by terms. It needs NumPy alone, and an index of it is changed and saved without the texts."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dssm_lightning.features.raw_values import HALF, is_unicode, shown
from dssm_lightning.retrieval.postings import Floats, Integers, Postings, dot_products
from dssm_lightning.retrieval.term_files import read_terms, write_terms
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.hashing import HashKeys

if TYPE_CHECKING:
    from typing_extensions import Self


class TermIndex(ABC):
    """Base of searches by terms: a score is the dot product of two sparse vectors over the terms of the corpus.

    A term of a query that no text of the corpus has is ignored. Searches may run in several threads at once.

    Example:
        >>> from dssm_lightning.retrieval.term_search import BM25
        >>> index: TermIndex = BM25()
        >>> index.fit(["list files", "copy a file", "remove a folder"])
        >>> index.scores(["copy", "files"]).argmax(axis=1).tolist()
        [1, 0]
        >>> longer = index.extended(["copy a folder"])  # the scores are those of all four texts, fitted at once
        >>> (longer.scores(["folder"])[0] > 0).tolist(), index.count
        ([False, False, True, True], 3)
    """

    rule: ClassVar[int]
    """Version of the rule that splits texts into terms. A saved index of another one is refused."""
    _postings: Postings | None = None
    _weights: Floats

    @property
    def count(self) -> int:
        """N, the number of candidates; 0 before :meth:`fit`."""
        return 0 if self._postings is None else self._postings.num_texts

    def fit(self, texts: Sequence[str | None]) -> None:
        """Learn the vocabulary and its weights from the texts of the candidates (N,).

        Raises:
            UserError: a value that is no text, or no valid Unicode.
        """
        self._weigh(self._bags(texts))

    def refitted(self, texts: Sequence[str | None]) -> Self:
        """Return an index of other texts, with the same settings. Errors as for :meth:`fit`."""
        return self._copy(self._bags(texts))

    def extended(self, texts: Sequence[str | None]) -> Self:
        """Return an index of these candidates, followed by those of ``texts``; the earlier texts are not needed.

        It scores as one that is fitted on all texts, to the last bit. This index stays as it is.

        Raises:
            UserError: nothing was fitted; and as for :meth:`fit`.
        """
        return self._copy(self._fitted().extended(self._bags(texts)))

    def without(self, rows: ArrayLike) -> Self:
        """Return an index without the candidates of some rows; the others keep their order and are numbered anew.

        It scores as one that is fitted on the texts that are left, to the last bit. This index stays as it is.

        Raises:
            UserError: nothing was fitted; rows that are no whole numbers from 0 to N − 1.
        """
        postings, numbers = self._fitted(), np.asarray(rows)
        numbers = numbers.astype(np.int64) if numbers.size == 0 else numbers
        if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
            raise UserError(f"rows are {numbers.dtype} of shape {numbers.shape}; they must be a list of whole numbers")
        outside = numbers[(numbers < 0) | (numbers >= postings.num_texts)]
        if len(outside):
            raise UserError(f"rows: there is no row {outside[0]}; the index has {postings.num_texts:,} candidates")
        mask = np.ones(postings.num_texts, np.bool_)
        mask[numbers] = False
        return self._copy(postings.kept(mask))

    def scores(self, texts: Sequence[str | None]) -> Floats:
        """Return scores (Q, N) float32 of texts (Q,); 0 for a candidate that shares no term with the query.

        The scores of a text are the same to the last bit, whatever is asked beside it.

        Raises:
            UserError: nothing was fitted; a value that is no text, or no valid Unicode.
        """
        postings = self._fitted()
        queries, places = self._bags(texts).known_in(postings.terms)
        own = self._query_weights(queries, postings.found_in[places], postings.num_texts)
        return dot_products(postings, self._weights, queries, places, own.astype(np.float32))

    def save(self, folder: str | Path) -> None:
        """Write the index to a folder, atomically; an existing index in it is replaced.

        Raises:
            UserError: nothing was fitted; the folder holds something else than such an index.
            OSError: the folder cannot be written.
        """
        write_terms(Path(folder), type(self).__name__, self._settings, self.rule, self._fitted(), self._weights)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Open a saved index; its arrays are mapped from their files, not read into memory.

        Raises:
            UserError: a file is missing or damaged, or of another kind of index; the index was saved by a newer format,
                or with another rule that splits texts into terms.
        """
        settings, postings, weights = read_terms(Path(folder), cls.__name__, cls.rule)
        try:
            index = cls(**settings)
        except TypeError as error:
            raise UserError(f"{folder}: {cls.__name__} has not all of the settings {sorted(settings)}") from error
        index._postings, index._weights = postings, weights
        return index

    @property
    def _settings(self) -> dict[str, Any]:
        return {}

    def _bags(self, texts: Sequence[str | None]) -> Postings:
        return Postings.of(*self._terms(_checked(texts)))

    def _fitted(self) -> Postings:
        if self._postings is None:
            raise UserError(f"{type(self).__name__}: there is nothing to search; fit or load the index first")
        return self._postings

    def _copy(self, postings: Postings) -> Self:
        changed = copy.copy(self)
        changed._weigh(postings)
        return changed

    def _weigh(self, postings: Postings) -> None:
        self._weights = self._corpus_weights(postings).astype(np.float32)
        self._postings = postings

    @abstractmethod
    def _terms(self, texts: Sequence[str]) -> tuple[HashKeys, Integers]:
        """Texts (B,) -> keys (·,) of their terms, with repetitions, and the number of terms of each text (B,)."""

    @abstractmethod
    def _corpus_weights(self, postings: Postings) -> NDArray[np.float64]:
        """(T,) weights of the candidates' postings."""

    @abstractmethod
    def _query_weights(self, postings: Postings, found_in: Integers, num_candidates: int) -> NDArray[np.float64]:
        """Weights of the queries' postings; ``found_in``: the candidates with each of the queries' terms."""


def _checked(texts: Sequence[str | None]) -> list[str]:
    found = ["" if text is None else text for text in texts]
    for row, text in enumerate(found):
        if not isinstance(text, str):
            raise UserError(f"texts: row {row} is {shown(text)}; it must be a text or None")
        if not is_unicode(text):
            raise UserError(f"texts: row {row}, {shown(text)}, {HALF}")
    return found
