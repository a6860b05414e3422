"""Run folders: ``runs/<name of the first config>/version_<N>/`` under the working folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dssm_lightning.utils.errors import UserError

RUNS = Path("runs")


def checkpoint_path(run: Path, which: str) -> Path:
    """Where a run keeps its ``best`` or ``last`` checkpoint."""
    return run / "checkpoints" / f"{which}.ckpt"


def new_run(name: str) -> Path:
    """The folder of the next run of this name (not made yet)."""
    numbers = [_number(folder) for folder in (RUNS / name).glob("version_*")]
    return RUNS / name / f"version_{max(numbers, default=-1) + 1}"


def begin(name: str) -> Path:
    """The folder of a new run, made for it alone: two that begin at once get one each.

    Raises:
        OSError: it cannot be made.
    """
    while True:
        run = new_run(name)
        with suppress(FileExistsError):  # another process was faster
            run.mkdir(parents=True)
            return run


@contextmanager
def lock_run(run: Path) -> Iterator[Path]:
    """Keep other processes from training in a run's folder meanwhile; one in which nothing was written goes at the end.

    Raises:
        ValueError: one does already.
        OSError: the folder cannot be written.
    """
    check_writable(run / "checkpoints")
    lock = FileLock(run / "run.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(f"another process is training in {run}: wait for its end, or begin a run of its own") from None
    try:
        yield run
    finally:
        lock.release()
        written = [path for path in run.rglob("*") if path.name not in ("run.lock", "checkpoints")]
        if not written:
            shutil.rmtree(run, ignore_errors=True)


def check_writable(folder: Path) -> None:
    """Make the folder that checkpoints go to, before anything is computed that could then not be kept.

    Raises:
        OSError: it cannot be made, or holds no file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"a word")
    except OSError as error:
        raise OSError(f"checkpoints go to {folder}, and it cannot be written: {error.strerror}") from error


def keep_metrics(run: Path) -> None:
    """A resumed run's logger starts its file anew: what was there keeps its place under another name."""
    path, number = run / "metrics.csv", 1
    if path.is_file():
        while (run / f"metrics.before-resume-{number}.csv").exists():
            number += 1
        path.rename(run / f"metrics.before-resume-{number}.csv")


def newest_checkpoint(name: str | None, which: str) -> Path | None:
    """The ``best`` or ``last`` checkpoint of the newest run that has one, of this name or of any.

    Runs of one name are as new as their number says, whatever the clock was; between names the files' times decide.
    """
    newest: dict[str, Path] = {}
    for folder in sorted(RUNS.glob(f"{name or '*'}/version_*"), key=_number):
        if (path := checkpoint_path(folder, which)).is_file():
            newest[folder.parent.name] = path
    return max(newest.values(), key=lambda path: path.stat().st_mtime_ns, default=None)


def version(run: Path) -> int | str:
    """What loggers call a run: its number, of which they make the folder's name, or the name of another folder."""
    number = _number(run)
    return run.name if run.name != f"version_{number}" else number


def run_of(checkpoint: Path) -> Path | None:
    """The run folder that a checkpoint lies in; None for a file elsewhere."""
    run = checkpoint.resolve().parent.parent
    return run if checkpoint.resolve().parent.name == "checkpoints" and (run / "config.yaml").is_file() else None


def _number(folder: Path) -> int:
    text = folder.name.removeprefix("version_")
    return int(text) if text.isdigit() else -1
