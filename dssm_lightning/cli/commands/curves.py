"""The command that draws a metric of several runs, epoch by epoch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_file

if TYPE_CHECKING:
    from dssm_lightning.reports.training_curves import Points


def curves(run: list[str], metric: str, plot: str, label: list[str] | None = None) -> dict[str, Points]:
    """Draw a metric of several runs, epoch by epoch.

    Args:
        run: run folders, or checkpoints in run folders.
        metric: a metric that every run logged, such as val/ndcg@10.
        plot: the SVG or PNG file to write.
        label: the name of each run in the drawing; None = its folder.

    Returns:
        each run's epochs and values, by its label.
    """
    from dssm_lightning.cli.checkpoint_arguments import log_unfinished
    from dssm_lightning.reports.training_curves import (
        draw_curves,
        read_curve,
        require_matplotlib,
        require_plot_file,
        run_folder,
        save_curves,
    )

    require_plot_file(Path(plot))
    require_matplotlib()
    labels = run if label is None else label
    if len(labels) != len(run) or len(set(labels)) < len(labels):
        raise UserError(f"--label: {len(run)} runs need {len(run)} different labels; found {', '.join(labels)}")
    for each in run:
        log_unfinished(run_folder(each))
    found = {name: read_curve(each, metric) for name, each in zip(labels, run, strict=True)}
    save_curves(draw_curves(found, metric), Path(plot))
    log_file(f"{metric} by epoch", plot)
    return found
