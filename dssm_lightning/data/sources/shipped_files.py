"""Parquet files inside the package."""

from __future__ import annotations

import hashlib
import io
from importlib.resources import files

import polars as pl


def shipped(name: str) -> bytes:
    """Read a file of the folder ``shipped``."""
    return (files("dssm_lightning.data.sources") / "shipped" / name).read_bytes()


def shipped_table(name: str) -> pl.DataFrame:
    """Read a shipped Parquet file as a table."""
    return pl.read_parquet(io.BytesIO(shipped(name)))


def shipped_digest(*names: str) -> str:
    """Return a hash of the contents of these files."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(shipped(name))
    return digest.hexdigest()
