"""The table of runs, and the means of a rolling evaluation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dssm_lightning.utils.console import cell, show

if TYPE_CHECKING:
    from dssm_lightning.training.run_list import Run


class Rolling(NamedTuple):
    """The values of one metric over the windows of a rolling evaluation."""

    config: str
    metric: str
    values: list[float]
    windows: int
    """How many there are."""

    @property
    def text(self) -> str:
        """One line: mean, lowest and highest."""
        some = f"{len(self.values)} of {self.windows} windows"
        mean = sum(self.values) / len(self.values)
        low, high = min(self.values), max(self.values)
        return f"{self.config}, {some}: {self.metric} {mean:.4f} on average, {low:.4f} to {high:.4f}"


def show_runs(runs: Sequence[Run], left_out: int) -> None:
    """Show a table of at most 80 columns, then why runs failed, and the means of rolling evaluations."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    monitors = {run.monitor for run in runs}
    one = next(iter(monitors)) if len(monitors) == 1 else None
    rolled = any(run.window is not None for run in runs)
    table = Table(Column("run", overflow="fold"), "state", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.columns[1].no_wrap = True
    names = ["epochs", *(["fold"] if rolled else []), *([] if one else ["metric"]), "best", "test", "time", "written"]
    for name in names:
        table.add_column(name, justify="left" if name == "metric" else "right", no_wrap=True)
    for run in runs:
        fold = [] if not rolled else ["" if run.window is None else str(run.window[0])]
        metric = [] if one else [cell((run.monitor or "").removeprefix("val/"), 12)]
        values = [cell(None if value is None else f"{value:.4f}") for value in (run.best, run.test)]
        row = [run.epochs, *fold, *metric, *values, spent(run.seconds), day(run.written)]
        table.add_row(cell(run.folder.partition("/")[2] or run.folder), run.state, *row)
    table.caption = None if one is None else f"best: {one}" + (f"; test: {run.test_metric}" if run.test_metric else "")
    show(table)
    if left_out:
        show(f"{left_out:,} older runs are left out: --all lists them")
    for run in runs:
        if run.reason:
            show(f"{run.folder} failed: {run.reason}")
    for rolling in rolling_means(runs):
        show(rolling.text)


def rolling_means(runs: Sequence[Run]) -> list[Rolling]:
    """Return the values of the newest finished run of each window, where several windows were measured."""
    found: dict[tuple[str, int, str], dict[int, float]] = {}
    for run in runs:  # the newest last
        for metric, value in ((run.monitor, run.best), (run.test_metric, run.test)):
            if run.window is not None and run.state == "finished" and metric is not None and value is not None:
                found.setdefault((run.config, run.window[1], metric), {})[run.window[0]] = value
    return [
        Rolling(config, metric, list(values.values()), windows)
        for (config, windows, metric), values in found.items()
        if len(values) > 1
    ]


def spent(seconds: float | None) -> str:
    """Return a time as hours, minutes and seconds.

    Example:
        >>> spent(62.4), spent(3725), spent(None)
        ('1:02', '1:02:05', '')
    """
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def day(seconds: float) -> str:
    """Return a moment in the time of this machine: the hour of this year's days, else the date."""
    moment, now = time.localtime(seconds), time.localtime()
    return time.strftime("%m-%d %H:%M" if moment.tm_year == now.tm_year else "%Y-%m-%d", moment)
