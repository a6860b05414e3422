"""Hits as tables and as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dssm_lightning.utils.console import cell, console, show, show_text

if TYPE_CHECKING:
    from dssm_lightning.retrieval.retriever import Hit

LONGEST_CELL = 80
"""Characters of a value that the table shows; the rest is replaced by …."""
FIXED_WIDTH, NARROWEST = 16, 10
"""Width of the columns rank and score; the least width of another column of the table."""


def show_table(title: str, hits: Sequence[Hit]) -> None:
    """Show a title and a table of hits; display columns that do not fit beside each other are lines of a cell."""
    from rich.box import SIMPLE_HEAD
    from rich.styled import Styled
    from rich.table import Column, Table

    show(Styled(title, "italic"))
    if not hits:
        show_text("no answers")
        return
    shown = list(hits[0].display)
    fits = (console().width - FIXED_WIDTH) // (len(shown) + 1) >= NARROWEST
    fixed = [Column(name, justify="right", no_wrap=True) for name in ("rank", "score")]
    headers = [Column(cell(name), overflow="fold") for name in ("id", *(shown if fits else ["values"]))]
    table = Table(*fixed, *headers, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for rank, hit in enumerate(hits, 1):
        values = [cell(hit.display[name], LONGEST_CELL) for name in shown]
        if not fits:
            values = ["\n".join(f"{cell(name)}: {value}" for name, value in zip(shown, values, strict=True))]
        table.add_row(str(rank), f"{hit.score:.4f}", cell(hit.id, LONGEST_CELL), *values)
    show(table)


def show_json(name: str, value: str, hits: Sequence[Hit]) -> None:
    """Show a line of JSON: what was asked, by its name, and its hits."""
    found = {name: value, "hits": [hit._asdict() for hit in hits]}
    show_text(json.dumps(found, ensure_ascii=False, default=str))
