"""Everything encoded once into ``cache/<fingerprint>/`` and memory-mapped from there by every process.

The folder appears whole or not at all: it is written under a temporary name and renamed, under a file lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import polars as pl
import torch
from filelock import FileLock
from rich.progress import track
from torch import Tensor

from dssm_lightning.data.interactions import Interactions
from dssm_lightning.features import Feature
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.utils import memory_mapped
from dssm_lightning.utils.memory_mapped import Spool
from dssm_lightning.utils.ragged import Column, Features, Ragged

VERSION = 1
"""Raise when the same inputs would be encoded or laid out in another way."""
ENCODED_AT_ONCE = 1 << 18
"""Rows of a column: 60 trigrams of each take 60 MiB."""
FILES = "files.json"
"""Names the others, with their sizes."""


Encoded: TypeAlias = dict[str, tuple[Schema, pl.DataFrame]]
"""For each group (query, event, candidate): its features, and the raw table that they read."""


class Prepared(NamedTuple):
    """Encoded data; the tensors are memory-mapped."""

    schemas: Schemas
    query: Features  # rows of the query table
    event: Features  # query features that vary by event: rows of the interaction table
    candidate: Features  # rows of the corpus
    interactions: Interactions
    queries: pl.DataFrame  # raw columns but pictures, the key column first
    candidates: pl.DataFrame  # likewise
    display: list[str]
    report: dict[str, int]  # what was dropped on the way, for people


def fingerprint(*parts: str) -> str:
    """A name for the cache of data and declarations."""
    return hashlib.sha256("\0".join([str(VERSION), *parts]).encode()).hexdigest()[:20]


def is_complete(folder: Path) -> bool:
    """Whether a whole cache lies there, each file as long as it was written.

    Where one was removed, columns that need not be there, such as labels and weights, would be missing unnoticed.
    """
    return not damaged(folder)


def damaged(folder: Path) -> list[str]:
    """The files of a cache that are missing or have another length than they were written with."""
    try:
        sizes: dict[str, int] = json.loads((folder / FILES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return [FILES]
    there = {path.name: path.stat().st_size for path in folder.iterdir()}
    return [name for name, size in sizes.items() if there.get(name) != size]


def saved_schemas(folder: Path) -> Schemas:
    """The fitted schemas of a cache."""
    return Schemas.from_json((folder / "schema.json").read_text(encoding="utf-8"))


def lock(folder: Path) -> FileLock:
    """The lock under which the folder is made."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.parent / f"{folder.name}.lock")


def write(folder: Path, prepared: Prepared, encoded: Encoded) -> None:
    """Write a cache. Call under :func:`lock`; whatever a killed process left behind is removed first.

    Args:
        folder: where it will lie.
        prepared: everything but the encoded features.
        encoded: the features that are encoded on the way.

    Raises:
        OSError: the disk is full or cannot be written; nothing is left behind.
    """
    for stale in folder.parent.glob(f"{folder.name}.tmp*"):
        shutil.rmtree(stale, ignore_errors=True)
    temporary = folder.parent / f"{folder.name}.tmp{os.getpid()}"
    try:
        temporary.mkdir(parents=True)
        _write_into(temporary, prepared, encoded)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write_into(folder: Path, prepared: Prepared, encoded: Encoded) -> None:
    work = [(side, feature, table) for side, (schema, table) in encoded.items() for feature in schema]
    for side, feature, table in track(work, description="encoding", transient=True):
        _save_column(folder, f"{side}.{feature.name}", _encoded(feature, table[feature.source_column]))
    for name, column in prepared.interactions._asdict().items():
        if column is not None:
            _save_column(folder, f"interactions.{name}", column)
    prepared.queries.write_parquet(folder / "queries.parquet")
    prepared.candidates.write_parquet(folder / "candidates.parquet")
    (folder / "schema.json").write_text(prepared.schemas.to_json(), encoding="utf-8")
    (folder / "display.json").write_text(json.dumps(prepared.display), encoding="utf-8")
    (folder / "report.json").write_text(json.dumps(prepared.report), encoding="utf-8")
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    (folder / FILES).write_text(json.dumps(sizes), encoding="utf-8")


def _encoded(feature: Feature, column: pl.Series) -> Column:
    """``feature.encode(column)``, so many rows at a time that a long column's values need no memory."""
    if len(column) <= ENCODED_AT_ONCE:
        return feature.encode(column)
    values, lengths = Spool(), []
    try:
        for start in range(0, len(column), ENCODED_AT_ONCE):
            part = feature.encode(column[start : start + ENCODED_AT_ONCE])
            assert isinstance(part, Tensor | Ragged)
            if isinstance(part, Ragged):
                lengths.append(part.lengths)
            values.append((part.values if isinstance(part, Ragged) else part).numpy())
    except ValueError:
        feature.encode(column)  # its message numbers the rows of the whole column
        raise
    found = torch.from_numpy(values.mapped())
    return Ragged(found, torch.nn.functional.pad(torch.cat(lengths).cumsum(0), (1, 0))) if lengths else found


def read(folder: Path) -> Prepared:
    """Map a cache into memory; all processes share its pages."""
    sides: dict[str, Features] = {"query": {}, "event": {}, "candidate": {}, "interactions": {}}
    for path in sorted(folder.glob("*.npy")):
        side, _, rest = path.name.removesuffix(".npy").partition(".")
        name, _, part = rest.rpartition("#")
        if part == "values":
            sides[side][name] = _load_ragged(folder, f"{side}.{name}")
        elif part == "dense":
            sides[side][name] = _load(path)
    interactions = sides.pop("interactions")
    return Prepared(
        schemas=saved_schemas(folder),
        **sides,
        interactions=Interactions(**{field: interactions.get(field) for field in Interactions._fields}),  # type: ignore[arg-type]  # the fields' types are those that were written
        queries=_table(folder / "queries.parquet"),
        candidates=_table(folder / "candidates.parquet"),
        display=json.loads((folder / "display.json").read_text(encoding="utf-8")),
        report=json.loads((folder / "report.json").read_text(encoding="utf-8")),
    )


def _table(path: Path) -> pl.DataFrame:
    large = path.stat().st_size > memory_mapped.LARGE_FILE
    return memory_mapped.frame(pl.scan_parquet(path)) if large else pl.read_parquet(path)


def _save_column(folder: Path, name: str, column: Column) -> None:
    if isinstance(column, Ragged):
        np.save(folder / f"{name}#values.npy", column.values.numpy())
        np.save(folder / f"{name}#offsets.npy", column.offsets.numpy())
    else:
        assert isinstance(column, Tensor)
        np.save(folder / f"{name}#dense.npy", column.numpy())


def _load(path: Path) -> Tensor:
    # copy-on-write pages: shared until somebody writes, and torch takes them as writable without a warning
    array = np.load(path, mmap_mode="c") if path.stat().st_size > 128 else np.load(path)
    return torch.from_numpy(array)


def _load_ragged(folder: Path, name: str) -> Ragged:
    return Ragged(_load(folder / f"{name}#values.npy"), _load(folder / f"{name}#offsets.npy"))
