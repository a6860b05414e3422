"""The status of a run, ``status.json`` in its folder: whether its fit is running, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from dssm_lightning.utils.atomic_files import atomic_write

FILE = "status.json"
STATES = ("running", "finished", "interrupted", "failed")
LONGEST_REASON = 300


class RunStatus(NamedTuple):
    """How far a fit has come.

    Example:
        >>> RunStatus("interrupted", epoch=3, max_epochs=10).not_finished
        'it was interrupted (epoch 3 of 10)'
    """

    state: str
    """One of :data:`STATES`."""
    epoch: int = 0
    """Complete epochs."""
    max_epochs: int | None = None
    reason: str | None = None
    """Why it failed."""

    @property
    def not_finished(self) -> str:
        """What to say of a run that is not finished; empty for a finished one."""
        if self.state == "finished":
            return ""
        said = {"running": "it is still training", "interrupted": "it was interrupted", "failed": "it failed"}
        of = "" if self.max_epochs is None or self.max_epochs < 0 else f" of {self.max_epochs}"
        return f"{said[self.state]} (epoch {self.epoch}{of})" + (f": {self.reason}" if self.reason else "")


def read_status(run: Path) -> RunStatus | None:
    """Return the status of a run; None for a run of an earlier release, or if the file is damaged.

    A fit that was killed has left the state "running": without the lock of its folder it counts as interrupted.
    """
    status = _read(run)
    if status is not None and status.state == "running" and not is_locked(run):
        return status._replace(state="interrupted")
    return status


def write_status(run: Path, status: RunStatus) -> None:
    """Write the status of a run, atomically.

    Raises:
        OSError: the folder cannot be written.
    """
    with atomic_write(run / FILE) as temporary:
        temporary.write_text(json.dumps(status._asdict()) + "\n", encoding="utf-8")


def not_finished(run: Path) -> str | None:
    """Return one line about a run that is not finished; None for a finished or unknown one."""
    status = read_status(run)
    return f"{run} is not finished: {status.not_finished}" if status is not None and status.not_finished else None


def is_locked(run: Path) -> bool:
    """Return whether a fit holds the lock of a run folder."""
    path = run / "run.lock"
    if not path.is_file():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except (Timeout, OSError):  # the second: a folder of another user
        return True
    lock.release()
    return False


@contextmanager
def record_end(run: Path) -> Iterator[None]:
    """Record how a fit ends that has begun to train within the block."""
    _end(run, "interrupted")  # an earlier fit that was killed
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        _end(run, "interrupted")
        raise
    except BaseException as error:
        _end(run, "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST_REASON])
        raise
    _end(run, "finished")


def _end(run: Path, state: str, reason: str | None = None) -> None:
    status = _read(run)
    if status is not None and status.state == "running":
        with suppress(OSError):  # a full disk must not hide the error of the fit
            write_status(run, status._replace(state=state, reason=reason))


def _read(run: Path) -> RunStatus | None:
    try:
        status = RunStatus(**json.loads((run / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    whole = isinstance(status.epoch, int) and isinstance(status.max_epochs, int | None)
    return status if status.state in STATES and whole else None
