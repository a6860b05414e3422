"""Hashes that are equal on every machine and in every version."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

HashKeys = NDArray[np.uint64]

GOLDEN = 0x9E3779B97F4A7C15
"""2^64 over the golden ratio, splitmix64's step: keeps n-grams of different n apart."""

MAX_BUCKETS = (1 << 31) - 1
"""Ids are int32."""


def mix64_(values: HashKeys) -> HashKeys:
    """The finaliser of splitmix64 (Steele et al. 2014), **in place**: each bit in reaches every bit out."""
    shifted = np.empty_like(values)  # one for all steps: to allocate costs as much as to shift
    values ^= np.right_shift(values, np.uint64(30), out=shifted)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= np.right_shift(values, np.uint64(27), out=shifted)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= np.right_shift(values, np.uint64(31), out=shifted)
    return values


def buckets(keys: HashKeys, num_buckets: int) -> NDArray[np.int32]:
    """(T,) keys, which are overwritten, as ids in [0, num_buckets). Scaling needs no division and suits any number."""
    hashes = mix64_(keys)
    hashes >>= np.uint64(32)
    hashes *= np.uint64(num_buckets)
    hashes >>= np.uint64(32)
    return hashes.astype(np.int32)


def hash_strings(values: pl.Series) -> NDArray[np.uint64]:
    """(T,) strings without nulls -> (T,) hashes: a mix of the sum of the mixed (byte, place) pairs of the UTF-8 text.

    Equal on every machine and in every version, as what was learnt for a bucket depends on it.
    """
    lengths = values.str.len_bytes().to_numpy().astype(np.int64)
    ends = np.cumsum(lengths)
    text = (values.str.join("")[0] or "").encode()
    place = np.arange(len(text)) - np.repeat(ends - lengths, lengths)
    pairs = place.astype(np.uint64) * np.uint64(GOLDEN) + np.frombuffer(text, np.uint8) + np.uint64(1)
    total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mix64_(pairs))])
    return mix64_(total[ends] - total[ends - lengths])
