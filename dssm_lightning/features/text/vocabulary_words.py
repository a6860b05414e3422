"""Text as a sequence of words, by a vocabulary that is fitted or given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dssm_lightning.features.text.ngrams import lookup, word_hashes
from dssm_lightning.features.text.text_feature import TextFeature, ragged, require_positive
from dssm_lightning.features.text.word_vector_files import read_vector_table
from dssm_lightning.features.text.words_and_letters import normalised, pieces, word_strings
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.hashing import HashKeys
from dssm_lightning.utils.ragged import Ragged


@dataclass(frozen=True, kw_only=True)
class Words(TextFeature):
    """The words of a text, in its order, as rows of a vocabulary; row 0 is for all other words.

    The vocabulary is fitted, given, or that of a table of word vectors, which the encoder ``WordVectors`` then reads.
    """

    vectors: str | None = None
    """Path of a table of word vectors (:mod:`~dssm_lightning.features.text.word_vector_files`)
    whose words, in its order, are the vocabulary: also of words that no training text has, the table says something."""
    vector_dim: int | None = None
    """Numbers of each of its vectors; ``fit`` fills it in."""
    max_tokens: int | None = None
    """Keep at most so many words, the most frequent ones (of a table of vectors, the first); null = all."""
    max_length: int | None = None
    """Keep at most so many words of each text, the first ones; null = all."""
    num_embeddings: int | None = None
    """Rows of the embedding table, where it should be larger than the words need."""
    vocabulary: tuple[str, ...] | None = None
    """The words whose rows are 1, 2, …: fitted by frequency, equally frequent ones by alphabet, unless given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.vocabulary is not None:
            object.__setattr__(self, "vocabulary", tuple(self.vocabulary))  # a list would not equal what JSON gives
        require_positive(
            self, max_tokens=self.max_tokens, max_length=self.max_length, num_embeddings=self.num_embeddings
        )
        if self.num_embeddings is not None and self.num_embeddings < self._needed:
            raise UserError(
                f"feature {self.name!r}: num_embeddings is {self.num_embeddings:,}, but {self._needed:,} rows are "
                "needed (the unknown word and the known ones); raise it, or lower max_tokens"
            )
        if self.vocabulary is not None and len(set(self.vocabulary)) < len(self.vocabulary):
            raise UserError(f"feature {self.name!r}: its vocabulary holds some word twice; each has one row")

    @property
    def is_fitted(self) -> bool:
        """Whether the vocabulary is known."""
        return self.vocabulary is not None

    @property
    def cardinality(self) -> int:
        """Rows of the embedding table; row 0 means unknown."""
        return self._needed if self.num_embeddings is None else self.num_embeddings

    @property
    def _needed(self) -> int:
        """Rows that the words need, as far as they are known."""
        return len(self.vocabulary or ()) + 1

    @cached_property
    def _known(self) -> tuple[HashKeys, NDArray[np.int32]]:
        """Hashes of the vocabulary, sorted, and their rows."""
        given = pl.Series(self.vocabulary or (), dtype=pl.String)
        words, counts = word_strings(normalised(given))
        wrong = np.flatnonzero(counts != 1) if (counts != 1).any() else np.flatnonzero(words != given)
        if len(wrong):
            raise UserError(
                f"feature {self.name!r}: {given[int(wrong[0])]!r} of its vocabulary is not a word as texts are split "
                "(one word, case folded, without punctuation around it), so that no text would ever hold it"
            )
        hashes = np.concatenate([word_hashes(letters)[0] for letters in pieces(given)])
        order = np.argsort(hashes)
        return hashes[order], (order + 1).astype(np.int32)

    def _learn(self, texts: pl.Series) -> dict[str, Any]:
        if self.vocabulary is not None:
            assert self._known  # raises if the vocabulary that was given is wrong
            return {}
        if self.vectors is not None:
            table = read_vector_table(Path(self.vectors), f"feature {self.name!r}")
            return {"vocabulary": tuple(table.words[: self.max_tokens].to_list()), "vector_dim": table.vectors.shape[1]}
        words, _ = word_strings(texts)
        counted = words.alias("word").value_counts(name="count").sort(["count", "word"], descending=[True, False])
        limit = len(counted) if self.max_tokens is None else self.max_tokens
        return {"vocabulary": tuple(counted["word"].head(limit).to_list())}

    def _encode(self, texts: pl.Series) -> Ragged:
        parts = [word_hashes(letters) for letters in pieces(texts)]
        lengths = np.concatenate([np.diff(starts) for _, starts in parts])
        return ragged(lookup(np.concatenate([hashes for hashes, _ in parts]), *self._known), lengths, self.max_length)
