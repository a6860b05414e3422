"""Two tests compared query by query, with paired bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl
import torch
from torch import Tensor

from dssm_lightning.evaluation import bootstrap
from dssm_lightning.evaluation.evaluator import SEEN_KEPT
from dssm_lightning.evaluation.result_files import ROW_ID_COLUMNS, by_cut
from dssm_lightning.utils.errors import UserError

_OF_B, OF_LISTS = " of B", "map"
"""The suffix of B's columns, and the metric that only tests of lists have."""


class Difference(NamedTuple):
    """One metric of tests A and B over the queries that both have.

    Example:
        >>> a = pl.DataFrame({"query_id": ["x", "y"], "mrr": [0.5, 0.0]})
        >>> b = pl.DataFrame({"query_id": ["y", "x"], "mrr": [0.25, 0.5]})
        >>> [found] = paired_differences(pair_rows(a, b, ("A", "B")), resamples=100)
        >>> found.metric, found.a, found.b, found.difference
        ('mrr', 0.25, 0.375, 0.125)
    """

    metric: str
    a: float
    b: float
    difference: float  # B − A
    low: float  # its 95 % interval
    high: float
    p: float  # two-sided


class PairedRows(NamedTuple):
    """The rows that two tests have in common, with the metrics of both.

    Example:
        >>> a = pl.DataFrame({"query_id": [1, 2], "mrr": [0.5, None], "head/mrr": [0.5, None]})
        >>> rows = pair_rows(a, a, ("A", "B"))
        >>> rows.num_queries, rows.slice_sizes
        (2, {'head': 1})
    """

    table: pl.DataFrame  # id columns, then each metric of A by its name, and of B with a suffix
    id_columns: list[str]  # query_id; by event also candidate_id
    metrics: list[str]

    @property
    def num_queries(self) -> int:
        """Number of distinct queries."""
        return self.table["query_id"].n_unique()

    @property
    def slice_sizes(self) -> dict[str, int]:
        """By slice, the number of queries that have a metric of the slice in both tests."""
        slices: dict[str, list[str]] = {}
        for metric in self.metrics:
            if "/" in metric and not metric.startswith(SEEN_KEPT):
                slices.setdefault(slice_of(metric), []).append(metric)
        counts = {}
        for name, metrics in slices.items():
            both = [pl.col(metric).is_not_null() & pl.col(metric + _OF_B).is_not_null() for metric in metrics]
            counts[name] = self.table.filter(pl.any_horizontal(both))["query_id"].n_unique()
        return counts

    def values(self, suffix: str = "") -> Tensor:
        """Return (R, M) float64: the metrics of A, or those with the suffix of B; NaN where a row does not count."""
        columns = [pl.col(f"{metric}{suffix}").cast(pl.Float64).fill_null(float("nan")) for metric in self.metrics]
        return torch.from_numpy(self.table.select(columns).to_numpy(writable=True))


def slice_of(metric: str) -> str:
    """Return the slice of a metric, or its protocol ``seen_kept``; nothing for a metric of all queries.

    Example:
        >>> slice_of("head/recall@10"), slice_of("mrr")
        ('head', '')
    """
    return metric.rpartition("/")[0]


def pair_rows(a: pl.DataFrame, b: pl.DataFrame, names: tuple[str, str]) -> PairedRows:
    """Join the results of two tests by query, or by query and candidate if they were evaluated by event.

    Args:
        a: a table ``per_query.parquet``.
        b: the other one.
        names: of both tests, for messages.

    Raises:
        UserError: one test is by query and the other by event; or no metric or no row is in both.
    """
    id_columns, other = ([column for column in ROW_ID_COLUMNS if column in frame.columns] for frame in (a, b))
    if id_columns != other or (OF_LISTS in a.columns) != (OF_LISTS in b.columns):
        raise UserError(
            f"different protocols: {names[0]} was evaluated by {_row_kind(a.columns)}, {names[1]} by "
            f"{_row_kind(b.columns)}; test both with the same data.evaluate"
        )
    metrics = sorted(set(a.columns) & set(b.columns) - set(ROW_ID_COLUMNS), key=by_cut)
    if not metrics:
        raise UserError(f"{names[0]} and {names[1]} have no metric in common")
    for column in id_columns:
        if a.schema[column] != b.schema[column]:
            raise UserError(
                f"{names[0]} and {names[1]} have no {column} in common: "
                f"its type is {a.schema[column]} in the first and {b.schema[column]} in the second"
            )
    table = a.join(b, on=id_columns, suffix=_OF_B).sort(id_columns)
    if table.is_empty():
        kind = _row_kind(id_columns)
        raise UserError(f"{names[0]} and {names[1]} have no {kind} in common: test both on the same rows")
    return PairedRows(table, id_columns, metrics)


def paired_differences(rows: PairedRows, resamples: int = bootstrap.RESAMPLES) -> list[Difference]:
    """Return the difference of each metric, with its interval by the paired bootstrap over queries."""
    query = torch.from_numpy(rows.table["query_id"].rank("dense").to_numpy().astype("int64"))
    found = bootstrap.compare(rows.values(), rows.values(_OF_B), query, resamples)
    columns = zip(*(column.tolist() for column in found), strict=True)
    return [Difference(name, a, b, b - a, *rest) for name, (a, b, *rest) in zip(rows.metrics, columns, strict=True)]


def _row_kind(columns: Sequence[str]) -> str:
    if OF_LISTS in columns:
        return "list"
    return "event" if ROW_ID_COLUMNS[1] in columns else "query"
