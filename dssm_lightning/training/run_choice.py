"""Which run is meant if none is named: the newest finished one, and which newer ones were passed over."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dssm_lightning.training.run_folders import checkpoint_path, folders_of, newest_checkpoint
from dssm_lightning.training.run_status import read_status


class Choice(NamedTuple):
    """A checkpoint that was chosen, and why."""

    path: Path
    passed_over: list[str]
    """One line about each newer run, the newest first: what it is, and how to take it."""

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.path.parent.parent


def choose_checkpoint(name: str | None, which: str) -> Choice | None:
    """Return the ``best`` or ``last`` checkpoint of the newest finished run, of one name or of any name.

    A run of an earlier release, which did not record how it ended, counts as finished. If no finished run has such a
    checkpoint, it is that of the newest run that has one. Numbers give the order of runs with the same name;
    between names the modification times of the checkpoints decide.

    Args:
        name: the name of the runs; None = any.
        which: ``best`` or ``last``.

    Returns:
        None if no run has such a checkpoint.

    Example:
        >>> choose_checkpoint("no such name", "best") is None
        True
    """
    finished: dict[str, Path] = {}
    for folder in folders_of(name):
        path = checkpoint_path(folder, which)
        if path.is_file() and is_over(folder):
            finished[folder.parent.name] = path
    chosen = max(finished.values(), key=_modified, default=None) or newest_checkpoint(name, which)
    if chosen is None:
        return None
    newer = [folder for folder in folders_of(name) if _is_newer(folder, chosen, which)]
    newer.sort(key=lambda folder: (folder.stat().st_mtime_ns, int(folder.name.rpartition("_")[2])), reverse=True)
    return Choice(chosen, [_why(folder, which) for folder in newer])


def is_over(run: Path) -> bool:
    """Return whether the fit of a run has come to its end, as far as is known."""
    status = read_status(run)
    return status is None or status.state == "finished"


def _is_newer(folder: Path, chosen: Path, which: str) -> bool:
    """Return whether a run is newer than that of the chosen checkpoint."""
    run, path = chosen.parent.parent, checkpoint_path(folder, which)
    number, own = (each.name.rpartition("_")[2] for each in (folder, run))
    if not number.isascii() or not number.isdecimal() or folder == run:
        return False
    if folder.parent == run.parent:
        return not own.isdecimal() or int(number) > int(own)
    return path.is_file() and not is_over(folder) and _modified(path) > _modified(chosen)


def _why(folder: Path, which: str) -> str:
    path, status = checkpoint_path(folder, which), read_status(folder)
    unfinished = "" if status is None else status.not_finished
    if not path.is_file():
        return f"{folder} is newer, but has no {which}.ckpt" + (f": {unfinished}" if unfinished else "")
    return f"{folder} is newer, but {unfinished or 'was not chosen'}; to take it: --ckpt_path {path}"


def _modified(path: Path) -> int:
    return path.stat().st_mtime_ns
