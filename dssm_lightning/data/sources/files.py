"""The user's own tables in files."""

from __future__ import annotations

import polars as pl

from dssm_lightning.data.sources import file_formats
from dssm_lightning.data.sources.base import Source
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.tables import RawTables
from dssm_lightning.utils.errors import UserError

TRIPLET = {"query", "positive_doc"}
"""Columns of JSON Lines of raw texts; a column ``negative_docs`` is optional."""


class Files(Source):
    """Read tables from CSV, TSV, JSON Lines or Parquet files; the suffix determines the format.

    A path is a file, a folder of Parquet files as Spark or Ray write it (``year=2024/part-0.snappy.parquet``: the year
    becomes a column), a glob, or a URL of an object store that Polars can scan (the URL of a folder ends in a slash).
    CSV, TSV and JSON Lines may be compressed (``.gz``, ``.zst``). The first line of CSV and TSV has the column names.
    Ids in CSV and TSV become integers if all of them are written as integers (``007`` is not), else text.

    If only ``interactions`` is given, it is a flat table: each row has the columns of its query and of its candidate.
    JSON Lines with the raw texts ``query``, ``positive_doc`` and, optionally, ``negative_docs`` need no further
    setting: each text is its own id (columns ``query`` and ``doc``), and ``negative_docs`` lists candidate ids.

    Args:
        interactions: one row for each event: the query, the candidate, and columns that vary by event.
        queries: one row for each query; None = the distinct queries of ``interactions``.
        candidates: the corpus, one row for each candidate; None = the distinct candidates of ``interactions``.
        query_id: column that identifies a query, in ``interactions`` and ``queries``.
        candidate_id: column that identifies a candidate, in ``interactions`` and ``candidates``.
        label: column of ``interactions`` with 1 for liked and 0 for shown and not liked; None = all are liked.
        weight: column of ``interactions`` with a weight, 0 or more; None = all count the same.
        time: column of ``interactions`` with a number, or a date or time (ISO 8601 in text files); None = no order is
            known.
        display: columns of ``candidates`` to show beside an answer.
        quote: whether ``"`` encloses fields of CSV and TSV; None = in CSV only.
        grade: column of ``interactions`` with the grade of a liked candidate, a whole number from 1 on: the gain of
            NDCG; None = all have the same grade.

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
        quote: bool | None = None,
        grade: str | None = None,
    ) -> None:
        self.interactions, self.queries, self.candidates = interactions, queries, candidates
        self.query_id, self.candidate_id = query_id, candidate_id
        self.label, self.weight, self.time, self.grade = label, weight, time, grade
        self.display, self.quote = display, quote

    @property
    def _paths(self) -> dict[str, str]:
        paths = {"interactions": self.interactions, "queries": self.queries, "candidates": self.candidates}
        return {role: path for role, path in paths.items() if path is not None}

    def tables(self) -> RawTables:
        """Read the tables.

        Raises:
            FileNotFoundError: a file is missing. The message has its absolute path and the files nearby.
            UserError: a file, or a time in it, cannot be read.
        """
        for role, path in self._paths.items():  # find all files before the first one is read
            file_formats.format_of(path, role)
            file_formats.locate(path, role)
        ids = [self.query_id, self.candidate_id]
        frames = {role: file_formats.read(path, role, self.quote, ids) for role, path in self._paths.items()}
        display = tuple(self.display or ())
        if len(frames) == 1 and TRIPLET <= set(frames["interactions"].columns) <= TRIPLET | {"negative_docs"}:
            return _texts(frames["interactions"], display)
        frames = self._typed_ids(self._typed_ids(frames, self.query_id), self.candidate_id)
        keys = ColumnRoles(self.query_id, self.candidate_id, self.label, self.weight, self.time, self.grade)
        interactions = _with_times(frames["interactions"], self.time)
        return RawTables(interactions, frames.get("queries"), frames.get("candidates"), keys, display)

    def _typed_ids(self, frames: dict[str, pl.DataFrame], key: str) -> dict[str, pl.DataFrame]:
        """Convert ids from text to integers if all ids of the text files are written as integers."""
        text = [
            role
            for role, frame in frames.items()
            if key in frame.columns and file_formats.format_of(self._paths[role], role) in ("CSV", "TSV")
        ]
        typed = [frame.schema[key] for role, frame in frames.items() if key in frame.columns and role not in text]
        as_integer = pl.col(key).cast(pl.Int64, strict=False)
        written_as_integers = all(
            frames[role].select(as_integer.cast(pl.String).eq_missing(pl.col(key)).all()).item() for role in text
        )
        if pl.String in typed or not written_as_integers:
            return frames
        return {r: f.with_columns(pl.col(key).cast(pl.Int64)) if r in text else f for r, f in frames.items()}

    def fingerprint(self) -> str:
        """Return a hash of the arguments, and of the path, size and modification time of each file.

        The contents behind a URL are not read: clear the cache when they change.
        """
        files = [file for role, path in self._paths.items() for file in file_formats.locate(path, role)]
        return self._digest(*(f"{file}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files))


def _texts(frame: pl.DataFrame, display: tuple[str, ...]) -> RawTables:
    """Return tables of raw texts; each text is its own id."""
    interactions = frame.rename({"positive_doc": "doc"})
    docs = [interactions["doc"]]
    if "negative_docs" in frame.columns:
        if frame.schema["negative_docs"] != pl.List(pl.String):
            raise UserError(f"column negative_docs is {frame.schema['negative_docs']}; it must hold lists of texts")
        lists = frame["negative_docs"].fill_null([])
        interactions = interactions.with_columns(lists)
        docs.append(lists.filter(lists.list.len() > 0).explode().rename("doc"))
    candidates = pl.concat([doc.to_frame() for doc in docs]).unique(maintain_order=True)
    queries = interactions.select("query").unique(maintain_order=True)
    return RawTables(interactions, queries, candidates, ColumnRoles("query", "doc"), display)


def _with_times(frame: pl.DataFrame, time: str | None) -> pl.DataFrame:
    if time is None or frame.schema.get(time) != pl.String:
        return frame
    text = frame[time]
    parsed = text.str.to_datetime(strict=False, time_zone="UTC")
    unread = text.filter(parsed.is_null() & text.is_not_null())
    if len(unread):
        raise UserError(
            f"time column {time!r}: {len(unread):,} of {len(text):,} values are neither numbers nor ISO 8601 times, "
            f"first {unread[0]!r}"
        )
    return frame.with_columns(parsed)
