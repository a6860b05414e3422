"""Metrics as tables."""

from __future__ import annotations

from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from dssm_lightning.evaluation.evaluator import SEEN_KEPT
from dssm_lightning.evaluation.metrics.slices import SLICES
from dssm_lightning.evaluation.result_files import Intervals, by_cut

LISTS = ("coverage", "popularity", "gini")


def print_results(metrics: Mapping[str, float], found: Intervals) -> None:
    """Three tables: the means under both protocols with their intervals, the slices, and what is recommended."""
    values = {name.removeprefix("test/"): value for name, value in metrics.items() if name.startswith("test/")}
    ends = {name.removeprefix("test/"): f"{low:.4f} – {high:.4f}" for name, (low, high) in found.items()}
    console = Console()
    console.print(_means(values, ends))
    slices = _slices(values)
    if slices.row_count:
        console.print(slices)
    console.print(_lists(values))


def print_metrics(results: dict[str, dict[str, float]]) -> None:
    """One row for each model, the metrics that fit a screen."""
    names = ("hit_rate@10", "recall@10", "recall@100", "precision@10", "ndcg@10", "mrr", "query_auroc", "auroc")
    shown = [name for name in names if any(name in metrics for metrics in results.values())]
    model = Column(min_width=14, overflow="fold")  # settings tell two models apart: never cut them off
    table = Table(model, *map(metric_column, shown), box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name, metrics in results.items():
        table.add_row(name, *(f"{metrics[metric]:.4f}" for metric in shown))
    Console().print(table)


def print_best(metrics: dict[str, float], title: str) -> None:
    """The metrics of the epoch that ``best.ckpt`` is of, under a title that says which."""
    table = Table("metric", "value", title=title, title_justify="left")
    for name in sorted(metrics, key=by_cut):
        table.add_row(name, f"{metrics[name]:.4f}")
    Console().print(table)


def _means(values: Mapping[str, float], ends: Mapping[str, str]) -> Table:
    table = _table("metric", "seen masked", "95 %", "seen kept", "95 %")
    for name in sorted(values, key=by_cut):
        if "/" not in name and not name.startswith(LISTS):
            kept = SEEN_KEPT + name
            table.add_row(name, _cell(values, name), ends.get(name), _cell(values, kept), ends.get(kept))
    return table


def _slices(values: Mapping[str, float]) -> Table:
    found = [name.removesuffix("/queries") for name in values if name.endswith("/queries")]
    slices = [*(name for name in SLICES if name in found), *sorted(set(found) - {*SLICES})]
    names = {name.partition("/")[2] for name in values if name.partition("/")[0] in slices}
    columns = sorted(names - {"queries"}, key=by_cut)
    table = _table("seen masked", "queries", *map(metric_column, columns))
    for each in slices:
        queries = f"{values[f'{each}/queries']:,.0f}"
        table.add_row(each.replace("_", " "), queries, *(_cell(values, f"{each}/{name}") for name in columns))
    return table


def _lists(values: Mapping[str, float]) -> Table:
    names = sorted((name for name in values if name.startswith(LISTS)), key=by_cut)
    cuts = list(dict.fromkeys(name.partition("@")[2] for name in names))
    table = _table("recommended", *(f"@{cut}" for cut in cuts))
    for what in LISTS:
        table.add_row(what, *(_cell(values, f"{what}@{cut}") for cut in cuts))
    return table


def metric_column(name: str) -> Column:
    """A column of one metric, as narrow as can be, so that a table of many fits a screen and no digit is cut off."""
    header = name.replace("_", " ").replace("@", " @")  # spaces, where a line may end
    return Column(header, width=max(6, *map(len, header.split())), justify="right")


def _table(*headers: str | Column) -> Table:
    rest = [Column(each, justify="right") if isinstance(each, str) else each for each in headers[1:]]
    return Table(headers[0], *rest, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)


def _cell(values: Mapping[str, float], name: str) -> str:
    return f"{values[name]:.4f}" if name in values else ""
