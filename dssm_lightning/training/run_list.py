"""What is in the run folders, read from small files alone: neither torch nor Polars is needed."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dssm_lightning.training.run_folders import folders_of
from dssm_lightning.training.run_status import RunStatus, is_locked, read_status
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.yaml_files import read_sections

STATES = {"running": "training", "finished": "finished", "interrupted": "interrupted", "failed": "failed"}
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Run:
    """One run folder.

    Example:
        >>> Run("runs/shop/version_0", "shop", "finished", 8, 20, None, "val/mrr", 0.25, None, None, 62.0, 1e9).epochs
        '8/20'
    """

    folder: str
    config: str
    """The name of the config."""
    state: str
    """training, finished, interrupted, failed, or unknown for a run of an earlier release."""
    epoch: int | None
    """Complete epochs."""
    max_epochs: int | None
    reason: str | None
    """Why it failed."""
    monitor: str | None
    """The metric that chose the best checkpoint."""
    best: float | None
    """Its best value."""
    test: float | None
    """The same metric of the test rows."""
    window: tuple[int, int] | None
    """Which of the windows of a rolling evaluation was measured, and of how many."""
    seconds: float | None
    """Time spent on training."""
    written: float
    """When the run was last written to, in seconds since 1970."""

    @property
    def epochs(self) -> str:
        """Complete epochs, and of how many."""
        if self.epoch is None:
            return ""
        return str(self.epoch) + (f"/{self.max_epochs}" if self.max_epochs is not None and self.max_epochs > 0 else "")

    @property
    def test_metric(self) -> str | None:
        """The name of the metric of the test; None if the best checkpoint was chosen by another quantity."""
        found = self.monitor is not None and self.monitor.startswith("val/")
        return f"test/{str(self.monitor).removeprefix('val/')}" if found else None


def list_runs(names: Sequence[str] | None, most: int | None = None) -> tuple[list[Run], int]:
    """Return runs, the newest last, and the number of older ones that are left out.

    Args:
        names: of the configs; None = any.
        most: how many of the newest; None = all.
    """
    chosen: Sequence[str | None] = names or [None]
    folders = [folder for name in chosen for folder in folders_of(name) if (folder / "config.yaml").is_file()]
    order = {folder: _written(folder, read_status(folder)) for folder in folders}
    found = sorted(order, key=lambda folder: (order[folder], len(folder.name), folder.name))
    kept = found if most is None else found[-most:]
    return [_read(folder) for folder in kept], len(found) - len(kept)


def _read(folder: Path) -> Run:
    settings, status = _settings(folder), read_status(folder)
    checkpoint = settings.get("checkpoint") or {}
    monitor = checkpoint.get("monitor")
    tables = [_rows(path) for path in (folder / "metrics.csv", *sorted(folder.glob("metrics.before-resume-*.csv")))]
    epoch, state = _progress(folder, status, tables)
    run = Run(
        folder=str(folder),
        config=folder.parent.name,
        state=state,
        epoch=epoch,
        max_epochs=(settings.get("trainer") or {}).get("max_epochs") if status is None else status.max_epochs,
        reason=None if status is None else status.reason,
        monitor=monitor if isinstance(monitor, str) else None,
        best=_best(tables, monitor, checkpoint.get("mode")),
        test=None,
        window=_window(settings),
        seconds=status.seconds if status is not None and status.written is not None else None,
        written=_written(folder, status),
    )
    measured = _json(folder / "metrics.json").get(run.test_metric or "")
    return run if not isinstance(measured, int | float) else Run(**{**vars(run), "test": float(measured)})


def _settings(folder: Path) -> dict[str, Any]:
    newest = max(folder.glob("config.resume-*.yaml"), key=lambda path: path.stat().st_mtime_ns, default=None)
    with suppress(UserError, OSError):  # a damaged file hides no run
        return read_sections(newest or folder / "config.yaml")
    return {}


def _progress(folder: Path, status: RunStatus | None, tables: Sequence[Sequence[Mapping[str, str]]]) -> tuple[Any, str]:
    """Return the complete epochs and the state."""
    if status is not None:
        return status.epoch, STATES[status.state]
    logged = [int(row["epoch"]) for rows in tables for row in rows if (row.get("epoch") or "").isdecimal()]
    return max(logged, default=-1) + 1 or None, "training" if is_locked(folder) else UNKNOWN


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return list(csv.DictReader(file))


def _best(tables: Sequence[Sequence[Mapping[str, str]]], monitor: Any, mode: Any) -> float | None:
    values = [value for rows in tables for row in rows for value in _number(row.get(str(monitor)))]
    return (min if mode == "min" else max)(values, default=None)


def _number(text: str | None) -> Iterator[float]:
    with suppress(ValueError):
        value = float(text or "")
        if math.isfinite(value):
            yield value


def _window(settings: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the fold of a ``ByTime`` with several folds, and their number."""
    split = (settings.get("data") or {}).get("split") or {}
    arguments = split.get("init_args") or {} if isinstance(split, dict) else {}
    fold, folds = arguments.get("fold"), arguments.get("folds")
    if not isinstance(folds, int) or folds < 2:
        return None
    return (folds - 1 if fold is None else fold), folds


def _written(folder: Path, status: RunStatus | None) -> float:
    if status is not None and status.written is not None:
        return status.written
    places = [folder / name for name in ("metrics.csv", "status.json", "config.yaml")]
    return max(path.stat().st_mtime for path in places if path.is_file())


def _json(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}
