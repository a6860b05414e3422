"""Hashes that saved models depend on: of one string, and of columns."""

from __future__ import annotations

import numpy as np
import polars as pl
from helpers.any_value import LETTERS, QUICK
from hypothesis import given
from hypothesis import strategies as st

from dssm_lightning.utils.hashing import hash_strings, hash_text, mix64_

MASK = 2**64 - 1


def naive_mix64(value: int) -> int:
    """The finaliser of splitmix64, by its definition in unlimited integers."""
    value ^= value // 2**30
    value = value * 0xBF58476D1CE4E5B9 % 2**64
    value ^= value // 2**27
    value = value * 0x94D049BB133111EB % 2**64
    return value ^ value // 2**31


def naive_hash(text: str) -> int:
    pairs = [(place * 0x9E3779B97F4A7C15 + byte + 1) % 2**64 for place, byte in enumerate(text.encode())]
    return naive_mix64(sum(map(naive_mix64, pairs)) % 2**64)


@given(st.lists(st.text(LETTERS, max_size=40), min_size=1, max_size=5))
@QUICK
def test_one_string_is_hashed_as_in_a_column(texts: list[str]) -> None:
    found = [hash_text(text) for text in texts]
    assert found == hash_strings(pl.Series(texts)).tolist()
    assert found == [naive_hash(text) for text in texts]


def test_the_length_does_not_matter() -> None:
    texts = ["é" * half + "x" * rest for half in range(40) for rest in range(2)] + ["x" * 10_000, "", "\0"]
    assert [hash_text(text) for text in texts] == hash_strings(pl.Series(texts)).tolist()
    assert hash_text("film") == naive_hash("film")
    assert mix64_(np.array([1, MASK], np.uint64)).tolist() == [naive_mix64(1), naive_mix64(MASK)]
