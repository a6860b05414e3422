"""Run folders: ``runs/<name of the first config>/version_<N>/`` under the working folder."""

from __future__ import annotations

from pathlib import Path

RUNS = Path("runs")


def checkpoint_path(run: Path, which: str) -> Path:
    """Where a run keeps its ``best`` or ``last`` checkpoint."""
    return run / "checkpoints" / f"{which}.ckpt"


def new_run(name: str) -> Path:
    """The folder of the next run of this name (not made yet)."""
    numbers = [_number(folder) for folder in (RUNS / name).glob("version_*")]
    return RUNS / name / f"version_{max(numbers, default=-1) + 1}"


def newest_checkpoint(name: str | None, which: str) -> Path | None:
    """The ``best`` or ``last`` checkpoint of the newest run that has one, of this name or of any."""
    folders = list(RUNS.glob(f"{name or '*'}/version_*"))
    found = [path for path in (checkpoint_path(folder, which) for folder in folders) if path.is_file()]
    return max(found, key=lambda path: (path.stat().st_mtime_ns, _number(path.parent.parent)), default=None)


def run_of(checkpoint: Path) -> Path | None:
    """The run folder that a checkpoint lies in; None for a file elsewhere."""
    run = checkpoint.resolve().parent.parent
    return run if checkpoint.resolve().parent.name == "checkpoints" and (run / "config.yaml").is_file() else None


def _number(folder: Path) -> int:
    text = folder.name.removeprefix("version_")
    return int(text) if text.isdigit() else -1
