"""The command that tells what word hashing confuses: words with the same letter trigrams, and trigrams with one row."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from dssm_lightning.reports.hash_collisions import Collisions, _reads_trigrams, count_collisions
from dssm_lightning.utils.errors import UserError


def hashing_report(config: list[str], examples: int = 3) -> list[Collisions]:
    """Count the words that letter trigrams cannot tell apart, by feature.

    Args:
        config: configs, later ones over earlier ones, whose text features of letter trigrams are looked at.
        examples: how many groups of such words to print.

    Returns:
        what was found for each feature.
    """
    from dssm_lightning.api import load_data

    data = load_data(config)
    tables = {"query": data.data.queries, "candidate": data.candidates}
    found = [
        count_collisions(side, feature, table[feature.source_column])
        for side, table in tables.items()
        for feature in getattr(data.schemas, side)
        if _reads_trigrams(feature) and feature.source_column in table.columns
    ]
    if not found:
        raise UserError(
            f"{', '.join(config)}: no HashedTrigrams, Trigrams or WordTrigrams reads a column of queries or candidates"
        )
    _print(found, examples)
    return found


def _print(found: list[Collisions], examples: int) -> None:
    table = Table("feature", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for header in ("words", "trigrams", "rows", "sharing a row", "same trigrams", "same rows only"):
        table.add_column(header, justify="right")
    for each in found:
        kinds = (each.same_trigrams, each.same_rows)
        share = f"{each.trigrams_sharing:,} ({each.trigrams_sharing / max(each.trigrams, 1):.1%})"
        counts = [f"{count:,}" for count in (each.words, each.trigrams, each.rows)]
        table.add_row(f"{each.side} {each.feature}", *counts, share, *(f"{len(groups):,}" for groups in kinds))
    console = Console()
    console.print(table)
    print("sharing a row: trigrams; same trigrams, same rows only: groups of words that cannot be told apart")
    for each in found:
        for kind, groups in (("same trigrams", each.same_trigrams), ("same rows only", each.same_rows)):
            for group in groups[:examples]:
                console.print(f"{each.side} {each.feature}, {kind}: {', '.join(group)}", markup=False, highlight=False)
