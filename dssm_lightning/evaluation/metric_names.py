"""The metrics that stand in a comparison of models, and their columns in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Column

MAIN = ("hit_rate@10", "recall@10", "recall@100", "precision@10", "ndcg@10", "mrr", "query_auroc", "auroc")
"""The metrics that stand in a comparison of models."""


def name_column(name: str) -> Column:
    """Return a column of one metric, as narrow as its digits, whose header breaks between words only."""
    from rich.table import Column

    header = name.replace("_", " ").replace("@", " @")  # spaces, where a line may end
    return Column(header, width=max(6, *map(len, header.split())), justify="right")
