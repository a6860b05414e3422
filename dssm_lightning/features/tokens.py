"""Text as sequences: words of a fitted vocabulary, or the tokens of a ``tokenizers`` tokenizer, in the text's order."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from dssm_lightning.batch import Ragged
from dssm_lightning.features.base import Feature
from dssm_lightning.features.hashing import Keys, lookup, word_hashes
from dssm_lightning.features.letters import normalised, pieces, word_strings
from dssm_lightning.features.text_column import MAX_CHARACTERS, TextFeature, ragged, require_positive, text_column
from dssm_lightning.features.vector_table import read_vector_table

TokensT = TypeVar("TokensT", bound="Tokens")


@dataclass(frozen=True, kw_only=True)
class Words(TextFeature):
    """The words of a text, in its order, as rows of a vocabulary; row 0 is for all other words.

    The vocabulary is fitted, given, or that of a table of word vectors, which the encoder ``WordVectors`` then reads.
    """

    vectors: str | None = None
    """Path of a table of word vectors (:mod:`~dssm_lightning.features.vector_table`) whose words, in its order, are the
    vocabulary: also of words that no training text has, the table says something."""
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
            raise ValueError(
                f"feature {self.name!r}: num_embeddings is {self.num_embeddings:,}, but {self._needed:,} rows are "
                "needed (the unknown word and the known ones); raise it, or lower max_tokens"
            )
        if self.vocabulary is not None and len(set(self.vocabulary)) < len(self.vocabulary):
            raise ValueError(f"feature {self.name!r}: its vocabulary holds some word twice; each has one row")

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
    def _known(self) -> tuple[Keys, NDArray[np.int32]]:
        """Hashes of the vocabulary, sorted, and their rows."""
        given = pl.Series(self.vocabulary or (), dtype=pl.String)
        words, counts = word_strings(normalised(given))
        wrong = np.flatnonzero(counts != 1) if (counts != 1).any() else np.flatnonzero(words != given)
        if len(wrong):
            raise ValueError(
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


@dataclass(frozen=True, kw_only=True)
class Tokens(Feature):
    """The tokens of a text, in its order, by a ``tokenizers`` tokenizer: a file's, or one trained in ``fit``.

    The fitted feature holds the tokenizer itself, so that a saved model needs no file. One trained here folds case and
    compatibility forms (NFKC), splits at whitespace and punctuation, and has ``[UNK]`` in row 0. Rows stay as long as
    their texts: encoders pad, and what the file says of padding and truncation is not used.
    """

    reads_text = True

    on_empty: Literal["error", "allow"] = "error"
    """What a null, empty or blank text is: an error, or a row without tokens."""
    max_characters: int = MAX_CHARACTERS
    """What a text has beyond is left out, and such texts are counted in a warning."""
    tokenizer: str | None = None
    """Path of a tokenizer file (JSON), read by ``fit``; from then on its content. null = train one."""
    model: Literal["bpe", "wordpiece", "unigram"] = "bpe"
    """Kind of tokenizer that is trained where none is given. "unigram" adds up probabilities in no fixed order: trained
    again, it can differ a little; the others cannot."""
    vocab_size: int = 8192
    """Number of tokens that it may have."""
    max_length: int | None = None
    """Keep at most so many tokens of each text, the first ones; null = all."""
    add_special_tokens: bool = False
    """Whether the tokenizer's own marks, as ``[CLS]`` and ``[SEP]``, are put around each text."""

    def __post_init__(self) -> None:
        require_positive(
            self, vocab_size=self.vocab_size, max_length=self.max_length, max_characters=self.max_characters
        )
        if self.model not in _MODELS:
            raise ValueError(f"feature {self.name!r}: model is {self.model!r}; it can be {', '.join(_MODELS)}")

    @property
    def is_fitted(self) -> bool:
        """Whether the tokenizer itself is known, not only its path."""
        return self.tokenizer is not None and self.tokenizer.lstrip().startswith("{")

    @property
    def cardinality(self) -> int:
        """Rows of the embedding table: one for each token, added and special ones too."""
        return max(self._loaded().get_vocab(with_added_tokens=True).values()) + 1

    def fit(self: TokensT, column: pl.Series) -> TokensT:
        """A copy that holds the tokenizer: as given, read from its file, or trained on texts (B,).

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file holds no tokenizer, the column no texts, or (unless allowed) an empty one.
        """
        texts = text_column(self, column, self.on_empty, self.max_characters)
        if self.tokenizer is None:
            return replace(self, tokenizer=_train(texts.fill_null(""), self.model, self.vocab_size))
        fitted = self if self.is_fitted else replace(self, tokenizer=self._read(Path(self.tokenizer)))
        fitted._loaded()  # raises if it is no tokenizer
        return fitted

    def encode(self, column: pl.Series) -> Ragged:
        """Texts (B,) as B rows of int32 ids.

        Raises:
            ValueError: the feature is not fitted, the column holds no texts, or (unless allowed) an empty one.
        """
        tokenizer = self._loaded()
        texts = text_column(self, column, self.on_empty, self.max_characters).fill_null("").to_list()
        rows = list(
            map(attrgetter("ids"), tokenizer.encode_batch_fast(texts, add_special_tokens=self.add_special_tokens))
        )
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return ragged(np.fromiter(chain.from_iterable(rows), np.int32, int(lengths.sum())), lengths)

    def _read(self, path: Path) -> str:
        if not path.is_file():
            raise FileNotFoundError(f"feature {self.name!r}: there is no tokenizer file {str(path)!r}")
        text = path.read_bytes().decode(errors="replace")
        label = f"feature {self.name!r}: {str(path)!r}"
        if not text.lstrip().startswith("{"):
            raise ValueError(f"{label} is no file of the `tokenizers` library (a JSON object)")
        try:
            keys = list(json.loads(text))
        except json.JSONDecodeError as error:
            raise ValueError(f"{label} is no file of the `tokenizers` library: {error}") from error
        if "model" not in keys:  # a model's settings, or a bare vocabulary, which lie beside it under similar names
            raise ValueError(
                f"{label} is another kind of file: it holds {', '.join(keys[:4])}, …, and no `model`, as the file "
                "tokenizer.json of the `tokenizers` library does"
            )
        return text

    def _loaded(self) -> Tokenizer:
        if self.tokenizer is None or not self.is_fitted:
            raise ValueError(f"feature {self.name!r}: its tokenizer is not known yet; fit it first")
        try:
            return _load(self.tokenizer, self.max_length)
        except Exception as error:  # tokenizers raises this very class
            raise ValueError(
                f"feature {self.name!r}: its tokenizer cannot be read ({error}); "
                "it must be a file that the `tokenizers` library saved"
            ) from error


@lru_cache(maxsize=16)
def _load(content: str, max_length: int | None) -> Tokenizer:
    tokenizer = Tokenizer.from_str(content)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if max_length is not None:
        tokenizer.enable_truncation(max_length)  # counts the special tokens, and keeps them
    return tokenizer


_UNKNOWN = "[UNK]"
_MODELS = ("bpe", "wordpiece", "unigram")


def _train(texts: pl.Series, model: str, vocab_size: int) -> str:
    """The content of a tokenizer that is trained on texts (B,) without nulls."""
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    # WordPiece numbers the letters inside words as its hash table yields them, and merges by these numbers: named
    # beforehand, they have the same numbers in every run.
    inner = sorted({f"##{letter}" for letter in normalizer.normalize_str("".join(texts)) if not letter.isspace()})
    tokenizer = Tokenizer(_untrained(model))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(texts.to_list(), _trainer(model, vocab_size, inner))
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = content["added_tokens"][:1]  # [UNK] alone is special
    return json.dumps(content)


def _untrained(model: str) -> models.Model:
    if model == "bpe":
        return models.BPE(unk_token=_UNKNOWN)
    return models.WordPiece(unk_token=_UNKNOWN) if model == "wordpiece" else models.Unigram()


def _trainer(model: str, vocab_size: int, inner: list[str]) -> trainers.Trainer:
    options: dict[str, Any] = {"vocab_size": vocab_size, "special_tokens": [_UNKNOWN], "show_progress": False}
    if model == "bpe":
        return trainers.BpeTrainer(**options)
    if model == "wordpiece":
        return trainers.WordPieceTrainer(**{**options, "special_tokens": [_UNKNOWN, *inner]})
    return trainers.UnigramTrainer(**options, unk_token=_UNKNOWN)
