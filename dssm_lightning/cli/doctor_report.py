"""What `doctor` shows: a table of the findings in 80 columns, and the lines to write below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dssm_lightning.utils.console import cell, show, show_text

if TYPE_CHECKING:
    from rich.table import Table

    from dssm_lightning.inspection.doctor.findings import Finding


def show_findings(findings: Sequence[Finding]) -> None:
    """Show the findings, the worst first; each line to write stands below its finding."""
    facts = [finding for finding in findings if finding.level == "note" and finding.change is None]
    others = [finding for finding in findings if finding not in facts]
    if facts:
        show(_facts(facts))
    if others:
        show(_findings(others))
    counts = {level: sum(finding.level == level for finding in others) for level in ("error", "warning", "note")}
    text = ", ".join(f"{count} {level}{'s' * (count != 1)}" for level, count in counts.items())
    show_text(f"{text}{'' if counts['error'] or counts['warning'] else ': nothing is wrong'}")


def _facts(findings: Sequence[Finding]) -> Table:
    table = _new_table("what is there", "what", "where", "found")
    for finding in findings:
        table.add_row(finding.check, cell(finding.where), cell(finding.found))
    return table


def _findings(findings: Sequence[Finding]) -> Table:
    table = _new_table("what to change", "level", "check", "found, and the line to write")
    styles = {"error": "bold red", "warning": "yellow", "note": ""}
    for finding in findings:
        table.add_row(
            finding.level, finding.check, cell(f"{finding.where}: {finding.found}"), style=styles[finding.level]
        )
        table.add_row("", "", cell(finding.change), end_section=True)
    return table


def _new_table(title: str, *names: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold", max_width=22 if name in ("check", "what", "where") else None)
    return table
