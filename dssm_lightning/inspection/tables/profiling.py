"""From tables to what was found in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dssm_lightning.data.sources.frames import Frames
from dssm_lightning.inspection.profile import DataProfile
from dssm_lightning.inspection.tables import picture_tables
from dssm_lightning.inspection.tables.column_sides import with_sides
from dssm_lightning.inspection.tables.counts import count
from dssm_lightning.inspection.tables.event_columns import find_fold, find_time, find_weight
from dssm_lightning.inspection.tables.feedback import find_feedback
from dssm_lightning.inspection.tables.keyed_tables import Tables, find, shared_texts
from dssm_lightning.inspection.tables.learnable import require_learnable
from dssm_lightning.inspection.tables.loading import Table, load, table_of_frame
from dssm_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from dssm_lightning.data.sources.frames import Frame


@dataclass(frozen=True)
class Overrides:
    """What the user named, in place of what would be found."""

    query_id: str | None = None
    candidate_id: str | None = None
    time: str | None = None
    label: str | None = None
    positive: str | None = None


def profile_files(
    interactions: str | None,
    queries: str | None = None,
    candidates: str | None = None,
    *,
    query_id: str | None = None,
    candidate_id: str | None = None,
    time: str | None = None,
    label: str | None = None,
    positive: str | None = None,
) -> DataProfile:
    """Find out how files are written, what their columns are, and what there is to learn from.

    The result can be read by `Files` with the settings of :func:`files_settings`. Kinds of columns are those of the
    first 200,000 rows; ids are counted in the first 5,000,000.

    Args:
        interactions: a file, folder, glob or URL. A folder of pictures is searched by the pictures' names; None = the
            folder that is given as ``candidates``.
        queries: the table of queries, or None.
        candidates: the table of candidates, or a folder of pictures, or None.
        query_id: the column of the query's id in the interactions; None = find it.
        candidate_id: the column of the candidate's id in the interactions; None = find it.
        time: the column of the event's time; None = find it.
        label: the column that says what was liked; None = find it.
        positive: the comparison that says what was liked, such as ``stars >= 4``; None = propose one.

    Raises:
        FileNotFoundError: no such file.
        UserError: a file that cannot be read; no column that can be an id; tables without a common id; no row that is
            liked; nothing to learn. The message names the file, the column and what was found.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "ratings.dat")
        ...     rows = [f"{u}::{f}::{1 + (f + u) % 5}::97830{u}{f}60" for u in (1, 2, 3) for f in range(9)]
        ...     _ = path.write_text("\\n".join(rows))
        ...     found = profile_files(str(path))
        >>> found.interactions.layout.separator, found.time, found.feedback.positive
        ('::', 'time', 'rating >= 4')
    """
    if interactions is None and candidates is not None and picture_tables.is_folder(candidates):
        interactions, candidates = candidates, None
    if interactions is None:
        raise UserError("interactions is None; it must be a table of events, or candidates a folder of pictures")
    tables = Tables(
        load(interactions, "interactions"),
        None if queries is None else load(queries, "queries"),
        None if candidates is None else load(candidates, "candidates"),
    )
    return _profile(tables, Overrides(query_id, candidate_id, time, label, positive))


def profile_frames(
    interactions: Frame,
    queries: Frame | None = None,
    candidates: Frame | None = None,
    *,
    query_id: str | None = None,
    candidate_id: str | None = None,
    time: str | None = None,
    label: str | None = None,
    positive: str | None = None,
) -> DataProfile:
    """Find out what the columns of Polars or pandas frames are, as :func:`profile_files` does.

    Arguments and errors are the same; the paths of all tables are None.

    Raises:
        TypeError: a table is neither a Polars nor a pandas frame.
        UserError: as for files.

    Example:
        >>> import polars as pl
        >>> users = [user for user in "abcd" for _ in range(3)]
        >>> likes = pl.DataFrame({"user": users, "film": [1, 2, 3] * 4, "stars": [5, 1, 4, 2] * 3})
        >>> found = profile_frames(likes)
        >>> found.query_id, found.candidate_id, found.feedback.positive
        ('user', 'film', 'stars >= 4')
    """
    raw = Frames(interactions, queries, candidates).tables()
    tables = Tables(
        table_of_frame(raw.interactions, "interactions"),
        None if raw.queries is None else table_of_frame(raw.queries, "queries"),
        None if raw.candidates is None else table_of_frame(raw.candidates, "candidates"),
    )
    return _profile(tables, Overrides(query_id, candidate_id, time, label, positive))


def _profile(tables: Tables, given: Overrides) -> DataProfile:
    found = find(tables, given.query_id, given.candidate_id)
    events, keys = found.tables.events, (found.query, found.candidate)
    names = {key.name for key in keys}
    time, notes = find_time(events, keys, given.time)
    fold, more = find_fold(events, found.tables.queries)
    weight, counted = find_weight(events, [*names, time])
    feedback = find_feedback(events, keys, [*names, time, weight, fold], given.label, given.positive)
    parts = [time, weight, fold, feedback.column]
    events = with_sides(events, found.query.name, found.candidate.name, parts)
    found.tables = replace(found.tables, events=events)
    counts = count(events, found.tables.own, (found.query.name, found.candidate.name), feedback, found.corpus)
    own = found.tables
    result = DataProfile(
        interactions=events.profile,
        queries=None if own.queries is None else own.queries.profile,
        candidates=None if own.candidates is None else own.candidates.profile,
        query_id=found.query.name,
        candidate_id=found.candidate.name,
        rename=found.rename,
        dtypes=found.dtypes,
        missing=_missing(found.tables),
        drop=_drop(events, counts.drop, time),
        published_fold=fold,
        time=time,
        weight=weight,
        feedback=feedback,
        share_shared_texts=shared_texts(found, counts.liked),
        notes=[*found.notes, *notes, *more, *counted, *counts.notes, *_missing_notes(found.tables)],
        **counts.numbers,
    )
    require_learnable(result)
    return result


def _missing(tables: Tables) -> list[str]:
    every = [tables.events, *tables.own.values()]
    return sorted({text for table in every for column in table.columns.values() for text in column.missing})


def _missing_notes(tables: Tables) -> list[str]:
    return [
        f"{table.role}: {name} has {', '.join(map(repr, column.missing))} in place of a missing value"
        for table in [tables.events, *tables.own.values()]
        for name, column in table.columns.items()
        if column.missing
    ]


def _drop(events: Table, found: list[str], time: str | None) -> list[str]:
    without_time = time is not None and bool(events.columns[time].profile.missing)
    return sorted({*found, *(["missing"] if without_time else [])})
