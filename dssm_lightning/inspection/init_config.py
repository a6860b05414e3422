"""A config for tables in files or in memory, in Python."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from dssm_lightning.data.sources.frames import Frames
from dssm_lightning.inspection.plan import plan_of_files
from dssm_lightning.inspection.rules.situation import Task
from dssm_lightning.utils.atomic_files import atomic_write
from dssm_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from dssm_lightning.data.sources.frames import Frame


def init_config(
    interactions: str | Path | Frame,
    queries: str | Path | Frame | None = None,
    candidates: str | Path | Frame | None = None,
    *,
    folder: str | Path | None = None,
    task: Task | None = None,
    query_id: str | None = None,
    candidate_id: str | None = None,
    time: str | None = None,
    label: str | None = None,
    positive: str | None = None,
) -> str:
    """Look at your tables, and return a commented config that is good for them, as the command `init` writes it.

    Args:
        interactions: table of events, as a file or as a Polars or pandas frame.
        queries: table of queries; None = those of the interactions.
        candidates: table of candidates; None = those of the interactions.
        folder: where frames are written as Parquet files, which the config names; only for frames. A file that is
            there with other rows is not replaced.
        task: "search", "recommend" or "rerank"; None = it follows from the data.
        query_id: column of the query's id; None = it is found. The others in the same way.
        candidate_id: column of the candidate's id.
        time: column of the event's time.
        label: column with 1 for liked and 0 for shown and not liked.
        positive: what counts as liked, such as ``stars >= 4``.

    Raises:
        UserError: whatever is wrong with the tables; nothing liked, or nothing to learn from; a frame without a folder,
            or a folder with other tables of the same names.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> import polars as pl
        >>> users, films = [n // 8 for n in range(400)], [n * n % 41 for n in range(400)]
        >>> with TemporaryDirectory() as folder:
        ...     config = init_config(pl.DataFrame({"user_id": users, "film_id": films}), folder=folder)
        >>> config.splitlines()[0][:17]
        '# Recommendation:'
    """
    paths = _paths({"interactions": interactions, "queries": queries, "candidates": candidates}, folder)
    parts = {"query_id": query_id, "candidate_id": candidate_id, "time": time, "label": label, "positive": positive}
    plan = plan_of_files(paths["interactions"], paths.get("queries"), paths.get("candidates"), task, **parts)
    return plan.text(plan.head("my.yaml"))


def _paths(tables: dict[str, str | Path | Frame | None], folder: str | Path | None) -> dict[str, str]:
    """Return the file of each table; frames are written first."""
    found = {}
    for role, table in tables.items():
        if table is None:
            continue
        if isinstance(table, str | Path):
            found[role] = str(table)
            continue
        if folder is None:
            raise UserError(f"{role} is a frame: name a `folder`, where it is written as a file that the config names")
        path = Path(folder) / f"{role}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(Frames(table).tables().interactions, path, role)
        found[role] = str(path)
    return found


def _write(frame: pl.DataFrame, path: Path, role: str) -> None:
    """Write a frame, unless the file holds the same.

    Raises:
        UserError: the file holds something else.
    """
    if not path.exists():
        with atomic_write(path) as temporary:
            frame.write_parquet(temporary)
        return
    with suppress(pl.exceptions.PolarsError, OSError):
        if pl.read_parquet(path, glob=False).equals(frame):
            return
    raise UserError(f"{role}: {path} exists already, with other rows: name another `folder`, or remove the file")
