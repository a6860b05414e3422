"""The encoded data in ``cache/<fingerprint>/``, written once and mapped into memory by every process.

The folder is always complete: it is written under a temporary name and then renamed, under a file lock. Its list of
files has their checksums, which are compared before the folder is used (:mod:`dssm_lightning.utils.checked_folder`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import polars as pl
import torch
from filelock import FileLock
from torch import Tensor

from dssm_lightning.data.grouped_events import Groupings
from dssm_lightning.data.interactions import Interactions
from dssm_lightning.data.preparation.grouped_files import GROUPED, save_groupings
from dssm_lightning.features import Feature
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.utils import memory_mapped
from dssm_lightning.utils.checked_folder import checked_folder, damaged_files, listed_files
from dssm_lightning.utils.folders import make_folder
from dssm_lightning.utils.memory_mapped import Spool
from dssm_lightning.utils.progress import track
from dssm_lightning.utils.ragged import Column, Features, Ragged

VERSION = 2
"""Increase this number when the same inputs are encoded or stored in another way."""
ENCODED_AT_ONCE = 1 << 18
"""Number of rows of a column that are encoded at a time; with 60 trigrams each they take 60 MiB."""

Encoded: TypeAlias = dict[str, tuple[Schema, pl.DataFrame]]
"""For each group (query, event, candidate): its features, and the raw table of their columns."""


class Prepared(NamedTuple):
    """The encoded data; the tensors are mapped from files.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from dssm_lightning.data.retrieval_data import RetrievalData
        >>> from dssm_lightning.data.sources import Synthetic
        >>> from dssm_lightning.data.splits import PerQuery
        >>> from dssm_lightning.features import Categorical, HashedWords
        >>> features = [HashedWords(name="text", num_buckets=100)], [Categorical(name="candidate_id")]
        >>> with TemporaryDirectory() as folder:
        ...     data = RetrievalData(Synthetic(20, 40), *features, PerQuery(test=0.2), cache_dir=folder)
        ...     prepared = read(data.prepare())
        >>> prepared.query["text"].lengths.shape, prepared.candidate["candidate_id"].shape
        (torch.Size([20]), torch.Size([40]))
    """

    schemas: Schemas
    query: Features  # rows of the query table
    event: Features  # query features that vary by event: rows of the interaction table
    candidate: Features  # rows of the corpus
    interactions: Interactions
    queries: pl.DataFrame  # raw columns without image bytes, the id first
    candidates: pl.DataFrame  # raw columns without image bytes, the id first
    display: list[str]
    report: dict[str, int]  # numbers of dropped rows and of rows in each fold
    objectives: tuple[str, ...] = ()  # names of the columns of `interactions.objectives`
    grouped: tuple[Interactions, Groupings] | None = None  # groupings that were read, and of which interactions

    @property
    def groupings(self) -> Groupings:
        """The groupings of the cache; none of other interactions, which were put in the place of the cache's."""
        return self.grouped[1] if self.grouped is not None and self.grouped[0] is self.interactions else {}


def fingerprint(*parts: str) -> str:
    """Return the name of the cache of these data and declarations."""
    return hashlib.sha256("\0".join([str(VERSION), *parts]).encode()).hexdigest()[:20]


def is_complete(folder: Path) -> bool:
    """Return whether the cache has all of its files, with the content with which they were written.

    Without this check, a run would not notice that the file of an optional column, such as labels, was deleted, or that
    a bit of it was flipped.
    """
    return not damaged_files(folder)


def saved_schemas(folder: Path) -> Schemas:
    """Read the fitted schemas of a cache."""
    return Schemas.from_json((folder / "schema.json").read_text(encoding="utf-8"))


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Lock a cache while it is written; wait for other processes that write it.

    Raises:
        UserError: ``cache_dir`` is a file, or a link to nothing.
        OSError: the folder of all caches cannot be made or written.
    """
    make_folder(folder.parent, "cache_dir")
    waiting = FileLock(folder.parent / f"{folder.name}.lock")
    try:
        waiting.acquire()
    except OSError as error:
        place = f"cache_dir: the folder {str(folder.parent)!r} cannot be written"
        raise OSError(error.errno, f"{place} ({error.strerror}), and has no complete cache of these data") from error
    try:
        yield
    finally:
        waiting.release()


def write(folder: Path, prepared: Prepared, encoded: Encoded) -> None:
    """Write a cache. Call it under :func:`lock`; it first deletes incomplete folders of killed processes.

    Args:
        folder: folder of the cache.
        prepared: everything except the encoded features.
        encoded: the features to encode.

    Raises:
        OSError: the disk is full or read-only; the incomplete folder is deleted.
    """
    with checked_folder(folder) as temporary:
        _write_into(temporary, prepared, encoded)


def _write_into(folder: Path, prepared: Prepared, encoded: Encoded) -> None:
    work = [(side, feature, table) for side, (schema, table) in encoded.items() for feature in schema]
    for side, feature, table in track(work, "encoding", len(work)):
        _save_column(folder, f"{side}.{feature.name}", _encoded(feature, table[feature.source_column]))
    for name, column in prepared.interactions._asdict().items():
        if column is not None:
            _save_column(folder, f"interactions.{name}", column)
    sizes = len(prepared.queries), len(prepared.candidates)
    save_groupings(folder, prepared.interactions, prepared.schemas, *sizes)
    prepared.queries.write_parquet(folder / "queries.parquet")
    prepared.candidates.write_parquet(folder / "candidates.parquet")
    (folder / "schema.json").write_text(prepared.schemas.to_json(), encoding="utf-8")
    (folder / "display.json").write_text(json.dumps(prepared.display), encoding="utf-8")
    (folder / "report.json").write_text(json.dumps(prepared.report), encoding="utf-8")


def _encoded(feature: Feature, column: pl.Series) -> Column:
    """Encode a column; the values of a long column are encoded in chunks and written to a mapped file."""
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
        feature.encode(column)  # so that the message has the row number in the whole column
        raise
    found = torch.from_numpy(values.mapped())
    return Ragged.from_lengths(found, torch.cat(lengths)) if lengths else found


def read(folder: Path) -> Prepared:
    """Map a complete cache into memory; all processes share the pages."""
    groups: dict[str, dict[str, Any]] = {"query": {}, "event": {}, "candidate": {}, "interactions": {}}
    grouped: Groupings = {}
    for path in (folder / name for name in listed_files(folder) if name.endswith(".npy")):
        group, _, rest = path.name.removesuffix(".npy").partition(".")
        name, _, part = rest.rpartition("#")
        if path.name.startswith(GROUPED):
            grouped[rest] = _load(path)
        elif part == "values":
            groups[group][name] = _load_ragged(folder, f"{group}.{name}")
        elif part == "dense":
            groups[group][name] = _load(path)
    interactions = Interactions(**groups.pop("interactions"))
    return Prepared(
        schemas=saved_schemas(folder),
        query=groups["query"],
        event=groups["event"],
        candidate=groups["candidate"],
        interactions=interactions,
        queries=_table(folder / "queries.parquet"),
        candidates=_table(folder / "candidates.parquet"),
        display=json.loads((folder / "display.json").read_text(encoding="utf-8")),
        report=json.loads((folder / "report.json").read_text(encoding="utf-8")),
        grouped=(interactions, grouped),
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
    # Copy-on-write pages are shared until they are changed. Torch warns about pages that are not writable.
    array = np.load(path, mmap_mode="c") if path.stat().st_size > 128 else np.load(path)
    return torch.from_numpy(array)


def _load_ragged(folder: Path, name: str) -> Ragged:
    return Ragged(_load(folder / f"{name}#values.npy"), _load(folder / f"{name}#offsets.npy"))
