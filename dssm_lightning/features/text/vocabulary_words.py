"""Texts as sequences of words, with a vocabulary that is fitted or given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.text.ngrams import lookup, word_hashes
from dssm_lightning.features.text.shared_vocabulary import SharedVocabulary
from dssm_lightning.features.text.text_feature import TextFeature, ragged, require_sizes
from dssm_lightning.features.text.word_vector_files import read_vector_table
from dssm_lightning.features.text.words_and_letters import (
    Letters,
    normalised_texts,
    spelled_pieces,
    word_strings,
    word_texts,
)
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.hashing import HashKeys
from dssm_lightning.utils.ragged_arrays import RaggedArray

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, kw_only=True)
class Words(SharedVocabulary, TextFeature):
    """The words of a text in their order, with a vocabulary; row 0 is for all unknown words.

    The vocabulary is fitted, given, or taken from a file of word vectors, which the encoder ``WordVectors`` then reads.

    Example:
        >>> import polars as pl
        >>> feature = Words(name="title").fit(pl.Series(["The cat, the dog.", "A dog"]))
        >>> feature.vocabulary
        ('dog', 'the', 'a', 'cat')
        >>> feature.encode(pl.Series(["the dog barks"])).values.tolist()
        [2, 1, 0]
    """

    knows_values = True

    vectors: str | None = None
    """Path of a file of word vectors (:mod:`~dssm_lightning.features.text.word_vector_files`). Its words, in its order,
    are the vocabulary, including words that no training text contains."""
    vector_dim: int | None = None
    """Length of the word vectors; set by ``fit``."""
    max_tokens: int | None = None
    """Keep only the ``max_tokens`` most frequent words, or the first words of a file of vectors; None keeps all."""
    max_length: int | None = None
    """Keep only the first ``max_length`` words of each text; None keeps all."""
    num_embeddings: int | None = None
    """Number of rows of the embedding table, if it should be larger than the vocabulary needs."""
    vocabulary: tuple[str, ...] | None = None
    """The words of the rows 1, 2, …. Learnt by ``fit`` unless it is given: the most frequent words first, equally
    frequent words in the order of the alphabet."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocabulary is not None:
            object.__setattr__(
                self, "vocabulary", tuple(self.vocabulary)
            )  # a list, as YAML has it, would not be hashable
        require_sizes(self, max_tokens=self.max_tokens, max_length=self.max_length, num_embeddings=self.num_embeddings)
        if self.num_embeddings is not None and self.num_embeddings < self._needed:
            raise UserError(
                f"{self._label}: num_embeddings is {self.num_embeddings:,}, but {self._needed:,} rows are needed (one "
                "for unknown words, one for each known word); increase num_embeddings or decrease max_tokens"
            )
        if self.vocabulary is not None and len(set(self.vocabulary)) < len(self.vocabulary):
            repeated = Counter(self.vocabulary).most_common(1)[0][0]
            raise UserError(f"{self._label}: vocabulary holds {repeated!r} more than once; remove the duplicates")

    @property
    def is_fitted(self) -> bool:
        """Whether the vocabulary is known."""
        return self.vocabulary is not None

    @property
    def cardinality(self) -> int:
        """Number of rows of the embedding table; row 0 is for unknown words."""
        return self._needed if self.num_embeddings is None else self.num_embeddings

    @property
    def _needed(self) -> int:
        """Number of rows that the known words need."""
        return len(self.vocabulary or ()) + 1

    @property
    def longest(self) -> int | None:
        """The most words that are kept of a text: ``max_length``."""
        return self.max_length

    @cached_property
    def _known(self) -> tuple[HashKeys, NDArray[np.int32]]:
        """Return the hashes of the vocabulary, sorted, and their rows."""
        given = self.vocabulary or ()
        words, counts = word_texts(normalised_texts(given))
        pairs = zip(words, given, strict=False)  # of equal number if each text is one word
        wrong = [*np.flatnonzero(counts != 1)] or [row for row, (word, text) in enumerate(pairs) if word != text]
        if wrong:
            raise UserError(
                f"{self._label}: vocabulary holds {given[wrong[0]]!r}, which no text can contain; it must hold "
                "single words in lower case (case folded), without punctuation around them"
            )
        hashes = np.concatenate([word_hashes(letters)[0] for letters in spelled_pieces(given)])
        order = np.argsort(hashes)
        return hashes[order], (order + 1).astype(np.int32)

    def _learn(self, texts: pl.Series) -> dict[str, Any]:
        if self.vocabulary is not None:
            assert self._known  # raises a UserError if a given vocabulary is wrong
            return {}
        if self.vectors is not None:
            table = read_vector_table(Path(self.vectors), self._label)
            return {"vocabulary": tuple(table.words[: self.max_tokens].to_list()), "vector_dim": table.vectors.shape[1]}
        words, _ = word_strings(texts)
        counted = words.alias("word").value_counts(name="count").sort(["count", "word"], descending=[True, False])
        limit = len(counted) if self.max_tokens is None else self.max_tokens
        return {"vocabulary": tuple(counted["word"].head(limit).to_list())}

    def _encode_pieces(self, pieces: Iterable[Letters]) -> RaggedArray:
        parts = [word_hashes(letters) for letters in pieces]
        lengths = np.concatenate([np.diff(starts) for _, starts in parts])
        return ragged(lookup(np.concatenate([hashes for hashes, _ in parts]), *self._known), lengths, self.max_length)
