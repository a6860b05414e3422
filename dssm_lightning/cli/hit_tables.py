"""Hits as tables and as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dssm_lightning.utils.console import cell, console, show, show_text

if TYPE_CHECKING:
    from dssm_lightning.features.readings import Reading
    from dssm_lightning.retrieval.retriever import Hit

MOST_UNKNOWN = 20
"""Unknown values of a query that are shown."""
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


def show_readings(readings: Sequence[Reading]) -> None:
    """Show which values of a query the model does not know, and what it does not read; nothing if there is neither."""
    unknown = [f"{cell(text, LONGEST_CELL)} ({cell(each.feature)})" for each in readings for text in each.unknown]
    more = f" and {len(unknown) - MOST_UNKNOWN:,} more" if len(unknown) > MOST_UNKNOWN else ""
    lines = [f"unknown: {', '.join(unknown[:MOST_UNKNOWN])}{more}"] if unknown else []
    lines += [f"cut off: {cell(str(cut))}" for each in readings for cut in each.truncations]
    if lines:
        show_text("\n".join(lines) + "\n")


def show_json(name: str, value: str, hits: Sequence[Hit], readings: Sequence[Reading] = ()) -> None:
    """Show a line of JSON: what was asked, by its name, its hits, and what the model did not know or read of it."""
    found: dict[str, Any] = {name: value, "hits": [hit._asdict() for hit in hits]}
    if readings:
        pairs = [(each, text) for each in readings for text in each.unknown]
        found["unknown"] = [{"feature": each.feature, "column": each.column, "text": text} for each, text in pairs]
        found["truncated"] = [cut._asdict() for each in readings for cut in each.truncations]
    show_text(json.dumps(found, ensure_ascii=False, default=str))
