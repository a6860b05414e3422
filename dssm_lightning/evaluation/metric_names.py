"""The metrics that stand in a comparison of models, and their columns in a table."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Column

MAIN = ("hit_rate@10", "recall@10", "recall@100", "precision@10", "ndcg@10", "mrr", "query_auroc", "auroc")
"""The metrics that stand in a comparison of models."""
OF_LISTS = ("map", "mrr", "ndcg@10", "precision@1", "hit_rate@10", "recall@10", "query_auroc", "auroc")
"""The same where each query ranks its own list."""
LISTS_WITHOUT_POSITIVE = "lists_without_positive"
_WIDTH = "width_"
THROUGH_INDEX = "index/"
"""Stands before the names of metrics of what a binary index finds."""


def width_prefix(width: int) -> str:
    """Return what stands before the names of metrics of embeddings that were cut to a width."""
    return f"{_WIDTH}{width}/"


def measured_widths(names: Iterable[str]) -> list[int]:
    """Return the widths, ascending, that metrics with such names were measured at.

    Example:
        >>> measured_widths(["mrr", "width_32/mrr", "width_8/mrr", "width_8/ndcg@10"])
        [8, 32]
    """
    starts = (name.partition("/") for name in names)
    found = {start.removeprefix(_WIDTH) for start, slash, _ in starts if slash and start.startswith(_WIDTH)}
    return sorted(int(width) for width in found if width.isdecimal())


def main_names(names: Container[str]) -> tuple[str, ...]:
    """Return the metrics of a comparison whose metrics have such names.

    Example:
        >>> main_names({"map", "mrr"})[:4], main_names({"mrr"})[:2]
        (('map', 'mrr', 'ndcg@10', 'precision@1'), ('hit_rate@10', 'recall@10'))
    """
    return OF_LISTS if "map" in names else MAIN


def name_column(name: str) -> Column:
    """Return a column of one metric, as narrow as its digits, whose header breaks between words only."""
    from rich.table import Column

    header = name.replace("_", " ").replace("@", " @")  # spaces, where a line may end
    return Column(header, width=max(6, *map(len, header.split())), justify="right")
