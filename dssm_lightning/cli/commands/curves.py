"""The command that draws how a metric of several runs went, epoch by epoch."""

from __future__ import annotations

from pathlib import Path

from dssm_lightning.reports.network_diagram import require_svg
from dssm_lightning.reports.training_curves import COLOURS, Points, _read, curves_svg
from dssm_lightning.utils.errors import UserError


def curves(run: list[str], metric: str, plot: str, label: list[str] | None = None) -> dict[str, Points]:
    """Draw a metric of several runs, epoch by epoch.

    Args:
        run: run folders, or checkpoints in them.
        metric: what every run logged, such as val/ndcg@10.
        plot: the SVG file.
        label: what each run is called in the drawing; None = its folder.

    Returns:
        each run's epochs and values, by its label.
    """
    require_svg(Path(plot))
    labels = run if label is None else label
    if len(labels) != len(run) or len(set(labels)) < len(labels):
        raise UserError(f"{len(run)} runs need as many different labels; found {', '.join(labels)}")
    if len(run) > len(COLOURS):
        raise UserError(f"{len(run)} runs are more than can be told apart: at most {len(COLOURS)}")
    found = {name: _read(each, metric) for name, each in zip(labels, run, strict=True)}
    Path(plot).parent.mkdir(parents=True, exist_ok=True)
    Path(plot).write_text(curves_svg(found, metric), encoding="utf-8")
    print(f"{metric} by epoch: {plot}")
    return found
