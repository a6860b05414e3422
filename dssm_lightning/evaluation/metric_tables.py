"""Metrics as tables that fit 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dssm_lightning.evaluation.evaluator import SEEN_KEPT
from dssm_lightning.evaluation.metric_names import (
    LISTS_WITHOUT_POSITIVE,
    MAIN,
    THROUGH_INDEX,
    main_names,
    measured_widths,
    name_column,
    width_prefix,
)
from dssm_lightning.evaluation.metrics.slices import SLICES
from dssm_lightning.evaluation.result_files import Intervals, by_cut
from dssm_lightning.utils.console import cell, show

if TYPE_CHECKING:
    from rich.table import Column, Table

LISTS = ("coverage", "popularity", "gini", "novelty", "serendipity", "diversity")
"""Metrics of the returned lists, not of the ranks."""
IN_BRIEF = ("hit_rate@1", *MAIN[:4], "map@10", "map", *MAIN[4:])
"""The metrics that a fit ends with."""


def show_results(metrics: Mapping[str, float], found: Intervals) -> None:
    """Show the means of both protocols with their intervals, slices, returned lists, metrics by width, an index's.

    Args:
        metrics: by their logged names, ``test/…`` or ``val/…``.
        found: intervals by the same names.
    """
    values = {name.partition("/")[2]: value for name, value in metrics.items()}
    ends = {name.partition("/")[2]: f"{low:.4f} – {high:.4f}" for name, (low, high) in found.items()}
    others = (_slices(values), _lists(values), _widths(values), _through_index(values))
    show(_means(values, ends), *_without_positive(values), *(table for table in others if table.row_count))


def show_comparison(results: Mapping[str, Mapping[str, float]]) -> None:
    """Show one row for each model, with the metrics that fit a screen."""
    known = {name for metrics in results.values() for name in metrics}
    shown = [name for name in main_names(known) if name in known]
    table = _table("model", *(name_column(name) for name in shown))
    table.columns[0].min_width, table.columns[0].overflow = 14, "fold"  # settings distinguish models: never cut them
    for name, metrics in results.items():
        breakable = name.replace("(", " (", 1).removesuffix(" ()")  # a line may end before the settings
        table.add_row(breakable, *(_cell(metrics, metric) for metric in shown))
    show(table, *max(map(_without_positive, results.values()), default=(), key=len))


def show_best(metrics: Mapping[str, float], title: str, monitor: str | None = None, *, verbose: bool = False) -> None:
    """Show the metrics of the epoch of ``best.ckpt``: the monitored one and the usual ones, or all.

    Args:
        metrics: by their logged names.
        title: of the table.
        monitor: the monitored metric, which stands first.
        verbose: show every metric.
    """
    brief = {*IN_BRIEF, *main_names({name.rpartition("val/")[2] for name in metrics})}
    names = [name for name in sorted(metrics, key=by_cut) if verbose or name.rpartition("val/")[2] in brief]
    names = [name for name in names if not name.endswith(LISTS_WITHOUT_POSITIVE)]
    first = [monitor] if monitor is not None and monitor in metrics else []
    table = _table("metric", "value")
    table.title, table.title_justify = title, "left"
    for name in dict.fromkeys([*first, *(names or sorted(metrics, key=by_cut))]):
        table.add_row(name, f"{metrics[name]:.4f}")
    show(table, *_without_positive({name.rpartition("/")[2]: value for name, value in metrics.items()}))


def _means(values: Mapping[str, float], ends: Mapping[str, str]) -> Table:
    names = [name for name in sorted(values, key=by_cut) if "/" not in name and not name.startswith(LISTS)]
    names = [name for name in names if name != LISTS_WITHOUT_POSITIVE]
    differs = any(values.get(SEEN_KEPT + name, values[name]) != values[name] for name in names)
    protocols = {"seen masked": "", "seen kept": SEEN_KEPT} if differs else {"value": ""}
    headers = [header for protocol in protocols for header in (protocol, *(["95 %"] if ends else []))]
    table = _table("metric", *headers)
    for name in names:
        cells = [(_cell(values, prefix + name), ends.get(prefix + name, "")) for prefix in protocols.values()]
        table.add_row(name, *(part for cell, interval in cells for part in (cell, *([interval] if ends else []))))
    return table


def _without_positive(values: Mapping[str, float]) -> tuple[str, ...]:
    """Return how many lists no metric counts; nothing if every list has a positive, or if there are no lists."""
    count = values.get(LISTS_WITHOUT_POSITIVE, 0)
    return (f"lists without a positive, which are not averaged: {count:,.0f}",) if count else ()


def _slices(values: Mapping[str, float]) -> Table:
    found = [name.removesuffix("/queries") for name in values if name.endswith("/queries")]
    slices = [*(name for name in SLICES if name in found), *sorted(set(found) - {*SLICES})]
    names = {name.partition("/")[2] for name in values if name.partition("/")[0] in slices}
    columns = sorted(names - {"queries"}, key=by_cut)
    table = _table("slice" if "map" in values else "seen masked", "queries", *map(name_column, columns))
    for each in slices:
        queries = f"{values[f'{each}/queries']:,.0f}"
        table.add_row(cell(each.replace("_", " ")), queries, *(_cell(values, f"{each}/{name}") for name in columns))
    return table


def _lists(values: Mapping[str, float]) -> Table:
    names = sorted((name for name in values if name.startswith(LISTS)), key=by_cut)
    cuts = list(dict.fromkeys(name.partition("@")[2] for name in names))
    table = _table("returned lists", *(f"@{cut}" for cut in cuts))
    for name in LISTS if names else ():
        table.add_row(name, *(_cell(values, f"{name}@{cut}") for cut in cuts))
    return table


def _widths(values: Mapping[str, float]) -> Table:
    """Return the metrics of embeddings that were cut to fewer numbers, with those of whole embeddings at the end."""
    widths = measured_widths(values)
    names = [name for name in main_names(values) if name in values]
    table = _table("width", *map(name_column, names))
    for width in widths:
        table.add_row(str(width), *(_cell(values, width_prefix(width) + name) for name in names))
    if widths:
        table.add_row("whole", *(_cell(values, name) for name in names))
    return table


def _through_index(values: Mapping[str, float]) -> Table:
    """Return the metrics of what a binary index finds, and those of all scores."""
    names = [name for name in main_names(values) if THROUGH_INDEX + name in values]
    table = _table("candidates", *map(name_column, names))
    if names:
        table.add_row("through the index", *(_cell(values, THROUGH_INDEX + name) for name in names))
        table.add_row("all scored", *(_cell(values, name) for name in names))
    return table


def _table(*headers: str | Column) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    rest = [Column(each, justify="right") if isinstance(each, str) else each for each in headers[1:]]
    return Table(headers[0], *rest, box=SIMPLE_HEAD, padding=0, pad_edge=False)  # the box has a space of its own


def _cell(values: Mapping[str, float], name: str) -> str:
    return f"{values[name]:.4f}" if name in values else ""
