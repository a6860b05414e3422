"""Hash functions whose results are equal on every machine and in every version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.utils.errors import UserError, require_at_least

if TYPE_CHECKING:
    import polars as pl

HashKeys = NDArray[np.uint64]

GOLDEN = 0x9E3779B97F4A7C15
"""2^64 divided by the golden ratio: the increment of splitmix64."""

MAX_BUCKETS = (1 << 31) - 1
"""The largest number of buckets, because ids are int32."""

_SHORT = 32
"""Up to this number of bytes, plain integers are faster than arrays."""
_MASK = (1 << 64) - 1


def require_buckets(owner: str, name: str, value: int | None, most: int = MAX_BUCKETS) -> None:
    """Refuse a number of buckets, rows or values outside 1 … ``most``; None passes.

    Raises:
        UserError: ``<owner>: <name> is <value>; it must be at least 1`` or ``at most <most>``.
    """
    require_at_least(owner, name, value)
    if value is not None and value > most:
        raise UserError(f"{owner}: {name} is {value}; it must be at most {most} (ids are int32)")


def mix64_(values: HashKeys) -> HashKeys:
    """Apply the finaliser of splitmix64 (Steele et al. 2014) **in place**: every input bit affects every output bit.

    Example:
        >>> values = np.array([0, 1], np.uint64)
        >>> mix64_(values) is values, values.tolist()
        (True, [0, 6238072747940578789])
    """
    shifted = np.empty_like(values)  # reused by all steps: an allocation costs as much as a shift
    values ^= np.right_shift(values, np.uint64(30), out=shifted)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= np.right_shift(values, np.uint64(27), out=shifted)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= np.right_shift(values, np.uint64(31), out=shifted)
    return values


def buckets(keys: HashKeys, num_buckets: int) -> NDArray[np.int32]:
    """Hash keys (T,) to ids in [0, num_buckets). The keys are overwritten.

    The upper half of the mixed key is scaled to ``num_buckets``, which needs no division.
    """
    hashes = mix64_(keys)
    bits = num_buckets.bit_length() - 1
    if num_buckets == 1 << bits > 1:
        hashes >>= np.uint64(64 - bits)  # the same
        return hashes.astype(np.int32)
    hashes >>= np.uint64(32)
    hashes *= np.uint64(num_buckets)
    hashes >>= np.uint64(32)
    return hashes.astype(np.int32)


def hash_strings(values: pl.Series) -> NDArray[np.uint64]:
    """Hash strings (T,) without nulls: the mixed sum of the mixed (byte, place) pairs of the UTF-8 text.

    Saved models depend on these hashes, because they choose the rows of embedding tables.
    """
    lengths = values.str.len_bytes().to_numpy().astype(np.int64)
    ends = np.cumsum(lengths)
    text = (values.str.join("")[0] or "").encode()
    place = np.arange(len(text)) - np.repeat(ends - lengths, lengths)
    pairs = place.astype(np.uint64) * np.uint64(GOLDEN) + np.frombuffer(text, np.uint8) + np.uint64(1)
    total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mix64_(pairs))])
    return mix64_(total[ends] - total[ends - lengths])


def hash_text(text: str) -> int:
    """Hash one string as :func:`hash_strings` does, without Polars.

    Raises:
        UnicodeEncodeError: the text holds half of a surrogate pair.

    Example:
        >>> import polars as pl
        >>> [hash_text("Кот")] == hash_strings(pl.Series(["Кот"])).tolist()
        True
    """
    raw = text.encode()
    if len(raw) > _SHORT:
        pairs = np.arange(len(raw), dtype=np.uint64) * np.uint64(GOLDEN) + np.frombuffer(raw, np.uint8) + np.uint64(1)
        return int(mix64_(mix64_(pairs).sum(keepdims=True))[0])
    return _mix64(sum(_mix64(place * GOLDEN + byte + 1) for place, byte in enumerate(raw)))


def _mix64(value: int) -> int:
    """Apply the finaliser of :func:`mix64_` to one integer, modulo 2^64."""
    value &= _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31
