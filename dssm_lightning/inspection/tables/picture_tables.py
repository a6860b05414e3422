"""A folder of pictures, as interactions or as candidates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dssm_lightning.data.sources.file_formats import expanded, format_of, is_url
from dssm_lightning.inspection.tables.loading import Table

_FILE = ("file_name", "stem")


def is_folder(path: str) -> bool:
    """Return whether a path is a folder of pictures."""
    return not is_url(path) and Path(expanded(path)).is_dir() and format_of(path, "candidates") == "pictures"


def as_interactions(events: Table) -> tuple[Table, str, str]:
    """Return a folder of pictures as pairs of a name and a picture, and the columns of both."""
    unique = next(name for name in ("file_name", "stem", "picture") if events.frame[name].is_unique().all())
    name, key = replace(events.columns["name"].profile, kind="text"), events.columns[unique].profile
    key = key if unique == "picture" else replace(key, kind="category", root=None)
    columns = {
        **events.columns,
        "name": replace(events.columns["name"], profile=name),
        unique: replace(events.columns[unique], profile=key),
    }
    kept = {each: column for each, column in columns.items() if each not in _FILE or each == unique}
    return replace(events, columns=kept), "name", unique


def as_candidates(table: Table, key: str) -> Table:
    """Return a folder of pictures without the columns that repeat the file's name."""
    kept = {name: column for name, column in table.columns.items() if name not in _FILE or name == key}
    return replace(table, columns=kept)
