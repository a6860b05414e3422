"""The command that answers queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from dssm_lightning.cli.command_arguments import require_with
from dssm_lightning.utils.console import cell, console, show, show_text
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_file
from dssm_lightning.utils.text_files import parse_json

if TYPE_CHECKING:
    from dssm_lightning.data.retrieval_data import RetrievalData
    from dssm_lightning.retrieval.retriever import Hit, RawValues

LONGEST_CELL = 80
"""Characters of a value that the table shows; the rest is replaced by …."""
FIXED_WIDTH, NARROWEST = 16, 10
"""Width of the columns rank and score; the least width of another column of the table."""


def search(
    query: list[str],
    config: list[str] | None = None,
    ckpt_path: str = "best",
    k: int | None = None,
    json: bool = False,
    picture: str | None = None,
    exclude_history: bool = False,
    hybrid: bool = False,
    hybrid_weight: float | None = None,
) -> list[list[Hit]]:
    """Answer queries with a trained model.

    Args:
        query: raw values as a JSON object such as '{"query": "grinning cat"}', or a bare text if the model reads one
            column of queries. Repeat the option for further queries.
        config: configs: the newest run of the first one is chosen, and their data are used, later ones over earlier
            ones; None = the newest run of any config, with its own data.
        ckpt_path: a checkpoint file, or best or last: the checkpoint of the newest run (of the config).
        k: number of answers; None = 10, or the whole corpus if it is smaller.
        json: print JSON lines instead of tables.
        picture: a PNG file for the pictures of the answers, one row for each query.
        exclude_history: leave out the candidates in the history of the query.
        hybrid: rank by the reciprocal rank fusion of the model with BM25.
        hybrid_weight: weight of BM25's list in the fusion; None = 1.

    Returns:
        the hits of each query, best first.
    """
    from dssm_lightning.api import make_retriever
    from dssm_lightning.cli.checkpoint_arguments import load_chosen

    values = [_raw_values(text) for text in query]
    require_with("--hybrid_weight", hybrid_weight, "--hybrid", hybrid)
    weight = (1.0 if hybrid_weight is None else hybrid_weight) if hybrid else None
    model, data = load_chosen(ckpt_path, config)
    total = len(data.candidates)
    if k is not None and not 1 <= k <= total:  # before the corpus is embedded
        raise UserError(f"search: k is {k}; the corpus has {total:,} candidates: choose a k from 1 to {total:,}")
    if picture is not None:
        _require_picture(picture, data)
    retriever = make_retriever(model, data, weight)
    k = min(10, total) if k is None else k
    answers = [retriever.search(value, k, exclude_history) for value in values]
    for text, hits in zip(query, answers, strict=True):
        _show_json(text, hits) if json else show_table(text, hits)
    if picture is not None:
        _draw(picture, values, answers, data)
        log_file("the hits as pictures", picture)
    return answers


def _raw_values(text: str) -> RawValues:
    if not text.lstrip().startswith("{"):
        return text
    value = parse_json(text, f"--query {text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + '…'}")
    assert isinstance(value, dict)
    return value


# -- tables ------------------------------------------------------------------------------------------------------------


def show_table(query: str, hits: list[Hit]) -> None:
    """Show the query and a table of its hits; display columns that do not fit beside each other are lines of a cell."""
    from rich.box import SIMPLE_HEAD
    from rich.styled import Styled
    from rich.table import Column, Table

    show(Styled(query, "italic"))
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


def _show_json(query: str, hits: list[Hit]) -> None:
    found = {"query": query, "hits": [hit._asdict() for hit in hits]}
    show_text(json.dumps(found, ensure_ascii=False, default=str))


# -- pictures ----------------------------------------------------------------------------------------------------------


def _require_picture(picture: str, data: RetrievalData) -> None:
    from dssm_lightning.reports.hit_pictures import picture_feature, require_png

    picture_feature(data)
    require_png(Path(picture))


def _draw(picture: str, values: list[RawValues], answers: list[list[Hit]], data: RetrievalData) -> None:
    from dssm_lightning.reports.hit_pictures import draw_hits

    draw_hits([_title(value) for value in values], answers, data, Path(picture))


def _title(value: RawValues) -> str:
    if isinstance(value, str):
        return value
    return str(next(iter(value.values()))) if len(value) == 1 else ", ".join(f"{k}: {v}" for k, v in value.items())
