"""The metrics of a test beside those of the baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl
import torch

from dssm_lightning.evaluation import bootstrap
from dssm_lightning.evaluation.metric_names import main_names
from dssm_lightning.evaluation.paired_comparison import Difference, pair_rows, paired_differences
from dssm_lightning.evaluation.result_files import ROW_ID_COLUMNS
from dssm_lightning.reports.html_report.page_parts import Cell, Figure, Section, Table, number, short_name, signed
from dssm_lightning.reports.html_report.run_record import Measured, RunRecord
from dssm_lightning.reports.html_report.svg_drawing import INK, SERIES, as_svg, drawing, style
from dssm_lightning.utils.console import cell
from dssm_lightning.utils.errors import UserError

CHANCE = 0.05
"""A p-value below this is called beyond chance."""
FEWEST = 20
"""Queries of a slice that is drawn: of fewer, a rate says little."""


class Verdict(NamedTuple):
    """The difference of the model and a baseline in one metric."""

    baseline: str
    difference: Difference  # model − baseline

    @property
    def beyond_chance(self) -> bool:
        """Whether such a difference is improbable without a real one."""
        return self.difference.p < CHANCE


def shown_metrics(record: RunRecord) -> list[str]:
    """Return the metrics of the table: the primary one first, then the usual ones that the test has."""
    assert record.model is not None
    found = record.model.metrics
    return list(dict.fromkeys(name for name in (record.primary, *main_names(found)) if name in found))


def compare(a: Measured, b: Measured, metrics: Sequence[str]) -> dict[str, Difference]:
    """Return B − A of the metrics that both tests have for each query; none where the rows are not the same."""
    if a.rows is None or b.rows is None:
        return {}
    frames = [each.select([c for c in each.columns if c in (*ROW_ID_COLUMNS, *metrics)]) for each in (a.rows, b.rows)]
    try:
        rows = pair_rows(frames[0], frames[1], (a.name, b.name))
    except UserError:  # other rows or another protocol
        return {}
    return {each.metric: each for each in paired_differences(rows)}


def verdict(record: RunRecord) -> Verdict | None:
    """Compare the model with the best baseline, by the primary metric."""
    if record.model is None:
        return None
    for baseline in record.baselines:
        found = compare(baseline, record.model, [record.primary]).get(record.primary)
        if found is not None:
            return Verdict(baseline.name, found)
    return None


def metrics_section(record: RunRecord) -> Section:
    """Return the table of all models, the drawing of the primary metric, and the slices."""
    if record.model is None:
        return Section("metrics", "How good it is", [], "The model was not tested: see the notes at the top.")
    figures = [metrics_table(record), _forest(record), _slices(record)]
    return Section("metrics", "How good it is", [each for each in figures if each is not None])


def metrics_table(record: RunRecord) -> Figure:
    """Return a row for each model and baseline, with the paired differences."""
    assert record.model is not None
    names = shown_metrics(record)
    others = [*([] if record.hybrid is None else [record.hybrid]), *record.baselines]
    best = {name: max(each.metrics.get(name, -1.0) for each in (record.model, *others)) for name in names}
    rows = [[Cell(record.model.name, mark="name"), *(_own_cell(record, name, best) for name in names)]]
    for other in others:
        differences = compare(other, record.model, names)
        cells = [_other_cell(other, name, differences.get(name), best) for name in names]
        rows.append([Cell(short_name(other.name), mark="name"), *cells])
    caption = (
        "Means over the test queries, higher is better. Below a value of this model stands its 95 % interval: how far "
        "the mean would move with other queries. Below a value of another row stands what this model has more or less, "
        "on the same queries; ▲ and ▼ mark differences beyond chance (paired bootstrap over queries, p < 0.05), · the "
        "others. Twenty such comparisons show one by chance alone, so trust those that point the same way."
    )
    return Figure("Metrics beside the baselines", caption, table=Table(["", *names], rows), wide=True)


def _own_cell(record: RunRecord, name: str, best: dict[str, float]) -> Cell:
    assert record.model is not None
    value = record.model.metrics[name]
    low, high = record.intervals.get(name, (None, None))
    interval = "" if low is None else f"{number(low)} – {number(high)}"
    return Cell(number(value), interval, "best" if value >= best[name] else "")


def _other_cell(other: Measured, name: str, found: Difference | None, best: dict[str, float]) -> Cell:
    value = other.metrics.get(name)
    is_best = value is not None and value >= best[name]
    if found is None:
        return Cell(number(value), "", "best" if is_best else "")
    sign = "·" if found.p >= CHANCE else "▲" if found.difference > 0 else "▼"
    mark = {"▲": "good", "▼": "bad"}.get(sign, "")
    return Cell(number(value), f"{sign} {signed(found.difference)}", " ".join([mark, *(["best"] if is_best else [])]))


def _forest(record: RunRecord) -> Figure | None:
    """Draw the primary metric of every model with its interval."""
    assert record.model is not None
    named = [each for each in (record.model, record.hybrid, *record.baselines) if each is not None]
    found = [(each, _interval(each, record.primary)) for each in named if record.primary in each.metrics]
    found.sort(key=lambda pair: pair[0].metrics[record.primary])
    with drawing(5.0, 0.55 + 0.34 * len(found)) as (figure, [axes]):
        style(axes, grid="x")
        for place, (each, ends) in enumerate(found):
            value, colour = each.metrics[record.primary], SERIES[0] if each is record.model else SERIES[7]
            if ends is not None:
                axes.plot(ends, [place, place], color=colour, linewidth=2.4, solid_capstyle="round")
            axes.plot([value], [place], "o", color=colour, markersize=6)
        axes.set_yticks(range(len(found)), [cell(short_name(each.name), 26) for each, _ in found], color=INK)
        axes.set_ylim(-0.6, len(found) - 0.4)
        drawn = as_svg(figure, f"{record.primary} of each model with its interval")
    caption = (
        "A point is the mean over the test queries, its line the 95 % interval (bootstrap over queries). Lines that "
        "overlap may still belong to a real difference, since all models answer the same queries: the table compares "
        "them query by query."
    )
    return Figure(f"{record.primary}: this model and the baselines", caption, drawn)


def _interval(measured: Measured, metric: str) -> tuple[float, float] | None:
    rows = measured.rows
    if rows is None or metric not in rows.columns or not len(rows):
        return None
    query = torch.from_numpy(rows["query_id"].rank("dense").to_numpy().astype("int64"))
    values = torch.from_numpy(rows.select(pl.col(metric).cast(pl.Float64).fill_null(float("nan"))).to_numpy().copy())
    low, high = bootstrap.intervals(values, query)[0].tolist()
    return low, high


def slice_names(record: RunRecord) -> list[str]:
    """Return the slices of the test that have enough queries."""
    assert record.model is not None
    found = {
        name.removesuffix("/queries"): size for name, size in record.model.metrics.items() if name.endswith("/queries")
    }
    return [name for name, size in found.items() if size >= FEWEST and "/" not in name]


def _slices(record: RunRecord) -> Figure | None:
    assert record.model is not None
    metric = next((each for each in ("hit_rate@10", "recall@10", "mrr") if each in record.model.metrics), None)
    names = [name for name in slice_names(record) if f"{name}/{metric}" in record.model.metrics]
    if metric is None or not names:
        return None
    baseline = record.baselines[0] if record.baselines else None
    metrics = record.model.metrics
    names.sort(key=lambda name: metrics[f"{name}/{metric}"])
    with drawing(5.0, 0.55 + 0.34 * (len(names) + 1)) as (figure, [axes]):
        style(axes, x=metric, grid="x")
        for place, name in enumerate(["", *names]):
            key = f"{name}/{metric}" if name else metric
            if baseline is not None and key in baseline.metrics:
                axes.plot([baseline.metrics[key]], [place], "D", color=SERIES[7], markersize=5)
            if key in record.intervals:
                axes.plot(record.intervals[key], [place, place], color=SERIES[0], linewidth=2.4)
            axes.plot([metrics[key]], [place], "o", color=SERIES[0], markersize=6)
        labels = [f"{cell(name.replace('_', ' '), 24)}  ({metrics[f'{name}/queries']:,.0f})" for name in names]
        axes.set_yticks(range(len(names) + 1), ["all queries", *labels], color=INK)
        axes.set_ylim(-0.6, len(names) + 0.6)
        drawn = as_svg(figure, f"{metric} by slice")
    legend = [(1, "this model"), *([] if baseline is None else [(8, short_name(baseline.name))])]
    caption = (
        "Circles: this model with its 95 % interval; diamonds: the best baseline. In brackets the number of queries. "
        "Head, middle and tail divide the right candidates by how often training liked them, a third of all likes "
        "each; "
        "cold candidates were never liked in training, cold queries have no training row. A slice far left of the "
        "others is where to look for missing features. Slices with fewer than 20 queries are left out."
    )
    return Figure("Hit rate by slice", caption, drawn, legend=legend)
