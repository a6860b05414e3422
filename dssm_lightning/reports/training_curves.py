"""A metric of several runs by epoch, drawn by matplotlib."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from dssm_lightning.training import run_folders
from dssm_lightning.utils.console import cell
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import did_you_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = list[tuple[int, float]]
"""Epochs, counted from 1, and the metric after each epoch."""

COLOURS = ("#2563c9", "#c2571a", "#0b7d60", "#7440b4", "#b0216a", "#57606a")
GRID, GREY = "#e4e7eb", "#57606a"
LABEL_HEIGHT = 13.0
"""Points (1/72 inch) between two labels."""
SUFFIXES = (".svg", ".png")


def read_curve(run: str, metric: str) -> Points:
    """Read a metric of a run; of an epoch that was repeated after an interrupt, the last value counts.

    Args:
        run: a run folder, or a checkpoint in a run folder.
        metric: a logged name, such as ``val/mrr``.

    Raises:
        UserError: there is no log, or the run did not log the metric.
    """
    folder = run_folder(run)
    if not (folder / "metrics.csv").is_file():
        raise UserError(f"{run}: no run folder with a metrics.csv, nor a checkpoint in such a folder")
    tables = _logs(folder)
    logged = _logged(tables)
    if metric not in logged:
        raise UserError(f"{run} did not log {metric!r}; it has {', '.join(logged)}{did_you_mean(metric, logged)}")
    return _curve(tables, metric)


def read_curves(folder: Path) -> dict[str, Points]:
    """Read every metric that a run logged, as :func:`read_curve` reads one; none without a log.

    Args:
        folder: a run folder.

    Raises:
        UserError: a file that is no CSV, or lacks the column epoch.
    """
    tables = _logs(folder)
    return {metric: points for metric in _logged(tables) if (points := _curve(tables, metric))}


def _logs(folder: Path) -> list[pl.DataFrame]:
    """Return the logs of a run, that of its last start at the end."""
    files = [*sorted(folder.glob("metrics.before-resume-*.csv"), key=_resume_number), folder / "metrics.csv"]
    tables = []
    for file in files:
        try:
            tables += [pl.read_csv(file, infer_schema_length=None)] if file.is_file() and file.stat().st_size else []
        except pl.exceptions.PolarsError as error:
            raise UserError(f"{file} is damaged: {error}") from error
        if tables and "epoch" not in tables[-1].columns:
            raise UserError(f"{file} has no column epoch, so `fit` did not write it")
    return tables


def _logged(tables: Sequence[pl.DataFrame]) -> list[str]:
    return sorted({name for table in tables for name in table.columns if "/" in name})


def _curve(tables: Sequence[pl.DataFrame], metric: str) -> Points:
    values = pl.col(metric).cast(pl.Float64)  # a column with "nan", as loggers write it, is read as texts
    rows = [table.select("epoch", values).drop_nulls().rows() for table in tables if metric in table.columns]
    return sorted({epoch + 1: value for table in rows for epoch, value in table}.items())


def run_folder(run: str) -> Path:
    """Return the folder of a run that is named by its folder or by a checkpoint in it."""
    path = Path(run)
    return (run_folders.run_of(path) or path.parent) if path.suffix == ".ckpt" else path


def draw_curves(curves: Mapping[str, Points], metric: str) -> Figure:
    """Draw a line for each run, with its label at the line's end.

    Args:
        curves: the points of each run, by its label.
        metric: the title.

    Raises:
        UserError: more runs than colours; or matplotlib is missing.

    Example:
        >>> figure = draw_curves({"A": [(1, 0.25), (2, 0.5)], "B": [(1, 0.125), (2, 0.75)]}, "val/mrr")
        >>> [line.get_ydata().tolist() for line in figure.axes[0].lines]
        [[0.25, 0.5], [0.125, 0.75]]
        >>> [label.get_text() for label in figure.axes[0].texts]
        ['A', 'B']
    """
    require_matplotlib()
    if len(curves) > len(COLOURS):
        raise UserError(f"{len(curves)} runs are too many for one drawing: it has {len(COLOURS)} colours")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    _style_axes(axes, metric)
    for points, colour in zip(curves.values(), COLOURS, strict=False):
        epochs, values = zip(*points, strict=True)
        axes.plot(epochs, values, color=colour, linewidth=1.8, marker="o", markersize=4, markevery=[-1])
    _label_ends(figure, axes, curves)
    return figure


def _style_axes(axes: Axes, metric: str) -> None:
    """Set the title, integer epochs and a light horizontal grid."""
    from matplotlib.ticker import MaxNLocator

    axes.set_title(cell(metric), loc="left", fontsize=11, fontweight="bold", parse_math=False)
    axes.set_xlabel("epoch", color=GREY)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=GREY)


def _label_ends(figure: Figure, axes: Axes, curves: Mapping[str, Points]) -> None:
    """Write each label to the right of its line's end; labels that would overlap move up or down."""
    figure.draw_without_rendering()  # the layout decides how high the axes are
    ends = [_last_finite(points) for points in curves.values()]
    heights = [float(axes.transData.transform(end)[1]) * 72 / figure.dpi for end in ends]
    moved = spread(heights, LABEL_HEIGHT)
    for label, line, end, old, new in zip(curves, axes.lines, ends, heights, moved, strict=True):
        beside, colour = (7.0, new - old), line.get_color()
        axes.annotate(cell(label), end, beside, textcoords="offset points", va="center", color=colour, parse_math=False)


def _last_finite(points: Points) -> tuple[int, float]:
    """Return the last point with a finite value; the last point if there is none."""
    return next((point for point in reversed(points) if math.isfinite(point[1])), points[-1])


def spread(heights: Sequence[float], distance: float) -> list[float]:
    """Move heights to at least ``distance`` from each other, in their order; each group of moved heights stays centred.

    Example:
        >>> spread([10, 50, 12], distance=8)
        [7.0, 50.0, 15.0]
    """
    groups: list[list[int]] = []  # indices, ascending by height
    for index in sorted(range(len(heights)), key=heights.__getitem__):
        groups.append([index])
        while len(groups) > 1 and _gap(heights, groups[-2], groups[-1], distance) < 0:
            groups[-2:] = [groups[-2] + groups[-1]]
    moved = [0.0] * len(heights)
    for group in groups:
        start = _centre(heights, group) - distance * (len(group) - 1) / 2
        for place, index in enumerate(group):
            moved[index] = start + distance * place
    return moved


def _centre(heights: Sequence[float], group: Sequence[int]) -> float:
    return sum(heights[index] for index in group) / len(group)


def _gap(heights: Sequence[float], below: Sequence[int], above: Sequence[int], distance: float) -> float:
    """Return the free space between two groups, negative if they overlap."""
    return _centre(heights, above) - _centre(heights, below) - distance * (len(above) + len(below)) / 2


def save_curves(figure: Figure, path: Path) -> None:
    """Write the drawing as SVG or PNG, by the file's suffix; missing folders are made.

    The SVG keeps texts as texts and has no date: equal drawings are equal files.
    """
    import matplotlib

    path.parent.mkdir(parents=True, exist_ok=True)
    is_svg = path.suffix.lower() == ".svg"
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "dssm-lightning"}), warnings.catch_warnings():
        if is_svg:  # whoever shows the file has the letters that matplotlib's fonts lack
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        metadata = {"Date": None} if is_svg else None
        figure.savefig(path, dpi=160, metadata=metadata)


def require_plot_file(path: Path) -> None:
    """Refuse a file name with a suffix other than .svg and .png.

    Raises:
        UserError: another suffix.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"--plot {path}: the suffix is {path.suffix!r}; possible are {' and '.join(SUFFIXES)}")


def require_matplotlib() -> None:
    """Refuse to draw without matplotlib.

    Raises:
        UserError: matplotlib is missing; the message has the line that installs it.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UserError(
            "curves are drawn by matplotlib, which is missing: pip install 'dssm-lightning[plots]'"
        ) from error


def _resume_number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])
