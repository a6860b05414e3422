"""A model beside baselines on the same rows, with the intervals of the differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dssm_lightning.evaluation import bootstrap
from dssm_lightning.evaluation.metric_names import main_names, name_column
from dssm_lightning.evaluation.metrics import RowValues
from dssm_lightning.utils.console import cell, show

DRAWS = 10**8
"""Queries that are drawn in all; for more than 100,000 queries there are fewer than 1,000 resamples."""
MODEL = "the model"


class Standing(NamedTuple):
    """One row of the table. The first row is the model, and has no intervals."""

    name: str
    means: list[float]
    low: list[float]
    """Lower ends of the 95 % intervals of what the model has more, for each metric."""
    high: list[float]


class BaselineTable(NamedTuple):
    """The model and the baselines by the same metrics, of which the first decides.

    Example:
        >>> rows = RowValues(["mrr"], torch.arange(50), None, torch.ones(50, 1))
        >>> table = beside_baselines(rows, {"Popularity()": rows._replace(values=torch.zeros(50, 1))}, ["mrr"])
        >>> table.best.name, table.verdict
        ('Popularity()', 'ahead')
    """

    metrics: list[str]
    rows: list[Standing]

    @property
    def best(self) -> Standing:
        """The baseline with the highest value of the first metric."""
        return max(self.baselines, key=lambda row: row.means[0])

    @property
    def baselines(self) -> list[Standing]:
        """All rows but those of the model, alone or blended."""
        return [row for row in self.rows[1:] if not row.name.startswith("hybrid")]

    @property
    def verdict(self) -> str:
        """Whether the model is "ahead" of the best baseline beyond chance, "level" with it, or "behind" it."""
        best = self.best
        return "ahead" if best.low[0] > 0 else "behind" if best.high[0] < 0 else "level"


def table_metrics(names: Sequence[str], monitor: str | None = None) -> list[str]:
    """Return the two metrics of the table: the monitored one, if each query has it, and the hit rate.

    Args:
        names: metrics that each query has.
        monitor: the metric that chooses checkpoints, such as ``val/ndcg@10``.

    Example:
        >>> table_metrics(["hit_rate@10", "ndcg@10", "mrr"], "val/mrr")
        ['mrr', 'hit_rate@10']
        >>> table_metrics(["hit_rate@3", "map@3"], "train/loss")
        ['hit_rate@3', 'map@3']
    """
    usual = [name for name in ("ndcg@10", "hit_rate@10", *main_names(names)) if name in names]
    if "map" in names:  # of lists
        usual = [name for name in main_names(names) if name in names]
    watched = (monitor or "").removeprefix("val/")
    first = [watched] if watched in names else usual[:1]
    second = ["hit_rate@10"] if "hit_rate@10" in names else []
    return list(dict.fromkeys([*first, *second, *usual, *(name for name in names if "/" not in name)]))[:2]


def beside_baselines(model: RowValues, others: Mapping[str, RowValues], metrics: list[str]) -> BaselineTable:
    """Compare a model with baselines, query by query.

    Args:
        model: its metrics of each query or event.
        others: those of the baselines, by name, of the same rows.
        metrics: the metrics that count, the most important one first.
    """
    own = _columns(model, metrics)
    standings = [Standing(MODEL, own.double().nanmean(0).tolist(), [], [])]
    queries = max(1, len(torch.unique(model.query)))
    resamples = max(200, min(bootstrap.RESAMPLES, DRAWS // queries))
    every = torch.cat([_columns(each, metrics) for each in others.values()], dim=1)
    found = bootstrap.compare(every, own.repeat(1, len(others)), model.query, resamples)
    ends = [part.view(len(others), -1).tolist() for part in (every.double().nanmean(0), found.low, found.high)]
    standings += [Standing(name, *row) for name, *row in zip(others, *ends, strict=True)]
    return BaselineTable(metrics, standings)


def _columns(rows: RowValues, metrics: list[str]) -> Tensor:
    return rows.values[:, [rows.names.index(name) for name in metrics]]


def show_baselines(table: BaselineTable, title: str) -> None:
    """Show the table, at most 80 columns wide."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    headers = [Column(title, min_width=14, overflow="fold")]
    for name in table.metrics:
        headers += [name_column(name), Column("model leads by", justify="right", min_width=15)]
    shown = Table(*headers, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for row in table.rows:
        cells = [cell(row.name.replace("(", " (", 1).removesuffix(" ()"))]  # a line may end before the settings
        for number, mean in enumerate(row.means):
            cells += [f"{mean:.4f}", f"{row.low[number]:+.3f} – {row.high[number]:+.3f}" if row.low else ""]
        shown.add_row(*cells)
    shown.caption = "95 % intervals of the differences, by the paired bootstrap over queries"
    shown.caption_justify = "left"
    show(shown)
