"""The command that answers queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dssm_lightning.utils.console import show, show_text
from dssm_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from dssm_lightning.data.retrieval_data import RetrievalData
    from dssm_lightning.retrieval.retriever import Hit, RawValues

LONGEST_CELL = 80
"""Characters of a value that the table shows; the rest is replaced by …."""


def search(
    query: list[str],
    ckpt_path: str = "best",
    k: int | None = None,
    json: bool = False,
    picture: str | None = None,
    exclude_history: bool = False,
    hybrid: bool = False,
    hybrid_weight: float = 1.0,
) -> list[list[Hit]]:
    """Answer queries with a trained model.

    Args:
        query: raw values as a JSON object such as '{"query": "grinning cat"}', or a bare text if the model reads one
            column of queries. Repeat the option for further queries.
        ckpt_path: a checkpoint file, or best or last: the checkpoint of the newest run.
        k: number of answers; None = 10, or the whole corpus if it is smaller.
        json: print JSON lines instead of tables.
        picture: a PNG file for the pictures of the answers, one row for each query.
        exclude_history: leave out the candidates in the history of the query.
        hybrid: rank by the reciprocal rank fusion of the model with BM25.
        hybrid_weight: weight of BM25's list in the fusion.

    Returns:
        the hits of each query, best first.
    """
    from dssm_lightning.api import load_run, make_retriever
    from dssm_lightning.cli.checkpoint_arguments import require_checkpoint

    values = [_raw_values(text) for text in query]
    model, data = load_run(require_checkpoint(ckpt_path))
    if picture is not None:
        _require_picture(picture, data)  # before the corpus is embedded
    retriever = make_retriever(model, data, hybrid_weight if hybrid else None)
    k = min(10, len(retriever.candidates)) if k is None else k
    answers = [retriever.search(value, k, exclude_history) for value in values]
    for text, hits in zip(query, answers, strict=True):
        _show_json(text, hits) if json else show_table(text, hits)
    if picture is not None:
        _draw(picture, values, answers, data)
        if not json:
            show_text(f"the hits as pictures: {picture}")
    return answers


def _raw_values(text: str) -> RawValues:
    if not text.lstrip().startswith("{"):
        return text
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"--query {text!r} is not a valid JSON object: {error}") from error
    assert isinstance(value, dict)
    return value


# -- tables ------------------------------------------------------------------------------------------------------------


def show_table(query: str, hits: list[Hit]) -> None:
    """Show the query and a table of its hits. ``Text`` shows raw values as they are: rich parses no markup in them."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table
    from rich.text import Text

    shown = list(hits[0].display)
    fixed = [Column(name, justify="right", no_wrap=True) for name in ("rank", "score")]
    headers = [Column(Text(name), overflow="fold") for name in ("id", *shown)]
    table = Table(*fixed, *headers, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for rank, hit in enumerate(hits, 1):
        values = [_cell(value) for value in (hit.id, *(hit.display[name] for name in shown))]
        table.add_row(str(rank), f"{hit.score:.4f}", *map(Text, values))
    show(Text(query, style="italic"), table)


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"


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
