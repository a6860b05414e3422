"""The user's own tables in files."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from dssm_lightning.data.sources import file_formats, reading
from dssm_lightning.data.sources.base import Source
from dssm_lightning.data.sources.declared_columns import renamed, with_types
from dssm_lightning.data.sources.dropped_rows import (
    DROPPED,
    drop_missing,
    drop_repeated,
    drop_unknown,
    without_values,
)
from dssm_lightning.data.sources.positive_rows import PositiveRows
from dssm_lightning.data.sources.text_layout import TextLayout, names_of, setting_of
from dssm_lightning.data.sources.triplets import is_triplets, text_tables
from dssm_lightning.data.sources.typed_ids import typed_ids
from dssm_lightning.data.sources.value_types import VALUE_TYPES, as_numbers, as_times
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.tables import RawTables
from dssm_lightning.utils.errors import UserError, is_number, require_choice


class Files(Source):
    """Read tables from CSV, TSV, JSON Lines or Parquet files; the suffix determines the format.

    A path is a file, a folder of pictures (columns picture, file_name, stem, name and, if the pictures lie in several,
    folder), a folder of Parquet files as Spark or Ray write it (``year=2024/part-0.snappy.parquet``: the year
    becomes a column), a glob, or a URL of an object store that Polars can scan (the URL of a folder ends in a slash).
    CSV, TSV and JSON Lines may be compressed (``.gz``, ``.zst``). The first line of CSV and TSV has the column names.

    Columns of CSV and TSV are text as written: ``007`` stays ``007``. A feature of numbers, the label, the weight, the
    grade and the time read their text as numbers, strictly. Ids become integers if all of them are written as integers
    of 64 bits (``007`` is not), else they stay text. Blank lines are left out.

    If only ``interactions`` is given, it is a flat table: each row has the columns of its query and of its candidate.
    JSON Lines with the raw texts ``query``, ``positive_doc`` and, optionally, ``negative_docs`` need no further
    setting: each text is its own id (columns ``query`` and ``doc``), and ``negative_docs`` lists candidate ids. A list
    of texts as ``positive_doc`` becomes several rows. Further columns stay in the interactions.

    Args:
        interactions: one row for each event: the query, the candidate, and columns that vary by event.
        queries: one row for each query; None = the distinct queries of ``interactions``.
        candidates: the corpus, one row for each candidate; None = the distinct candidates of ``interactions``.
        query_id: column that identifies a query, in ``interactions`` and ``queries``.
        candidate_id: column that identifies a candidate, in ``interactions`` and ``candidates``.
        label: column of ``interactions`` with 1 for liked and 0 for shown and not liked; None = all are liked.
        weight: column of ``interactions`` with a weight, 0 or more; None = all count the same.
        time: column of ``interactions`` with a number, or a date or time (in text files by ISO 8601, or as
            ``time_format`` says); None = no order is known.
        display: columns of ``candidates`` to show beside an answer.
        quote: whether ``"`` encloses fields of CSV and TSV; None = in CSV only.
        grade: column of ``interactions`` with the grade of a liked candidate, a whole number from 1 on: the gain of
            NDCG; None = all have the same grade.
        separator: text between the fields of CSV, TSV and files of other endings, such as ``;``, ``|`` or ``::``;
            None = a comma, in TSV a tab. Like ``quote`` and ``encoding``: one value for all tables, or a mapping from
            the table (interactions, queries, candidates) to its value.
        encoding: encoding of CSV, TSV and JSON Lines, by Python's name, such as latin-1; None = as the byte order mark
            says, else UTF-8.
        columns: names of the columns if the first line of CSV or TSV has none: a list for ``interactions``, or a
            mapping from the table (interactions, queries, candidates) to its list.
        rename: new names of columns, as {old: new}; ``queries.id`` as old name is the column ``id`` of the queries
            only. All other settings and all features name the new ones.
        dtypes: types of columns, as {column: text, number, integer, boolean, date, list (``['a', 'b']``), vector
            (``[0.5, 1]``) or base64 (bytes of pictures)}.
        time_format: how ``time`` is written, by the codes of ``strftime``, such as ``%m/%d/%Y``.
        label_above: rows with a greater number in the column ``label`` are liked, the others are shown and not liked.
        positive: a comparison, such as ``rating >= 7`` or ``event == purchase``; rows for which it does not hold are
            shown and not liked. It takes the place of ``label``.
        missing: texts that stand for a missing value, such as NA.
        drop: rows to leave out; None = they are errors. missing: without an id, or a value of the columns named here;
            repeated: of queries and candidates, rows whose id a row before has; unknown: interactions whose id the
            table of queries or candidates does not have.

    Raises:
        UserError: a separator or encoding that cannot be one, an unknown type, or settings that contradict each other.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = f"{folder}/likes.csv"
        ...     pl.DataFrame({"user": [1, 1, 2], "film": ["Heat", "Up", "Heat"]}).write_csv(path)
        ...     Files(path, query_id="user", candidate_id="film").tables().interactions.row(2)
        (2, 'Heat')
    """

    def __init__(
        self,
        interactions: str,
        queries: str | None = None,
        candidates: str | None = None,
        query_id: str = "query_id",
        candidate_id: str = "candidate_id",
        label: str | None = None,
        weight: str | None = None,
        time: str | None = None,
        display: list[str] | None = None,
        quote: bool | dict[str, bool] | None = None,
        grade: str | None = None,
        separator: str | dict[str, str] | None = None,
        encoding: str | dict[str, str] | None = None,
        columns: list[str] | dict[str, list[str]] | None = None,
        rename: dict[str, str] | None = None,
        dtypes: dict[str, str] | None = None,
        time_format: str | None = None,
        label_above: float | None = None,
        positive: str | None = None,
        missing: list[str] | None = None,
        drop: list[str] | None = None,
    ) -> None:
        self.interactions, self.queries, self.candidates = interactions, queries, candidates
        self.query_id, self.candidate_id = query_id, candidate_id
        self.label, self.weight, self.time, self.grade = label, weight, time, grade
        self.display, self.quote = display, quote
        self.separator, self.encoding, self.columns = separator, encoding, columns
        self.rename, self.dtypes, self.time_format = rename, dtypes, time_format
        self.label_above, self.positive = label_above, positive
        self.missing, self.drop = missing, drop
        self._check_settings()

    def _check_settings(self) -> None:
        try:
            for role in self._paths:
                self._layout(role)
            self._positive_rows()
        except UserError as error:
            raise UserError(f"Files: {error}") from error
        for setting in ("columns", "separator", "encoding", "quote"):
            value = getattr(self, setting)
            for role in value if isinstance(value, dict) else ():
                require_choice("Files", f"a table of {setting}", role, list(self._paths))
        for rows in self.drop or ():
            require_choice("Files", "drop", rows, DROPPED)
        for name, kind in (self.dtypes or {}).items():
            require_choice("Files", f"dtypes of {name!r}", kind, VALUE_TYPES)
        if self.time_format is not None and self.time is None:
            raise UserError(f"Files: time_format is {self.time_format!r}, but no column is named as `time`")

    @property
    def _paths(self) -> dict[str, str]:
        paths = {"interactions": self.interactions, "queries": self.queries, "candidates": self.candidates}
        return {role: path for role, path in paths.items() if path is not None}

    def _layout(self, role: str) -> TextLayout:
        separator, encoding, quote = (setting_of(each, role) for each in (self.separator, self.encoding, self.quote))
        return TextLayout(separator, encoding, quote, names_of(self.columns, role))

    def _positive_rows(self) -> PositiveRows | None:
        """Return the comparison that gives the labels; None = the column ``label`` holds them, or all are liked."""
        if self.positive is not None:
            if self.label is not None or self.label_above is not None:
                raise UserError(f"positive is {self.positive!r}; leave out `label` and `label_above`")
            return PositiveRows.parse(self.positive)
        if self.label_above is None:
            return None
        if self.label is None:
            raise UserError(f"label_above is {self.label_above}, but no column is named as `label`")
        if not is_number(self.label_above):
            raise UserError(f"label_above is {self.label_above!r}; it must be a number")
        return PositiveRows(self.label, ">", float(self.label_above))

    def tables(self) -> RawTables:
        """Read the tables.

        Raises:
            FileNotFoundError: a file is missing. The message has its absolute path and the files nearby.
            UserError: a file, or a number or a time in it, cannot be read; a setting that fits no file or column.
        """
        self._check_files()  # all of them, before the first one is read
        frames = {role: reading.read(path, role, self._layout(role)) for role, path in self._paths.items()}
        frames = with_types(renamed(without_values(frames, self.missing or ()), self.rename or {}), self.dtypes or {})
        frames = self._with_needed_values(frames)
        display = tuple(self.display or ())
        keys = ColumnRoles(self.query_id, self.candidate_id, self.label, self.weight, self.time, self.grade)
        interactions, keys = self._with_roles(frames["interactions"], keys)
        if len(frames) == 1 and is_triplets(interactions, self.query_id, self.candidate_id):
            return text_tables(interactions, keys, display)
        frames = self._typed_ids(frames | {"interactions": interactions}, self.query_id)
        frames = self._typed_ids(frames, self.candidate_id)
        own_ids = {"queries": self.query_id, "candidates": self.candidate_id}
        frames = drop_repeated(frames, own_ids) if "repeated" in (self.drop or ()) else frames
        frames = drop_unknown(frames, own_ids) if "unknown" in (self.drop or ()) else frames
        return RawTables(frames["interactions"], frames.get("queries"), frames.get("candidates"), keys, display)

    def _with_needed_values(self, frames: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        if "missing" not in (self.drop or ()):
            return frames
        positive = self._positive_rows()
        liked = self.label if positive is None else positive.column
        named = [self.query_id, self.candidate_id, liked, self.weight, self.time, self.grade]
        events = [name for name in named if name is not None]
        return drop_missing(
            frames, {"interactions": events, "queries": [self.query_id], "candidates": [self.candidate_id]}
        )

    def _check_files(self) -> None:
        kinds = [self._kind(role) for role in self._paths]
        for role, path in self._paths.items():
            file_formats.locate(path, role)
        delimited = any(kind in file_formats.DELIMITED for kind in kinds)
        for name, fits in (
            ("separator", delimited),
            ("columns", delimited),
            ("encoding", not set(kinds) <= {"Parquet", "pictures"}),
        ):
            if getattr(self, name) is not None and not fits:
                raise UserError(
                    f"Files: {name} is {getattr(self, name)!r}, but no file has such text; the files are "
                    f"{', '.join(dict.fromkeys(kinds))}"
                )

    def _kind(self, role: str) -> file_formats.Format:
        return file_formats.format_of(self._paths[role], role, setting_of(self.separator, role) is not None)

    def _with_roles(self, frame: pl.DataFrame, keys: ColumnRoles) -> tuple[pl.DataFrame, ColumnRoles]:
        """Return the interactions with labels, weights, grades and times that are no text."""
        positive = self._positive_rows()
        if positive is not None:
            frame = frame.with_columns(positive.of(frame))
            keys = replace(keys, label=positive.name)
        for role in ("label", "weight", "grade"):
            name = getattr(keys, role)
            if name in frame.columns:
                remedy = f"; name the liked rows, such as `positive: {name} == yes`" if role == "label" else ""
                frame = frame.with_columns(as_numbers(frame[name], f"{role} column {name!r}", remedy))
        if self.time in frame.columns:
            frame = frame.with_columns(as_times(frame[self.time], f"time column {self.time!r}", self.time_format))
        return frame, keys

    def _typed_ids(self, frames: dict[str, pl.DataFrame], key: str) -> dict[str, pl.DataFrame]:
        if key in (self.dtypes or {}):
            return frames
        return typed_ids(frames, key, [role for role in frames if self._kind(role) in file_formats.DELIMITED])

    def fingerprint(self) -> str:
        """Return a hash of the arguments, and of the path, size and modification time of each file.

        The contents behind a URL are not read: clear the cache when they change.
        """
        files = [file for role, path in self._paths.items() for file in file_formats.locate(path, role)]
        return self._digest(*(f"{file}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files))
