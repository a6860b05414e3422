"""Two tests compared query by query, with paired bootstrap intervals."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl
import torch

from dssm_lightning.evaluation import bootstrap
from dssm_lightning.evaluation.result_files import ROW_ID_COLUMNS, by_cut
from dssm_lightning.utils.errors import UserError


class Difference(NamedTuple):
    """One metric of A and B over the queries that both have."""

    metric: str
    a: float
    b: float
    difference: float  # B − A
    low: float  # its 95 % interval
    high: float
    p: float  # two-sided


def _in_common(frames: list[pl.DataFrame], given: tuple[str, str]) -> tuple[list[str], list[str]]:
    """The columns that name a row, and the metrics that both have."""
    a, b = ([key for key in ROW_ID_COLUMNS if key in frame.columns] for frame in frames)
    if a != b:
        raise UserError(
            f"different protocols: {given[0]} was measured by {_row_name(a)}, {given[1]} by {_row_name(b)} "
            "(data.evaluate); measure both alike"
        )
    metrics = sorted(set(frames[0].columns) & set(frames[1].columns) - set(ROW_ID_COLUMNS), key=by_cut)
    if not metrics:
        raise UserError(f"{given[0]} and {given[1]} have no metric in common")
    for key in a:
        types = [frame.schema[key] for frame in frames]
        if types[0] != types[1]:
            raise UserError(f"{given[0]} and {given[1]} have nothing in common: {key} is {types[0]} and {types[1]}")
    return a, metrics


def _row_name(keys: list[str]) -> str:
    return "event" if len(keys) > 1 else "query"


def _differences(both: pl.DataFrame, metrics: list[str], resamples: int) -> list[Difference]:
    query = torch.from_numpy(both["query_id"].rank("dense").to_numpy().astype("int64"))
    sides = [
        torch.from_numpy(
            both.select(pl.col(f"{name}{of}").fill_null(float("nan")) for name in metrics).to_numpy(writable=True)
        )
        for of in ("", " of B")
    ]
    found = bootstrap.compare(sides[0], sides[1], query, resamples)
    columns = zip(*(column.tolist() for column in found), strict=True)
    return [Difference(name, a, b, b - a, *rest) for name, (a, b, *rest) in zip(metrics, columns, strict=True)]
