"""The command that compares what the tests of two runs found, query by query."""

from __future__ import annotations

import json as json_format
from pathlib import Path

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from dssm_lightning.evaluation import bootstrap
from dssm_lightning.evaluation.paired_comparison import Difference, _differences, _in_common, _row_name
from dssm_lightning.evaluation.result_files import PER_QUERY
from dssm_lightning.training import run_folders
from dssm_lightning.utils.errors import UserError


def compare(a: str, b: str, resamples: int = bootstrap.RESAMPLES, json: bool = False) -> list[Difference]:
    """Compare what the tests of two runs found, query by query, by a paired bootstrap.

    Args:
        a: a run folder, a checkpoint in one, or a file per_query.parquet.
        b: likewise; differences are B − A.
        resamples: how often queries are drawn with replacement.
        json: print a JSON object instead of a table.

    Returns:
        a row for each metric that both have.
    """
    if resamples < 1:
        raise UserError(f"--resamples {resamples}: queries must be drawn at least once")
    frames = [_read(given) for given in (a, b)]
    keys, metrics = _in_common(frames, (a, b))
    both = frames[0].join(frames[1], on=keys, suffix=" of B").sort(keys)
    if both.is_empty():
        raise UserError(f"{a} and {b} have no {_row_name(keys)} in common: were they tested on the same rows?")
    differences = _differences(both, metrics, resamples)
    queries = both["query_id"].n_unique()
    if json:
        found = [each._asdict() for each in differences]
        print(json_format.dumps({"a": a, "b": b, "queries": queries, "rows": len(both), "metrics": found}))
    else:
        _print_table(differences)
        print(f"A {a}\nB {b}\n{_rows_told(both, frames, keys, queries)}")
    return differences


def _read(given: str) -> pl.DataFrame:
    path = Path(given)
    if not path.exists():
        raise UserError(f"{given}: no such run folder, checkpoint or file")
    if path.suffix == ".ckpt":
        run = run_folders.run_of(path)
        if run is None:
            raise UserError(f"{given} lies in no run folder: name a run folder or a file {PER_QUERY}")
        path = run
    if path.is_dir():
        path = path / PER_QUERY
        if not path.is_file():
            raise UserError(f"{path.parent} has no {PER_QUERY}: run test first (test --ckpt_path …/best.ckpt)")
    try:
        frame = pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{given} is no Parquet file: {error}") from error
    if "query_id" not in frame.columns:
        raise UserError(f"{given}: no column query_id, so test did not write it; it has {', '.join(frame.columns)}")
    return frame


def _rows_told(both: pl.DataFrame, frames: list[pl.DataFrame], keys: list[str], queries: int) -> str:
    rows = f"{queries:,} queries" if len(keys) == 1 else f"{len(both):,} events of {queries:,} queries"
    alone = [len(frame) - len(both) for frame in frames]
    return rows if alone == [0, 0] else f"{rows}; left out: {alone[0]:,} that only A has, {alone[1]:,} that only B has"


def _print_table(differences: list[Difference]) -> None:
    table = Table("metric", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for header in ("A", "B", "B − A", "95 %", "p"):
        table.add_column(header, justify="right")
    for name, a, b, difference, low, high, p in differences:
        table.add_row(name, f"{a:.4f}", f"{b:.4f}", f"{difference:+.4f}", f"{low:+.4f} – {high:+.4f}", f"{p:.3f}")
    Console().print(table)
