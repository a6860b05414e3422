"""What `init` shows: the tables and columns that were found, what becomes of them, and all decisions with reasons."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from dssm_lightning.inspection.plan import Plan
from dssm_lightning.inspection.profile import ColumnProfile, DataProfile, TableProfile
from dssm_lightning.utils.console import cell, show, show_text

if TYPE_CHECKING:
    from rich.table import Table

MOST_COLUMNS = 40
"""Columns of a table that are shown."""


def show_plan(plan: Plan) -> None:
    """Show what was found and what was decided, in 80 columns."""
    show(_tables(plan.profile), _columns(plan), _decisions(plan))
    notes = [*plan.profile.notes, *(note for table in plan.profile.tables for note in table.notes)]
    for note in dict.fromkeys(notes):
        show_text(f"note: {note}")


def show_next(config: str) -> None:
    """Show where the config is, and the commands that come next."""
    from dssm_lightning.cli.commands.registry import COMMANDS

    show_text(f"\nwritten to {config}; each line says why. Next:\n")
    verbs = (["doctor"] if "doctor" in COMMANDS else []) + ["fit"]
    for verb in verbs:
        show_text(f"  python -m dssm_lightning {verb} --config {quote(config)}")
    show_text(f"  python -m dssm_lightning test --config {quote(config)}")


def _new_table(title: str, *names: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _tables(profile: DataProfile) -> Table:
    table = _new_table("found", "table", "file", "layout", "rows")
    for each in profile.tables:
        table.add_row(each.role, cell(each.path or "a frame", 40), _layout(each), f"{each.rows:,}")
    pairs = f"{profile.num_pairs:,} liked pairs of {profile.num_queries:,} queries and {profile.num_liked_candidates:,}"
    shown = f", {profile.num_negative_pairs:,} pairs not liked" if profile.num_negative_pairs else ""
    table.caption = f"{pairs} of {profile.num_candidates:,} candidates{shown}"
    table.caption_justify = "left"
    return table


def _layout(table: TableProfile) -> str:
    layout = table.layout
    parts = [
        f"separator {layout.separator!r}" if layout.separator else "",
        layout.encoding or "",
        "no header" if layout.columns else "",
    ]
    return cell(", ".join(part for part in parts if part))


def _columns(plan: Plan) -> Table:
    uses = {(use.table, use.column): use.use for use in plan.uses}
    renames = ((*old.partition("."), new) for old, new in plan.profile.rename.items())
    own_names = {(role, new): name for role, _, name, new in renames}
    table = _new_table("columns", "table", "column", "kind", "for example", "becomes")
    for found in plan.profile.tables:
        columns = list(found.columns.values())
        for column in columns[:MOST_COLUMNS]:
            use = uses.get((found.role, column.name)) or plan.part_of(found.role, column)
            name = own_names.get((found.role, column.name), column.name)
            renamed = "" if name == column.name else f", as {column.name}"
            table.add_row(found.role, cell(name, 20), _kind(column), _example(column), cell(f"{use}{renamed}"))
        if len(columns) > MOST_COLUMNS:
            table.add_row(found.role, f"{len(columns) - MOST_COLUMNS} more", "", "", "")
    return table


def _kind(column: ColumnProfile) -> str:
    share = "< 1%" if column.share_missing < 0.01 else f"{column.share_missing:.0%}"
    return f"{column.kind}, {share} missing" if column.missing else column.kind


def _example(column: ColumnProfile) -> str:
    return cell(next(iter(column.examples), ""), 16)


def _decisions(plan: Plan) -> Table:
    table = _new_table("decided", "what", "choice", "why")
    for each in plan.decisions:
        table.add_row(cell(each.topic), cell(each.choice), cell(each.why))
    return table
