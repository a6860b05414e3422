"""Read a sample of a table, and find the kinds of its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from dssm_lightning.data.sources import reading
from dssm_lightning.data.sources.file_formats import DELIMITED, expanded, is_url
from dssm_lightning.data.sources.text_layout import TextLayout
from dssm_lightning.inspection.profile import ColumnProfile, Role, TableProfile
from dssm_lightning.inspection.tables.headers import proposed_names
from dssm_lightning.inspection.tables.kinds import Column, column_of
from dssm_lightning.inspection.tables.layouts import MOST_COLUMNS, Written, written_as
from dssm_lightning.inspection.tables.words import is_key
from dssm_lightning.utils.errors import UserError

ROWS = 200_000
"""Rows by which the kinds of columns are found."""
_CELLS, _BYTES, _CELL = 20_000_000, 1 << 28, 20_000
MOST_ROWS = 5_000_000
"""Rows of which ids are counted."""


@dataclass(frozen=True)
class Table:
    """A table of which a sample was read.

    Example:
        >>> table = table_of_frame(pl.DataFrame({"user": ["ann", "bob"], "stars": [4, 5]}), "interactions")
        >>> [column.profile.kind for column in table.columns.values()]
        ['category', 'number']
    """

    role: Role
    path: str | None
    frame: pl.DataFrame
    """The sample."""
    rows: int
    """Rows of the whole table."""
    columns: Mapping[str, Column]
    layout: TextLayout = field(default_factory=TextLayout)
    kind: str = "frame"
    notes: Sequence[str] = ()
    own_names: Mapping[str, str] = field(default_factory=dict)
    """The file's names of columns that have new ones."""

    @property
    def is_sample(self) -> bool:
        """Whether there are more rows than those that were read."""
        return self.rows > len(self.frame)

    @property
    def shown(self) -> str:
        """The table in a message."""
        return self.role if self.path is None else f"{self.role} ({self.path})"

    @property
    def profile(self) -> TableProfile:
        """What was found, for others."""
        columns = {name: column.profile for name, column in self.columns.items()}
        notes = [*self.notes, *(f"{name}: {each.note}" for name, each in self.columns.items() if each.note)]
        return TableProfile(
            role=self.role, path=self.path, rows=self.rows, columns=columns, layout=self.layout, notes=notes
        )

    def keyed(self, names: Sequence[str]) -> pl.DataFrame:
        """Return columns of up to :data:`MOST_ROWS` rows."""
        if not self.is_sample or self.path is None:
            return self.frame.select(names)
        columns = [pl.col(self.own_names.get(name, name)).alias(name) for name in names]
        return reading.read(self.path, self.role, self.layout, lambda scan: scan.select(columns).head(MOST_ROWS))

    def renamed(self, names: Mapping[str, str]) -> Table:
        """Return the table with other names of columns."""
        own = {old: new for old, new in names.items() if old in self.columns}
        columns = {own.get(name, name): _named(column, own.get(name, name)) for name, column in self.columns.items()}
        named = {new: self.own_names.get(old, old) for old, new in own.items()}
        return replace(self, frame=self.frame.rename(own), columns=columns, own_names={**self.own_names, **named})


def _named(column: Column, name: str) -> Column:
    return replace(column, profile=replace(column.profile, name=name))


def load(path: str, role: Role) -> Table:
    """Read a sample of a file, folder, glob or URL.

    Raises:
        FileNotFoundError: no such file.
        UserError: the file cannot be read, or has no rows.
    """
    written = written_as(path, role)
    most = min(ROWS, int(_BYTES / max(1.0, written.bytes_a_row)) + 1)

    def sample(scan: pl.LazyFrame) -> pl.LazyFrame:
        width = len(scan.collect_schema())
        return scan.head(min(most, _CELLS // max(1, width))).with_columns(pl.col(pl.String).str.slice(0, _CELL))

    frame = reading.read(written.path, role, written.layout, sample)
    rows = len(frame)
    if rows >= min(most, _CELLS // max(1, frame.width)):
        rows = int(reading.read(written.path, role, written.layout, lambda scan: scan.select(pl.len())).item())
    found = _table(frame, role, rows, _folders(written.path), written)
    return found if written.named else _with_names(found)


def _folders(path: str) -> list[Path]:
    if is_url(path):
        return []
    own = Path(expanded(path))
    return [own if own.is_dir() else own.parent]


def table_of_frame(frame: pl.DataFrame, role: Role) -> Table:
    """Return a frame as a table.

    Raises:
        UserError: too many columns, or no rows.
    """
    if frame.width > MOST_COLUMNS:
        raise UserError(f"{role}: the frame has {frame.width:,} columns, but at most {MOST_COLUMNS:,} are possible")
    return _table(frame, role, len(frame), [Path()], None)


def _table(frame: pl.DataFrame, role: Role, rows: int, folders: Sequence[Path], written: Written | None) -> Table:
    path = None if written is None else written.path
    if frame.is_empty():
        raise UserError(
            f"{role}: {path or 'the frame'} has no rows ({', '.join(frame.columns)}); it needs at least one"
        )
    is_text = written is not None and written.kind in DELIMITED
    sample = frame.head(ROWS)
    columns = {each.name: column_of(each, folders, is_text) for each in sample}
    columns = {name: _for_all_rows(column, rows, len(sample)) for name, column in columns.items()}
    notes = list(written.notes) if written is not None else []
    if rows > len(sample):
        notes.append(f"kinds of columns are those of the first {len(sample):,} of {rows:,} rows")
    notes += (
        [f"{len(missing)} columns without a value: {', '.join(missing[:5])}"] if (missing := _empty(columns)) else []
    )
    layout, kind = (TextLayout(), "frame") if written is None else (written.layout, written.kind)
    return Table(role, path, frame, rows, columns, layout, kind, notes)


def _empty(columns: Mapping[str, Column]) -> list[str]:
    return [name for name, column in columns.items() if column.profile.kind == "empty"]


def _for_all_rows(column: Column, rows: int, sampled: int) -> Column:
    profile: ColumnProfile = column.profile
    if rows == sampled:
        return column
    return replace(column, profile=replace(profile, rows=rows, missing=round(profile.missing * rows / sampled)))


def _with_names(table: Table) -> Table:
    """Return a table without names with proposed ones."""
    names = proposed_names([column.profile for column in table.columns.values()], table.role)
    found = table.renamed(dict(zip(table.columns, names, strict=True)))
    columns = {name: _as_key(column) if is_key(name) else column for name, column in found.columns.items()}
    note = f"the first line has no names; proposed are {', '.join(names)}"
    layout = replace(table.layout, columns=tuple(names))
    return replace(found, columns=columns, layout=layout, own_names={}, notes=[*table.notes, note])


def _as_key(column: Column) -> Column:
    profile = column.profile
    whole = profile.kind == "number" and profile.is_whole
    return replace(column, profile=replace(profile, kind="category")) if whole else column


def columns_of(table: Table, frame: pl.DataFrame, rows: int) -> Table:
    """Return a table with other values, of which the kinds are found again."""
    columns = {each.name: _for_all_rows(column_of(each, written=False), rows, len(frame)) for each in frame}
    return replace(table, frame=frame, rows=rows, columns=columns)
