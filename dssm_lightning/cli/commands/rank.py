"""The command that orders given lists of candidates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dssm_lightning.cli.opened_retriever import OpenedRetriever
from dssm_lightning.utils.console import show, show_text
from dssm_lightning.utils.logger import log_file, log_info

if TYPE_CHECKING:
    from rich.table import Table

    from dssm_lightning.cli.list_files import RankedLine

LISTS, WITHOUT_POSITIVE = "lists", "lists_without_positive"


def rank(
    input: str,
    bundle: str | None = None,
    config: list[str] | None = None,
    ckpt_path: str | None = None,
    output: str | None = None,
) -> dict[str, float]:
    """Order given lists of candidates by a trained model.

    Args:
        input: a file of JSON lines such as {"query": "grinning cat", "candidates": ["c7", {"text": "a new one"}]}. A
            candidate is an id, or an object of columns for a new one. "labels", a number for each candidate with 0 =
            not relevant, measures the order; "id" is written beside the answer.
        bundle: a bundle, which export wrote: a folder or a URL. It needs neither torch nor the training data.
        config: configs: the newest run of the first one is chosen, and their data are used, later ones over earlier
            ones; None = the newest run of any config, with its own data.
        ckpt_path: a checkpoint file, or best or last: the checkpoint of the newest run (of the config); None = best.
        output: a file for the ordered lists, .jsonl or .parquet; None = print JSON lines.

    Returns:
        with labels, the means of map, mrr, ndcg@10 and precision@1 over the lists that have a positive, and how many
        lists have labels and how many of these no positive.
    """
    from dssm_lightning.cli.list_files import as_json_line, rank_lines, read_lists, require_list_output, write_lists

    if output is not None:
        require_list_output(Path(output))
    retriever = OpenedRetriever(bundle, ckpt_path, config).retriever()
    ranked = list(rank_lines(read_lists(Path(input), retriever), retriever))
    metrics = mean_metrics(ranked)
    if output is None:
        for each in ranked:
            show_text(as_json_line(each))
        if metrics:
            means = [f"{name} {value:.4f}" for name, value in metrics.items() if name not in (LISTS, WITHOUT_POSITIVE)]
            log_info(", ".join([*means, _counts(metrics)]))
    else:
        write_lists(Path(output), ranked)
        log_file(f"{len(ranked):,} lists of {sum(len(each.ranked) for each in ranked):,} candidates", output)
        if metrics:
            show(_table(metrics))
            show_text(_counts(metrics))
    return metrics


def mean_metrics(ranked: Sequence[RankedLine]) -> dict[str, float]:
    """Return the means over the lists that have a positive, and the numbers of lists; nothing without labels."""
    from dssm_lightning.retrieval.list_metrics import LIST_METRICS, list_metrics

    values = []
    for line, candidates in ranked:
        if line.labels is not None:
            labels = [float(line.labels[each.place]) for each in candidates]
            values.append(list_metrics([each.score for each in candidates], labels))
    counted = [each for each in values if not math.isnan(each["map"])]
    if not values:
        return {}
    numbers = {LISTS: float(len(values)), WITHOUT_POSITIVE: float(len(values) - len(counted))}
    means = {name: math.fsum(each[name] for each in counted) / len(counted) for name in LIST_METRICS if counted}
    return {**means, **numbers}


def _counts(metrics: dict[str, float]) -> str:
    return (
        f"lists with labels: {metrics[LISTS]:,.0f}; without a positive, and not averaged: "
        f"{metrics[WITHOUT_POSITIVE]:,.0f}"
    )


def _table(metrics: dict[str, float]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    table = Table("metric", Column("value", justify="right"), box=SIMPLE_HEAD, padding=0, pad_edge=False)
    for name, value in metrics.items():
        if name not in (LISTS, WITHOUT_POSITIVE):
            table.add_row(name, f"{value:.4f}")
    return table
