"""The command that compares the tests of two runs, query by query."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dssm_lightning.utils.console import cell, show, show_text
from dssm_lightning.utils.errors import UserError, require_at_least

if TYPE_CHECKING:
    import polars as pl
    from rich.table import Table

    from dssm_lightning.evaluation.paired_comparison import Difference, PairedRows

FEWEST_QUERIES = 20
"""Queries of a slice that the table shows: an interval over fewer queries says little."""


def compare(a: str, b: str, resamples: int = 1000, json: bool = False) -> list[Difference]:
    """Compare the tests of two runs query by query.

    Intervals and p-values are those of a paired bootstrap over queries. The table leaves out slices with fewer than 20
    queries; the JSON object and the return value have every slice.

    Args:
        a: a run folder, a checkpoint in a run folder, a file per_query.parquet, or a config, which stands for its
            newest run.
        b: the same for the second run; differences are B − A.
        resamples: how often queries are drawn with replacement.
        json: print a JSON object instead of a table.

    Returns:
        the difference of each metric that both tests have.
    """
    from dssm_lightning.evaluation.paired_comparison import pair_rows, paired_differences, slice_of

    require_at_least("compare", "--resamples", resamples)
    frames = [_read_results(path) for path in (a, b)]
    rows = pair_rows(frames[0], frames[1], (a, b))
    differences = paired_differences(rows, resamples)
    if json:
        counts = {"queries": rows.num_queries, "rows": len(rows.table)}
        metrics = [each._asdict() for each in differences]
        show_text(json_format.dumps({"a": a, "b": b, **counts, "metrics": metrics}))
    else:
        small = {name: size for name, size in rows.slice_sizes.items() if size < FEWEST_QUERIES}
        show(*_tables([each for each in differences if slice_of(each.metric) not in small], rows))
        if small:
            names = ", ".join(f"{name} ({size})" for name, size in small.items())
            show(f"left out: slices with fewer than {FEWEST_QUERIES} queries: {names}")
        show_text(f"A {a}\nB {b}\n{_describe_rows(rows, frames)}")
    return differences


def _read_results(name: str) -> pl.DataFrame:
    import polars as pl

    from dssm_lightning.cli.checkpoint_arguments import log_unfinished, named_run
    from dssm_lightning.evaluation.result_files import PER_QUERY
    from dssm_lightning.training import run_folders

    path = Path(named_run(name))
    if not path.exists():
        raise UserError(f"{name}: no such run folder, checkpoint, config or file")
    if path.suffix == ".ckpt":
        run = run_folders.run_of(path)
        if run is None:
            raise UserError(f"{name} is in no run folder: give a run folder or a file {PER_QUERY}")
        path = run
    if path.is_dir():
        path = path / PER_QUERY
        if not path.is_file():
            raise UserError(f"{path.parent} has no {PER_QUERY}: run test first (test --ckpt_path …/best.ckpt)")
    log_unfinished(path.parent)
    try:
        frame = pl.read_parquet(path)
    except pl.exceptions.PolarsError as error:
        raise UserError(f"{name} is not a Parquet file: {error}") from error
    if "query_id" not in frame.columns:
        raise UserError(f"{name}: no column query_id, so test did not write it; it has {', '.join(frame.columns)}")
    return frame


def _describe_rows(rows: PairedRows, frames: Sequence[pl.DataFrame]) -> str:
    total = f"{rows.num_queries:,} queries"
    if len(rows.id_columns) > 1:
        total = f"{len(rows.table):,} events of {total}"
    only_a, only_b = (len(frame) - len(rows.table) for frame in frames)
    return total if only_a == only_b == 0 else f"{total}; left out: {only_a:,} only in A, {only_b:,} only in B"


def _tables(differences: Sequence[Difference], rows: PairedRows) -> list[Table]:
    """Make a table of all queries and one for each slice, so that no slice's name widens the column of metrics."""
    from dssm_lightning.evaluation.evaluator import SEEN_KEPT
    from dssm_lightning.evaluation.metrics.slices import SLICES
    from dssm_lightning.evaluation.paired_comparison import slice_of

    found = {slice_of(each.metric) for each in differences}
    order = [name for name in ("", SEEN_KEPT.rstrip("/"), *SLICES) if name in found]
    order += sorted(found - set(order))
    width = max((len(_short_name(each)) for each in differences), default=0)
    tables: list[Table] = []
    for name in order:
        table = _empty_table(width, show_header=not tables)
        if name:
            size = rows.slice_sizes.get(name)
            table.title = cell(name.replace("_", " ")) + ("" if size is None else f", {size:,} queries")
        for each in differences:
            if slice_of(each.metric) == name:
                means = (f"{each.a:.4f}", f"{each.b:.4f}", f"{each.difference:+.4f}")
                table.add_row(_short_name(each), *means, f"{each.low:+.4f} – {each.high:+.4f}", f"{each.p:.3f}")
        tables.append(table)
    return tables


def _empty_table(metric_width: int, show_header: bool) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_header=show_header, padding=(0, 1, 0, 0), pad_edge=False, title_justify="left")
    table.add_column("metric", min_width=metric_width, no_wrap=True)
    for header, width in (("A", 6), ("B", 6), ("B − A", 7), ("95 %", 17), ("p", 5)):
        table.add_column(header, min_width=width, justify="right", no_wrap=True)
    return table


def _short_name(difference: Difference) -> str:
    return difference.metric.rpartition("/")[2]
