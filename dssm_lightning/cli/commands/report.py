"""The command that writes a report of a run, or of two runs, as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_file

if TYPE_CHECKING:
    from dssm_lightning.reports.html_report.run_record import RunRecord

KINDS = ("best", "last")


def report(
    run: str | None = None,
    runs: list[str] | None = None,
    output: str = "report.html",
    config: list[str] | None = None,
    ckpt_path: str = "best",
    colour_by: str | None = None,
    projector: str | None = None,
) -> Path:
    """Write a report of a run, or of two runs side by side, as one HTML file.

    Nothing is trained, and the run is not changed. What the run lacks is named, with the command that makes it.

    Args:
        run: a run folder, or a checkpoint in a run folder; None = the newest run (of the config).
        runs: two runs that are compared, in place of one; a config stands for its newest run.
        output: the HTML file.
        config: the newest run of the first config is chosen; None = the newest run of any config.
        ckpt_path: a checkpoint file in a run folder, or best or last: of the run, or the other one if it has no such
            checkpoint.
        colour_by: a column of the candidates that colours the map of embeddings; None = one with few values.
        projector: also write the embeddings of all candidates for TensorBoard's projector into this folder.

    Returns:
        the file.
    """
    from dssm_lightning.cli.checkpoint_arguments import named_run
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
        first = config[0] if config else None
        _require_unused("--runs", run=run, config=first, colour_by=colour_by, projector=projector)
        which = _require_kind("--runs", ckpt_path)
        records = [read_run(named_run(each), which) for each in require_two(runs)]
        page = make_comparison(records, [open_run(each) for each in records])
    else:
        record = _newest(config, ckpt_path) if run is None else _named(run, config, ckpt_path)
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


def _newest(config: Sequence[str] | None, which: str) -> RunRecord:
    """Read the chosen run, or the newest one.

    Raises:
        UserError: there is no run in the working folder, or no such checkpoint.
    """
    from dssm_lightning.cli.checkpoint_arguments import find_checkpoint
    from dssm_lightning.reports.html_report.run_record import read_run
    from dssm_lightning.training import run_folders

    first, other = config[0] if config else None, "last" if which == "best" else "best"
    found = find_checkpoint(which, first)
    if found is None and which in KINDS:
        found = find_checkpoint(other, first)
    if found is None:
        raise UserError(
            f"report: no run{f' of {first}' if first else ''} under {run_folders.RUNS.resolve()} has a checkpoint: "
            "fit first, or name a run with --run"
        )
    return read_run(str(found.parent.parent), which) if which in KINDS else read_run(str(found))


def _named(run: str, config: Sequence[str] | None, which: str) -> RunRecord:
    """Read the run of ``--run``."""
    from dssm_lightning.cli.checkpoint_arguments import log_unfinished
    from dssm_lightning.reports.html_report.run_record import read_run

    _require_unused(f"--run {run}", config=config[0] if config else None)
    record = read_run(run, _require_kind(f"--run {run}", which))
    log_unfinished(record.folder)
    return record


def _require_kind(option: str, which: str) -> str:
    if which not in KINDS:
        raise UserError(f"{option} and --ckpt_path {which} name two runs: leave one of them out")
    return which


def _require_unused(option: str, **others: str | None) -> None:
    for name, value in others.items():
        if value is not None:
            raise UserError(f"{option} and --{name} {value}: leave one of them out")


def _require_projectable(checkpoint: Path | None, projector: str) -> None:
    if checkpoint is None:
        raise UserError(f"--projector {projector}: the run has no checkpoint, and so no embeddings")
