"""Text as a sequence of tokens, by a ``tokenizers`` tokenizer that is given or trained."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import polars as pl
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from dssm_lightning.features.base import Feature
from dssm_lightning.features.text.text_feature import MAX_CHARACTERS, ragged, require_positive, text_column
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged

TokensT = TypeVar("TokensT", bound="Tokens")


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
            raise UserError(f"feature {self.name!r}: model is {self.model!r}; it can be {', '.join(_MODELS)}")

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
            raise UserError(f"{label} is no file of the `tokenizers` library (a JSON object)")
        try:
            keys = list(json.loads(text))
        except json.JSONDecodeError as error:
            raise UserError(f"{label} is no file of the `tokenizers` library: {error}") from error
        if "model" not in keys:  # a model's settings, or a bare vocabulary, which lie beside it under similar names
            raise UserError(
                f"{label} is another kind of file: it holds {', '.join(keys[:4])}, …, and no `model`, as the file "
                "tokenizer.json of the `tokenizers` library does"
            )
        return text

    def _loaded(self) -> Tokenizer:
        if self.tokenizer is None or not self.is_fitted:
            raise UserError(f"feature {self.name!r}: its tokenizer is not known yet; fit it first")
        try:
            return _load(self.tokenizer, self.max_length)
        except Exception as error:  # tokenizers raises this very class
            raise UserError(
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
