"""Texts as sequences of tokens, by a tokenizer of the ``tokenizers`` library that is given or trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from dssm_lightning.features.base import Feature
from dssm_lightning.features.readings import Reading, Truncation, reading_of, truncated
from dssm_lightning.features.text.raw_texts import MAX_CHARACTERS, few_texts, text_column, text_value
from dssm_lightning.features.text.shared_vocabulary import SharedVocabulary
from dssm_lightning.features.text.text_counts import TextCounts, counts_of
from dssm_lightning.features.text.text_feature import ragged, require_sizes
from dssm_lightning.features.text.token_readings import most_tokens, read_tokens
from dssm_lightning.features.text.tokenizer_training import train_tokenizer
from dssm_lightning.utils.errors import UserError, require_choice
from dssm_lightning.utils.ragged_arrays import RaggedArray

if TYPE_CHECKING:
    import polars as pl
    from tokenizers import Tokenizer

TokensT = TypeVar("TokensT", bound="Tokens")


@dataclass(frozen=True, kw_only=True)
class Tokens(SharedVocabulary, TextCounts, Feature):
    """The tokens of a text in their order, by a tokenizer that is read from a file or trained by ``fit``.

    The fitted feature contains the tokenizer, so that a saved model needs no file. A trained tokenizer normalises case
    and compatibility forms (NFKC), splits at whitespace and punctuation, and has ``[UNK]`` in row 0. It is trained on
    words of at most 1,000 characters; longer words are divided for training. The padding and truncation settings of a
    file are ignored: a row is as long as its text, and encoders pad rows.

    Example:
        >>> import polars as pl
        >>> texts = pl.Series(["low lower", "lowest low"])
        >>> feature = Tokens(name="title", vocab_size=12).fit(texts)
        >>> feature.cardinality, feature.encode(texts).lengths.tolist()
        (12, [3, 3])
    """

    reads_text = True
    vocabulary_field = "tokenizer"

    on_empty: Literal["error", "allow"] = "error"
    """Treatment of a null, empty or blank text. "error": raise an error. "allow": encode it as a row without tokens."""
    max_characters: int = MAX_CHARACTERS
    """Longest text. Longer texts are truncated, with a warning that has their number."""
    tokenizer: str | None = None
    """Before ``fit``: the path of a tokenizer file (JSON); None = train a tokenizer. After ``fit``: the content."""
    model: Literal["bpe", "wordpiece", "unigram"] = "bpe"
    """Model of a trained tokenizer. "unigram" sums probabilities in no fixed order, so that training it twice can give
    slightly different tokenizers; the other models are deterministic."""
    vocab_size: int = 8192
    """Largest number of tokens of a trained tokenizer."""
    max_length: int | None = None
    """Keep only the first ``max_length`` tokens of each text; None keeps all."""
    add_special_tokens: bool = False
    """Whether to add the tokenizer's special tokens, such as ``[CLS]`` and ``[SEP]``, to each text."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_sizes(self, vocab_size=self.vocab_size, max_length=self.max_length, max_characters=self.max_characters)
        require_choice(self._label, "model", self.model, _MODELS)

    @property
    def is_fitted(self) -> bool:
        """Whether ``tokenizer`` is the content of a tokenizer, not only its path."""
        return self.tokenizer is not None and self.tokenizer.lstrip().startswith("{")

    @property
    def cardinality(self) -> int:
        """Number of rows of the embedding table: one for each token, including added and special tokens."""
        return max(self._loaded().get_vocab(with_added_tokens=True).values()) + 1

    def fit(self: TokensT, column: pl.Series) -> TokensT:
        """Return a copy that contains the tokenizer, which is read from its file or trained on texts (B,), and counts.

        Raises:
            FileNotFoundError: the file does not exist.
            UserError: the file does not hold a tokenizer, the column does not hold texts, or, with
                ``on_empty="error"``, a text is empty.
        """
        texts = text_column(self, column, self.on_empty, self.max_characters)
        if self.tokenizer is None:
            content = train_tokenizer(texts.fill_null(""), self.model, self.vocab_size)
        else:
            content = self.tokenizer if self.is_fitted else self._read(Path(self.tokenizer))
        fitted = replace(self, tokenizer=content)
        fitted._loaded()  # raises if the content is not a tokenizer
        return replace(fitted, **counts_of(fitted, texts)) if fitted.wants_counts else fitted

    def encode_array(self, column: pl.Series) -> RaggedArray:
        """Encode texts (B,) as B rows of int32 ids.

        Raises:
            UserError: the feature is not fitted, the column does not hold texts, or, with ``on_empty="error"``, a text
                is empty.
        """
        tokenizer = self._loaded()
        texts = text_column(self, column, self.on_empty, self.max_characters).fill_null("").to_list()
        return self._tokens(tokenizer, texts)

    def _encode_few(self, values: Sequence[Any]) -> RaggedArray | None:
        tokenizer = self._loaded()
        texts = few_texts(self, values, self.on_empty, self.max_characters)
        return None if texts is None else self._tokens(tokenizer, texts)

    def read(self, value: Any) -> Reading:
        """Return the tokens; an unknown one as the text that it stands for. Errors as for the base class."""
        given = text_value(value)
        text = (given or "")[: self.max_characters]  # without the warning of a truncated text
        self.encode_values([value if given is None else text])
        values = read_tokens(self._loaded(), self.tokenizer or "", text, self.add_special_tokens)
        cuts = self.truncations(value)
        total = next((cut.total for cut in cuts if cut.unit == "tokens"), len(values))
        return reading_of(self, "tokens", values, total, truncations=cuts)

    def truncations(self, value: Any) -> list[Truncation]:
        """Return whether the text has more than ``max_characters``, and more than ``max_length`` tokens after that."""
        text = text_value(value)
        if text is None:
            return []
        cut, text = truncated(self, self.max_characters, len(text), "characters"), text[: self.max_characters]
        if self.max_length is None or self.tokenizer is None:
            return cut
        limited = self._loaded()
        special = limited.num_special_tokens_to_add(is_pair=False) if self.add_special_tokens else 0
        most = most_tokens(self.tokenizer, text, special)
        if most is not None and most <= self.max_length:
            return cut
        whole = _load(self.tokenizer, None)
        kept, total = (len(each.encode(text, add_special_tokens=self.add_special_tokens)) for each in (limited, whole))
        return cut + truncated(self, kept, total, "tokens")

    def _tokens(self, tokenizer: Tokenizer, texts: list[str]) -> RaggedArray:
        rows = list(
            map(attrgetter("ids"), tokenizer.encode_batch_fast(texts, add_special_tokens=self.add_special_tokens))
        )
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return ragged(np.fromiter(chain.from_iterable(rows), np.int32, int(lengths.sum())), lengths)

    def _read(self, path: Path) -> str:
        if not path.is_file():
            raise FileNotFoundError(f"{self._label}: the tokenizer file {str(path)!r} does not exist")
        text = path.read_bytes().decode(errors="replace")
        label = f"{self._label}: {str(path)!r}"
        if not text.lstrip().startswith("{"):
            raise UserError(f"{label} is not a file of the `tokenizers` library (a JSON object)")
        try:
            keys = list(json.loads(text))
        except json.JSONDecodeError as error:
            raise UserError(f"{label} is not a file of the `tokenizers` library: {error}") from error
        if "model" not in keys:  # settings of a model, or a plain vocabulary: files with similar names in one folder
            raise UserError(
                f"{label} is not a tokenizer: it holds {', '.join(keys[:4])}, … but no `model`; give the file "
                "tokenizer.json, which the `tokenizers` library saves"
            )
        return text

    def _loaded(self) -> Tokenizer:
        if self.tokenizer is None or not self.is_fitted:
            raise UserError(f"{self._label}: tokenizer is not known yet; call `fit` first")
        try:
            return _load(self.tokenizer, self.max_length)
        except Exception as error:  # the tokenizers library raises plain Exception
            raise UserError(
                f"{self._label}: tokenizer cannot be read ({error}); give a file that the `tokenizers` library saved"
            ) from error


_MODELS = ("bpe", "wordpiece", "unigram")


@lru_cache(maxsize=16)
def _load(content: str, max_length: int | None) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(content)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if max_length is not None:
        tokenizer.enable_truncation(max_length)  # counts special tokens and never removes them
    return tokenizer
