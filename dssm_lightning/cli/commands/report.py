"""The command that writes a report of a run, or of two runs, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_file


def report(
    run: str | None = None,
    runs: list[str] | None = None,
    output: str = "report.html",
    ckpt: Literal["best", "last"] = "best",
    colour_by: str | None = None,
    projector: str | None = None,
) -> Path:
    """Write a report of a run, or of two runs side by side, as one HTML file.

    Nothing is trained, and the run is not changed. What the run lacks is named, with the command that makes it.

    Args:
        run: a run folder, or a checkpoint in a run folder; None = the newest run.
        runs: two runs that are compared, in place of one.
        output: the HTML file.
        ckpt: which checkpoint of a run folder is read; the other one if there is no such file.
        colour_by: a column of the candidates that colours the map of embeddings; None = one with few values.
        projector: also write the embeddings of all candidates for TensorBoard's projector into this folder.

    Returns:
        the file.
    """
    from dssm_lightning.reports.html_report.compare_report import make_comparison, require_two
    from dssm_lightning.reports.html_report.page import require_writable, write_page
    from dssm_lightning.reports.html_report.projector_files import require_projector_folder
    from dssm_lightning.reports.html_report.run_record import read_run
    from dssm_lightning.reports.html_report.write_report import make_page, open_run, write_points
    from dssm_lightning.reports.training_curves import require_matplotlib

    path = Path(output)
    require_matplotlib()
    require_writable(path)
    if runs is not None:
        _require_unused("--runs", run=run, colour_by=colour_by, projector=projector)
        records = [read_run(each, ckpt) for each in require_two(runs)]
        page = make_comparison(records, [open_run(each) for each in records])
    else:
        record = read_run(_newest(ckpt) if run is None else run, ckpt)
        if projector is not None:
            _require_projectable(record.checkpoint, projector)
            require_projector_folder(Path(projector))
        opened = open_run(record)
        page = make_page(record, opened, colour_by)
        if projector is not None and opened is not None:
            points = write_points(Path(projector), opened)
            log_file(f"{points:,} points for tensorboard --logdir", Path(projector))
    size = write_page(page, path)
    log_file(f"report of {size / 1e6:.1f} MB", path)
    return path


def _newest(which: str) -> str:
    """Return the folder of the newest run.

    Raises:
        UserError: there is no run in the working folder.
    """
    from dssm_lightning.training import run_folders

    other = "last" if which == "best" else "best"
    found = run_folders.newest_checkpoint(None, which) or run_folders.newest_checkpoint(None, other)
    if found is None:
        raise UserError(
            f"report: no run under {run_folders.RUNS.resolve()} has a checkpoint: fit first, or name a run with --run"
        )
    return str(found.parent.parent)


def _require_unused(option: str, **others: str | None) -> None:
    for name, value in others.items():
        if value is not None:
            raise UserError(f"{option} and --{name} {value}: leave one of them out; --{name} belongs to one run")


def _require_projectable(checkpoint: Path | None, projector: str) -> None:
    if checkpoint is None:
        raise UserError(f"--projector {projector}: the run has no checkpoint, and so no embeddings")
