"""Train a tokenizer of the ``tokenizers`` library on the texts of a column."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
    from tokenizers import models, trainers

LONGEST_WORD = 1000
"""Longest unbroken word that a tokenizer is trained on, in characters; longer words are divided."""
_UNKNOWN = "[UNK]"


def train_tokenizer(texts: pl.Series, model: str, vocab_size: int) -> str:
    """Train a tokenizer on texts (B,) without nulls; return its content as a file has it."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers

    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    # WordPiece numbers the letters inside words in the order of a hash table, and these numbers decide between merges.
    # As special tokens, the letters have the same numbers in every run.
    inner = sorted({f"##{letter}" for letter in normalizer.normalize_str("".join(texts)) if not letter.isspace()})
    tokenizer = Tokenizer(_untrained(model))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(_with_short_words(texts), _trainer(model, vocab_size, inner))
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = content["added_tokens"][:1]  # only [UNK] stays special
    return json.dumps(content)


def _with_short_words(texts: pl.Series) -> list[str]:
    """Return the texts with a blank after each :data:`LONGEST_WORD` characters of an unbroken word.

    Training takes quadratic time in the length of a word.
    """
    long = (texts.str.len_chars() > LONGEST_WORD).arg_true()
    if len(long):
        texts = texts.scatter(long, [_long_word().sub(r"\1 ", text) for text in texts[long]])
    return texts.to_list()


@lru_cache(maxsize=1)
def _long_word() -> re.Pattern[str]:
    """Return the pattern of characters between which the tokenizer does not split a text."""
    points = map(chr, range(sys.maxunicode + 1))
    breaks = "".join(c for c in points if unicodedata.category(c)[0] in "PZ" or unicodedata.category(c) == "Cc")
    return re.compile(f"([^{re.escape(breaks + '$+<=>^`|~')}]{{{LONGEST_WORD}}})")


def _untrained(model: str) -> models.Model:
    from tokenizers import models

    if model == "bpe":
        return models.BPE(unk_token=_UNKNOWN)
    return models.WordPiece(unk_token=_UNKNOWN) if model == "wordpiece" else models.Unigram()


def _trainer(model: str, vocab_size: int, inner: list[str]) -> trainers.Trainer:
    from tokenizers import trainers

    options: dict[str, Any] = {"vocab_size": vocab_size, "special_tokens": [_UNKNOWN], "show_progress": False}
    if model == "bpe":
        return trainers.BpeTrainer(**options)
    if model == "wordpiece":
        return trainers.WordPieceTrainer(**{**options, "special_tokens": [_UNKNOWN, *inner]})
    return trainers.UnigramTrainer(**options, unk_token=_UNKNOWN)
