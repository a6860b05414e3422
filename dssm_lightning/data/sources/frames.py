"""The user's own tables in memory."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, TypeAlias

import polars as pl

from dssm_lightning.data.sources.base import Source
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.tables import RawTables

if TYPE_CHECKING:
    import pandas as pd

    Frame: TypeAlias = pl.DataFrame | pd.DataFrame


class Frames(Source):
    """Use Polars or pandas frames as tables; the index of a pandas frame is ignored.

    Args:
        interactions: one row for each event: the query, the candidate, and columns that vary by event.
        queries: one row for each query; None = the distinct queries of ``interactions``.
        candidates: the corpus, one row for each candidate; None = the distinct candidates of ``interactions``.
        query_id: column that identifies a query, in ``interactions`` and ``queries``.
        candidate_id: column that identifies a candidate, in ``interactions`` and ``candidates``.
        label: column of ``interactions`` with 1 for liked and 0 for shown and not liked; None = all are liked.
        weight: column of ``interactions`` with a weight, 0 or more; None = all count the same.
        time: column of ``interactions`` with a number or a datetime; None = no order is known.
        display: columns of ``candidates`` to show beside an answer.
        grade: column of ``interactions`` with the grade of a liked candidate, a whole number from 1 on: the gain of
            NDCG; None = all have the same grade.

    Example:
        >>> likes = pl.DataFrame({"user": ["ann", "bob"], "film": ["Heat", "Heat"], "year": [1999, 2003]})
        >>> source = Frames(likes, query_id="user", candidate_id="film", time="year")
        >>> source.tables().keys.time
        'year'
    """

    def __init__(
        self,
        interactions: Frame,
        queries: Frame | None = None,
        candidates: Frame | None = None,
        query_id: str = "query_id",
        candidate_id: str = "candidate_id",
        label: str | None = None,
        weight: str | None = None,
        time: str | None = None,
        display: list[str] | None = None,
        grade: str | None = None,
    ) -> None:
        self._interactions, self._queries, self._candidates = interactions, queries, candidates
        self.keys = ColumnRoles(query_id, candidate_id, label, weight, time, grade)
        self.display = tuple(display or ())

    def tables(self) -> RawTables:
        """Return the tables as Polars frames.

        Raises:
            TypeError: a table is neither a Polars nor a pandas frame.
        """
        queries = None if self._queries is None else _polars(self._queries, "queries")
        candidates = None if self._candidates is None else _polars(self._candidates, "candidates")
        return RawTables(_polars(self._interactions, "interactions"), queries, candidates, self.keys, self.display)

    def fingerprint(self) -> str:
        """Return a hash of the column roles and of all values, types and names in the frames."""
        tables = self.tables()
        frames = (tables.interactions, tables.queries, tables.candidates)
        digest = hashlib.sha256(f"{type(self).__name__}{self.keys}{self.display}".encode())
        for frame in frames:
            digest.update(b"none" if frame is None else b"frame")
            for column in [] if frame is None else frame:  # one at a time: a copy of one column, not of the table
                digest.update(_ipc(column))
        return digest.hexdigest()[:16]


def _polars(frame: Frame, role: str) -> pl.DataFrame:
    if isinstance(frame, pl.DataFrame):
        return frame
    if type(frame).__module__.partition(".")[0] == "pandas":
        return pl.from_pandas(frame)
    raise TypeError(f"Frames: {role} is {type(frame).__name__}; it must be a Polars or pandas frame")


def _ipc(column: pl.Series) -> memoryview:
    buffer = io.BytesIO()
    column.rechunk().to_frame().write_ipc(buffer, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    return buffer.getbuffer()
