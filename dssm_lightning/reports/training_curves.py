"""A metric of several runs, epoch by epoch, as a drawing."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import polars as pl

from dssm_lightning.reports.svg_canvas import GREY, SMALL, Drawing, text_width
from dssm_lightning.training import run_folders
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import did_you_mean

Points = list[tuple[int, float]]
"""Epochs, counted from 1, and the metric after each."""

COLOURS = ("#2563c9", "#c2571a", "#0b7d60", "#7440b4", "#b0216a", "#57606a")
GRID = "#e4e7eb"
WIDTH, HEIGHT = 680, 320  # of the field that the curves are in
LEFT, TOP, BELOW = 68, 56, 52  # around it
LINE = 18  # between two labels


def _read(given: str, metric: str) -> Points:
    path = Path(given)
    folder = (run_folders.run_of(path) or path.parent) if path.suffix == ".ckpt" else path
    files = [*sorted(folder.glob("metrics.before-resume-*.csv"), key=_number), folder / "metrics.csv"]
    if not files[-1].is_file():
        raise UserError(f"{given}: no run folder with a metrics.csv, nor a checkpoint in one")
    tables = [pl.read_csv(file, infer_schema_length=None) for file in files]
    logged = sorted({name for table in tables for name in table.columns if "/" in name})
    if metric not in logged:
        raise UserError(f"{given} never logged {metric!r}; it has {', '.join(logged)}{did_you_mean(metric, logged)}")
    rows = [table.select("epoch", metric).drop_nulls().rows() for table in tables if metric in table.columns]
    return sorted({epoch + 1: value for part in rows for epoch, value in part}.items())  # what was repeated counts last


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def curves_svg(found: dict[str, Points], title: str) -> str:
    """The drawing's SVG: a line for each run, its label at the line's end."""
    epochs = [epoch for points in found.values() for epoch, _ in points]
    values = [value for points in found.values() for _, value in points]
    first, last = min(epochs), max(epochs)
    ticks = nice_ticks(min(values), max(values))

    def place(epoch: float, value: float) -> tuple[float, float]:
        right = (epoch - first) / max(1, last - first)
        return LEFT + right * WIDTH, TOP + HEIGHT * (1 - (value - ticks[0]) / (ticks[-1] - ticks[0]))

    room = 24 + max(text_width(name) for name in found)
    drawing = Drawing(LEFT + WIDTH + room, TOP + HEIGHT + BELOW, f"{title} by epoch: {', '.join(found)}")
    drawing.text(LEFT, TOP - 24, title, weight="600", anchor="start")
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0])))
    for tick in ticks:
        y = place(first, tick)[1]
        drawing.line([(LEFT, y), (LEFT + WIDTH, y)], GRID)
        drawing.text(LEFT - 10, y + 4, f"{tick:.{digits}f}", size=SMALL, colour=GREY, anchor="end")
    for epoch in _epoch_ticks(first, last):
        drawing.text(place(epoch, ticks[0])[0], TOP + HEIGHT + 20, str(epoch), size=SMALL, colour=GREY)
    drawing.text(LEFT + WIDTH / 2, TOP + HEIGHT + 40, "epoch", size=SMALL, colour=GREY)
    coloured = list(zip(found.items(), COLOURS, strict=False))
    for (_, points), colour in coloured:
        drawing.line([place(*point) for point in points], colour, 2)
    ends = spread([place(*points[-1])[1] for points in found.values()], LINE)
    for ((name, _), colour), y in zip(coloured, ends, strict=True):
        drawing.text(LEFT + WIDTH + 10, y + 5, name, colour=colour, weight="600", anchor="start")
    return drawing.to_string()


def nice_ticks(low: float, high: float) -> list[float]:
    """About five round numbers at equal distances, from below ``low`` to above ``high``."""
    span = high - low or abs(high) or 1.0
    power = 10 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / 4 * 0.999)
    start, stop = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(start, max(stop, start + 1) + 1)]


def _epoch_ticks(first: int, last: int) -> list[int]:
    return [first, *(round(tick) for tick in nice_ticks(first, last) if first < tick <= last and tick % 1 == 0)]


def spread(heights: list[float], distance: float) -> list[float]:
    """The heights, those nearer to one another than ``distance`` moved apart, in the order that they have."""
    order = sorted(range(len(heights)), key=lambda number: heights[number])
    moved = list(heights)
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + distance)
    over = sum(moved) / len(moved) - sum(heights) / len(heights)
    return [height - over for height in moved]  # as much up as down
