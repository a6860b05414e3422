"""The status of a run, ``status.json`` in its folder: whether its fit is running, and how it ended."""

from __future__ import annotations

import json
import time
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
    seconds: float = 0.0
    """Time spent on training, those of earlier fits in the same folder included."""
    written: float | None = None
    """When this was recorded, in seconds since 1970; None = an earlier release did not record it."""

    @property
    def not_finished(self) -> str:
        """What to say of a run that is not finished; empty for a finished one."""
        if self.state == "finished":
            return ""
        said = {"running": "it is still training", "interrupted": "it was interrupted", "failed": "it failed"}
        return f"{said[self.state]} (epoch {self.epochs})" + (f": {self.reason}" if self.reason else "")

    @property
    def epochs(self) -> str:
        """Complete epochs, and of how many.

        Example:
            >>> RunStatus("running", 3, 10).epochs, RunStatus("running", 3, -1).epochs
            ('3 of 10', '3')
        """
        return str(self.epoch) + ("" if self.max_epochs is None or self.max_epochs < 0 else f" of {self.max_epochs}")


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
    _end(run, "interrupted", killed=True)  # an earlier fit
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        _end(run, "interrupted")
        raise
    except BaseException as error:
        _end(run, "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST_REASON])
        raise
    _end(run, "finished")


def _end(run: Path, state: str, reason: str | None = None, killed: bool = False) -> None:
    """Record the end of a running fit; for a fit that was killed it is not known how long it went on."""
    status, now = _read(run), time.time()
    if status is not None and status.state == "running":
        since = 0.0 if killed or status.written is None else max(0.0, now - status.written)
        written = status.written if killed else now
        status = status._replace(state=state, reason=reason, seconds=status.seconds + since, written=written)
        with suppress(OSError):  # a full disk must not hide the error of the fit
            write_status(run, status)


def _read(run: Path) -> RunStatus | None:
    try:
        found = json.loads((run / FILE).read_text(encoding="utf-8"))
        status = RunStatus(**{name: value for name, value in found.items() if name in RunStatus._fields})
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    whole = isinstance(status.epoch, int) and isinstance(status.max_epochs, int | None)
    timed = isinstance(status.seconds, int | float) and isinstance(status.written, int | float | None)
    return status if status.state in STATES and whole and timed else None
