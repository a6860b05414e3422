"""The command that draws a metric of several runs, epoch by epoch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_file

if TYPE_CHECKING:
    from dssm_lightning.reports.training_curves import Points


def curves(
    metric: str,
    plot: str,
    run: list[str] | None = None,
    label: list[str] | None = None,
    config: list[str] | None = None,
    ckpt_path: str = "best",
) -> dict[str, Points]:
    """Draw a metric of several runs, epoch by epoch.

    Args:
        metric: a metric that every run logged, such as val/ndcg@10.
        plot: the SVG or PNG file to write.
        run: run folders, checkpoints in run folders, or configs, which stand for their newest runs; None = the newest
            run (of the config).
        label: the name of each run in the drawing; None = its folder.
        config: the newest run of the first config is drawn; None = the newest run of any config.
        ckpt_path: a checkpoint file, or best or last: the run that has it is drawn.

    Returns:
        each run's epochs and values, by its label.
    """
    from dssm_lightning.reports.training_curves import (
        draw_curves,
        read_curve,
        require_matplotlib,
        require_plot_file,
        save_curves,
    )

    require_plot_file(Path(plot))
    require_matplotlib()
    runs = _runs(run, config, ckpt_path)
    labels = label or run or runs
    if len(labels) != len(runs) or len(set(labels)) < len(labels):
        raise UserError(f"--label: {len(runs)} runs need {len(runs)} different labels; found {', '.join(labels)}")
    found = {name: read_curve(each, metric) for name, each in zip(labels, runs, strict=True)}
    save_curves(draw_curves(found, metric), Path(plot))
    log_file(f"{metric} by epoch", plot)
    return found


def _runs(run: list[str] | None, config: list[str] | None, ckpt_path: str) -> list[str]:
    """Return the runs to draw: the named ones, or the newest one; the log names those that are not finished."""
    from dssm_lightning.cli.checkpoint_arguments import log_unfinished, named_run, require_checkpoint
    from dssm_lightning.reports.training_curves import run_folder

    if run is None:
        return [str(run_folder(str(require_checkpoint(ckpt_path, config[0] if config else None))))]
    if config or ckpt_path != "best":
        other = f"--config {config[0]}" if config else f"--ckpt_path {ckpt_path}"
        raise UserError(f"--run {run[0]} and {other}: leave one of them out")
    found = [named_run(each) for each in run]
    for given, named in zip(run, found, strict=True):
        if given == named:  # that of a config is named by its choice
            log_unfinished(run_folder(named))
    return found
