"""The table of measured indexes: in a bundle, and on the screen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dssm_lightning.cli.index_measuring import SHARES, MeasuredIndex
from dssm_lightning.utils.console import cell, show
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.text_files import parse_json, read_utf8

if TYPE_CHECKING:
    from dssm_lightning.retrieval.bundle.manifest import CorpusFacts

TABLE = "index_table.json"
"""The file of a bundle."""


def table_values(
    rows: Sequence[MeasuredIndex], k: int, corpus: CorpusFacts, queries: int, source: str
) -> dict[str, Any]:
    """Return the content of the file.

    Args:
        rows: what was measured.
        k: the number of answers.
        corpus: of the manifest; its checksums say later whether the table is of the present corpus.
        queries: Q.
        source: where the queries came from.
    """
    shares = [str(share) for share in SHARES]
    indexes = [
        {**row._asdict(), "filtered_recall": dict(zip(shares, row.filtered_recall, strict=True))} for row in rows
    ]
    facts = {"k": k, "candidates": corpus.count, "checksums": corpus.checksums, "queries": queries}
    return {**facts, "queries_from": source, "indexes": indexes}


def write_table(folder: Path, values: dict[str, Any]) -> None:
    """Write the file into a bundle's folder."""
    (folder / TABLE).write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_table(folder: Path) -> dict[str, Any] | None:
    """Return the content of a bundle's file; None: no index was measured.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / TABLE
    if not path.is_file():
        return None
    values = parse_json(read_utf8(path), str(path))
    try:
        for row in values["indexes"]:
            _cells(row)
        _ = values["checksums"], values["queries_from"], [row["kept"] for row in values["indexes"]]
        return {**values, "candidates": int(values["candidates"]), "queries": int(values["queries"])}
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {error}") from error


def show_index_table(values: dict[str, Any]) -> None:
    """Show the table; it fits 80 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    recalls = [Column(name, justify="right", width=6) for name in (f"recall @{values['k']}", "50 %", "5 %", ".5 %")]
    widths = {"queries /s": 7, "batch /s": 7, "build s": 7, "MiB": 6}
    costs = [Column(name, justify="right", width=width) for name, width in widths.items()]
    index = Column("index", overflow="fold", min_width=17)
    table = Table("", index, *recalls, *costs, box=SIMPLE_HEAD, padding=0, pad_edge=False)
    for number, row in enumerate(values["indexes"], 1):
        table.add_row(f"{number}{'*' if row['kept'] else ''}", *_cells(row))
    show(table)
    show(
        f"* kept in the bundle. Measured with {values['queries']:,} queries of {values['queries_from']} and "
        f"{values['candidates']:,} candidates, against exact search. 50, 5, .5 %: the recall under filters that keep "
        "such a share. Queries for each second of one core, one at a time and in batches."
    )


def _cells(row: dict[str, Any]) -> list[str]:
    recalls = [row["recall"], *(row["filtered_recall"][str(share)] for share in SHARES)]
    return [
        cell(f"{row['engine']} {row['settings']}"),
        *(f"{each:.4f}" for each in recalls),
        *(_rate(row[name]) for name in ("queries_per_second", "queries_per_second_in_batches")),
        f"{row['build_seconds']:,.1f}",
        _size(row["size"] / 2**20),
    ]


def _rate(value: float) -> str:
    return f"{value / 1000:,.0f}k" if value >= 100_000 else f"{value:,.0f}"


def _size(mib: float) -> str:
    return f"{mib:,.0f}" if mib >= 1000 else f"{mib:.1f}"
