"""The files of an evaluation: metrics, the metrics of each query, and intervals."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import polars as pl
from torch import Tensor

from dssm_lightning.data.preparation.cache import Prepared
from dssm_lightning.evaluation import bootstrap
from dssm_lightning.evaluation.metrics import RowValues
from dssm_lightning.utils.atomic_files import atomic_write

PER_QUERY, INTERVALS = "per_query.parquet", "intervals.json"
ROW_ID_COLUMNS = ["query_id", "candidate_id"]

Intervals = dict[str, tuple[float, float]]
"""Lower and upper end by the metric's name."""


def per_query(rows: RowValues, data: Prepared) -> pl.DataFrame:
    """Return one row for each ranked query, or for each event.

    Columns: ``query_id``; by event ``candidate_id``; then each metric by its name without ``test/``, null where the row
    does not count for the metric. A metric that no row counts for (a slice without a query) has no column.
    """
    keys = [data.queries.to_series(0)[rows.query.numpy()]]
    if rows.event is not None:
        keys.append(data.candidates.to_series(0)[data.interactions.candidate[rows.event].numpy()])
    ids = pl.DataFrame([key.alias(name) for key, name in zip(keys, ROW_ID_COLUMNS, strict=False)])
    values = pl.DataFrame(rows.values.numpy(), schema=dict.fromkeys(rows.names, pl.Float32))
    values = values.fill_nan(None)
    counted = [column for column in values if column.null_count() < len(values) or not len(values)]
    return pl.concat([ids, pl.DataFrame(counted)], how="horizontal")


def per_query_of(name: str) -> str:
    """Return the file name of a baseline, without characters that a shell interprets.

    Example:
        >>> per_query_of("EASE(l2=100.0)")
        'per_query.EASE-l2=100.0.parquet'
    """
    return str(Path(PER_QUERY).with_suffix("." + re.sub(r"[^\w.=]+", "-", name).strip("-") + ".parquet"))


def intervals(rows: RowValues) -> Intervals:
    """Return the 95 % interval of each metric that a row counts for, by its name in ``metrics.json``."""
    if not len(rows.values):
        return {}
    ends = bootstrap.intervals(rows.values, rows.query).tolist()
    found = zip(rows.names, ends, strict=True)
    return {f"test/{name}": (low, high) for name, (low, high) in found if low == low}  # NaN differs from itself


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    """Write a table, whole or not at all."""
    with atomic_write(path) as temporary:
        frame.write_parquet(temporary)


def write_json(path: Path, values: Mapping[str, object]) -> None:
    """Write named values as JSON, sorted by name."""
    path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def merge_metrics(path: Path, metrics: Mapping[str, Tensor | float]) -> None:
    """Add metrics to the file, which may not exist yet."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write_json(path, known | {name: float(value) for name, value in metrics.items()})


def by_cut(name: str) -> tuple[str, int]:
    """Return a key that sorts metrics by the number after ``@``, not by its digits.

    Example:
        >>> sorted(["recall@10", "recall@5"], key=by_cut)
        ['recall@5', 'recall@10']
    """
    what, _, cut = name.partition("@")
    return what, int(cut or 0)
