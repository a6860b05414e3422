"""The digest of a corpus: which candidates it has, in which order."""

from __future__ import annotations

import hashlib

import polars as pl

_BLOCK = 1 << 16


def corpus_digest(ids: pl.Series) -> dict[str, int | str]:
    """Return the number of candidates, and a digest of their ids (N,) in their order, as plain values.

    Example:
        >>> corpus_digest(pl.Series(["a", "b"])) == corpus_digest(pl.Series(["b", "a"]))
        False
    """
    found = hashlib.sha256()
    for start in range(0, len(ids), _BLOCK):
        texts = ids[start : start + _BLOCK].cast(pl.String).to_list()
        found.update("".join(f"{len(text)}:{text}" for text in texts).encode())
    return {"candidates": len(ids), "digest": found.hexdigest()[:16]}
