"""The tokens of a text as texts, and a bound of their number that needs no tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from dssm_lightning.features.readings import ReadValue

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_KEEP_LENGTH = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Strip", "BertNormalizer", "Sequence"}
"""Normalizers that do not lengthen a text of ASCII."""
_ADD_NOTHING = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit", "Punctuation", "Digits", "Split", "Sequence"}
"""Pre-tokenizers that only split a text; others may add a character to each part."""


def read_tokens(tokenizer: Tokenizer, content: str, text: str, add_special_tokens: bool) -> list[ReadValue]:
    """Return the tokens of a text; an unknown one is the part of the text that it stands for.

    Args:
        tokenizer: which ``content`` describes.
        content: the tokenizer's file.
        text: what is encoded.
        add_special_tokens: whether the tokenizer's special tokens are added.
    """
    encoding = tokenizer.encode(text, add_special_tokens=add_special_tokens)
    unknown = _facts(content)[0]
    return [
        ReadValue(text[start:stop] or token, False) if token == unknown else ReadValue(token, True)
        for token, (start, stop) in zip(encoding.tokens, encoding.offsets, strict=True)
    ]


def most_tokens(content: str, text: str, special: int) -> int | None:
    """Return a number that the tokens of a text do not exceed; None if only the tokenizer knows.

    A token has at least one character of a text of ASCII, since the known normalizers do not lengthen it.

    Args:
        content: the tokenizer's file.
        text: what is encoded.
        special: the number of special tokens that are added.
    """
    _, keeps_length, adds_nothing = _facts(content)
    if not keeps_length or not text.isascii():
        return None
    return (len(text) if adds_nothing else 2 * len(text) + 1) + special


@lru_cache(maxsize=16)
def _facts(content: str) -> tuple[str | None, bool, bool]:
    """Return the unknown token, whether texts of ASCII keep their length, and whether splitting adds nothing."""
    values = json.loads(content)
    model = values["model"]
    unknown = model.get("unk_token")
    if unknown is None and model.get("unk_id") is not None:  # Unigram
        unknown = model["vocab"][model["unk_id"]][0]
    kinds = [set(_kinds(values.get(part))) for part in ("normalizer", "pre_tokenizer")]
    return unknown, kinds[0] <= _KEEP_LENGTH, kinds[1] <= _ADD_NOTHING


def _kinds(part: Any) -> Iterator[str]:
    """Yield the types of a part of a tokenizer, and of the parts in it."""
    if isinstance(part, dict):
        if isinstance(part.get("type"), str):
            yield part["type"]
        for name in ("normalizers", "pretokenizers"):
            for inner in part.get(name, ()):
                yield from _kinds(inner)
