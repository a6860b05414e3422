"""Run folders: ``runs/<name of the first config>/version_<N>/`` in the working folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dssm_lightning.training.run_status import FILE, record_end
from dssm_lightning.utils.errors import UserError

RUNS = Path("runs")
LOCK_SECONDS = 0.5
"""How long a fit waits for a lock that a reader of the status holds for a moment."""


def run_name(config: str | None) -> str:
    """Return the name of the runs of a config: the file's name without its suffix.

    Example:
        >>> run_name("configs/shop [new].yaml"), run_name(None)
        ('shop [new]', 'default')
    """
    name = Path(config or "default").stem
    return "default" if name in ("", ".", "..") else name


def folders_of(name: str | None) -> list[Path]:
    """Return the run folders of one name or of any name, by their numbers."""
    parents = [RUNS / name] if name is not None else _entries(RUNS)
    found = [folder for parent in parents for folder in _entries(parent) if folder.name.startswith("version_")]
    return sorted(found, key=_number)


def checkpoint_path(run: Path, which: str) -> Path:
    """Return the path of a run's ``best`` or ``last`` checkpoint."""
    return run / "checkpoints" / f"{which}.ckpt"


def new_run(name: str) -> Path:
    """Return the folder of the next run with this name, without making it."""
    numbers = map(_number, folders_of(name))
    return RUNS / name / f"version_{max(numbers, default=-1) + 1}"


def begin(name: str) -> Path:
    """Make the folder of a new run. Two runs that start at the same time get different folders.

    Raises:
        UserError: a file or a link to nowhere stands in the place of a folder.
        OSError: the folder cannot be made.
    """
    for folder in (RUNS, RUNS / name):
        if os.path.lexists(folder) and not folder.is_dir():
            found = "is a link to a place that does not exist" if folder.is_symlink() else "is no folder"
            raise UserError(f"{folder.absolute()} {found}, and runs are written into it: move it away")
    (RUNS / name).mkdir(parents=True, exist_ok=True)
    while True:
        run = new_run(name)
        with suppress(FileExistsError):  # another process was faster
            run.mkdir()
            return run


@contextmanager
def lock_run(run: Path) -> Iterator[Path]:
    """Lock a run folder against training by other processes, and record how the training ends.

    A run folder in which nothing was written is deleted on exit.

    Raises:
        UserError: another process holds the lock.
        OSError: the folder cannot be written.
    """
    check_writable(run / "checkpoints")
    lock = FileLock(run / "run.lock")
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise UserError(f"another process is training in {run}: wait until it ends, or start a new run") from None
    try:
        with record_end(run):
            yield run
    finally:
        lock.release()
        written = [path for path in run.rglob("*") if path.name not in ("run.lock", "checkpoints", FILE)]
        if not written:
            shutil.rmtree(run, ignore_errors=True)


def check_writable(folder: Path) -> None:
    """Make a folder for checkpoints and write a file to it, to find an error before training starts.

    Raises:
        OSError: the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"a word")
    except OSError as error:
        raise OSError(f"the folder for checkpoints, {folder}, cannot be written: {error.strerror}") from error


def keep_metrics(run: Path) -> None:
    """Rename the metrics of a run before it is resumed, because the logger overwrites the file."""
    path, number = run / "metrics.csv", 1
    if path.is_file():
        while (run / f"metrics.before-resume-{number}.csv").exists():
            number += 1
        path.rename(run / f"metrics.before-resume-{number}.csv")


def newest_checkpoint(name: str | None, which: str) -> Path | None:
    """Return the ``best`` or ``last`` checkpoint of the newest run that has it, of one name or of any name.

    The numbers of runs with the same name give their order, independent of the clock. Between names the modification
    times of the files decide.
    """
    newest: dict[str, Path] = {}
    for folder in folders_of(name):
        if (path := checkpoint_path(folder, which)).is_file():
            newest[folder.parent.name] = path
    return max(newest.values(), key=lambda path: path.stat().st_mtime_ns, default=None)


def version(run: Path) -> int | str:
    """Return the version for loggers: the run's number, from which they make the folder's name, or another name."""
    number = _number(run)
    return run.name if run.name != f"version_{number}" else number


def run_of(checkpoint: Path) -> Path | None:
    """Return the run folder that contains a checkpoint; None for a file outside of run folders.

    Within the working folder the path is relative, like the path of a new run: a ``ModelCheckpoint`` that is resumed
    forgets its best checkpoints if its folder has another path.
    """
    folder = checkpoint.resolve().parent
    run, here = folder.parent, Path.cwd()
    if folder.name != "checkpoints" or not (run / "config.yaml").is_file():
        return None
    return run.relative_to(here) if run.is_relative_to(here) else run


def _number(folder: Path) -> int:
    text = folder.name.removeprefix("version_")
    return int(text) if text.isascii() and text.isdecimal() else -1


def _entries(folder: Path) -> list[Path]:
    """Return what a folder holds; nothing if it is no folder. No name is a pattern here."""
    return sorted(folder.iterdir()) if folder.is_dir() else []
