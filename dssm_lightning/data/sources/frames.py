"""The user's own tables in memory."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from dssm_lightning.data.sources.base import Source
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.tables import RawTables
from dssm_lightning.features.raw_values import shown
from dssm_lightning.utils.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    Frame: TypeAlias = pl.DataFrame | pd.DataFrame

_LOSSY = (pl.Date, pl.Duration, pl.Binary)
"""Types that pandas objects of several types become, with a loss: a datetime beside a date loses its hour."""


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
            UserError: a column of Python objects of several types, or of a type that no column can have.
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
        for column in frame:
            if column.dtype == pl.Object:
                raise _objects(role, column.name, column.to_list())
        return frame
    if type(frame).__module__.partition(".")[0] == "pandas":
        twice = frame.columns[frame.columns.map(str).duplicated()]
        if len(twice):
            raise UserError(f"Frames: {role} has two columns {str(twice[0])!r}; rename or drop one of them")
        return pl.DataFrame([_of_pandas(frame, place, role) for place in range(len(frame.columns))])
    raise TypeError(f"Frames: {role} is {type(frame).__name__}; it must be a Polars or pandas frame")


def _of_pandas(frame: pd.DataFrame, place: int, role: str) -> pl.Series:
    """Return a column of a pandas frame.

    Raises:
        UserError: its values are of several types, or of a type that no column can have.
    """
    name, column = str(frame.columns[place]), frame.iloc[:, place]
    try:
        found = pl.Series(name, pl.from_pandas(column.reset_index(drop=True)))
    except ImportError:  # pyarrow
        raise
    except Exception as error:  # pyarrow and Polars raise errors of many classes for objects that they do not know
        raise _objects(role, name, column.tolist()) from error
    if column.dtype == object and found.dtype in _LOSSY and len({type(v) for v in column if not _is_missing(v)}) > 1:
        raise _objects(role, name, column.tolist())
    return found


def _is_missing(value: Any) -> bool:
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _objects(role: str, name: str, values: list[Any]) -> UserError:
    """Return the error for a column of Python objects; it shows values of two types, or the first one."""
    first: dict[type, str] = {}
    for row, value in enumerate(values):
        if not _is_missing(value):
            first.setdefault(type(value), f"{shown(value)} ({type(value).__name__}) in row {row}")
    found = " and ".join(list(first.values())[:2])
    return UserError(
        f"Frames: {role}: column {name!r} holds {'values of several types' if len(first) > 1 else 'Python objects'}, "
        f"{found}; make them one type, such as text: df[{name!r}].astype(str) in pandas"
    )


def _ipc(column: pl.Series) -> memoryview:
    buffer = io.BytesIO()
    column.rechunk().to_frame().write_ipc(buffer, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    return buffer.getbuffer()
