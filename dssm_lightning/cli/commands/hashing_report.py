"""The command that reports the words that letter trigrams cannot tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dssm_lightning.utils.console import cell, show, show_text
from dssm_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from dssm_lightning.reports.hash_collisions import Collisions


def hashing_report(
    config: list[str] | None = None, ckpt_path: str | None = None, examples: int = 3
) -> list[Collisions]:
    """Count the words that letter trigrams confuse, by feature.

    Args:
        config: configs; a later one overrides settings of earlier ones. Their features of letter trigrams are counted.
            None = those of the newest run of any config.
        ckpt_path: a checkpoint file, or best or last: the features of its run are counted.
        examples: number of groups of confused words that are shown of each kind.

    Returns:
        the counts of each feature.
    """
    from dssm_lightning.api import load_data
    from dssm_lightning.cli.checkpoint_arguments import chosen_data
    from dssm_lightning.reports.hash_collisions import count_collisions, reads_trigrams

    data = load_data(config) if config and ckpt_path is None else chosen_data(config, ckpt_path)[0]
    tables = {"query": data.data.queries, "candidate": data.candidates}
    found = [
        count_collisions(side, feature, table[feature.source_column])
        for side, table in tables.items()
        for feature in getattr(data.schemas, side)
        if reads_trigrams(feature) and feature.source_column in table.columns
    ]
    if not found:
        raise UserError(
            f"{', '.join(config or ['the run'])}: no feature HashedTrigrams, Trigrams or WordTrigrams reads a column "
            "of queries or candidates"
        )
    _show(found, examples)
    return found


def _show(found: list[Collisions], examples: int) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    table = Table(Column("feature", overflow="fold"), box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for header in ("words", "trigrams", "rows", "sharing\na row", "same\ntrigrams", "same rows\nonly"):
        table.add_column(header, justify="right", no_wrap=True)
    for each in found:
        kinds = (each.same_trigrams, each.same_rows)
        share = f"{each.trigrams_sharing:,} ({each.trigrams_sharing / max(each.trigrams, 1):.1%})"
        counts = [f"{count:,}" for count in (each.words, each.trigrams, each.rows)]
        table.add_row(cell(f"{each.side} {each.feature}"), *counts, share, *(f"{len(groups):,}" for groups in kinds))
    show(table)
    show_text("sharing a row: counts of trigrams; same trigrams, same rows only: groups of words with equal inputs")
    for each in found:
        for kind, groups in (("same trigrams", each.same_trigrams), ("same rows only", each.same_rows)):
            for group in groups[:examples]:
                show_text(f"{each.side} {each.feature}, {kind}: {', '.join(group)}")
