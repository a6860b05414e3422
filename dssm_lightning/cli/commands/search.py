"""The command that answers queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dssm_lightning.utils.console import show, show_text
from dssm_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from dssm_lightning.retrieval.retriever import Hit, RawValues


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
        query: raw values as a JSON object such as '{"query": "grinning cat"}', or a bare text where the query side
            reads one column; give the option again for a further query.
        ckpt_path: a checkpoint of a run, or best, or last: of the newest run.
        k: how many answers; None = 10, or the whole corpus if it is smaller.
        json: print JSON lines instead of tables.
        picture: a PNG file that shows the pictures of the answers, one row for each query.
        exclude_history: leave out the candidates in the history that a query gives.
        hybrid: rank by the reciprocal rank fusion of the model with BM25.
        hybrid_weight: weight of BM25's list in the fusion.

    Returns:
        the hits of each query, best first.
    """
    from dssm_lightning.api import load_run, make_retriever
    from dssm_lightning.cli.checkpoint_arguments import require_checkpoint
    from dssm_lightning.reports import hit_pictures

    values = [_raw(text) for text in query]
    model, data = load_run(require_checkpoint(ckpt_path))
    if picture is not None:  # refuse what cannot be drawn before the corpus is embedded
        hit_pictures.picture_feature(data)
        hit_pictures.require_png(Path(picture))
    retriever = make_retriever(model, data, hybrid_weight if hybrid else None)
    k = min(10, len(retriever.candidates)) if k is None else k
    answers = [retriever.search(value, k, exclude_history) for value in values]
    for text, hits in zip(query, answers, strict=True):
        _print_json(text, hits) if json else _print_table(text, hits)
    if picture is not None:
        hit_pictures.draw_hits([_title(value) for value in values], answers, data, Path(picture))
        if not json:
            show_text(f"the hits as pictures: {picture}")
    return answers


def _raw(text: str) -> RawValues:
    if not text.lstrip().startswith("{"):
        return text
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"--query {text!r} is no JSON object: {error}") from error
    assert isinstance(value, dict)
    return value


def _title(value: RawValues) -> str:
    if isinstance(value, str):
        return value
    return str(next(iter(value.values()))) if len(value) == 1 else ", ".join(f"{k}: {v}" for k, v in value.items())


def _print_table(query: str, hits: list[Hit]) -> None:
    shown = list(hits[0].display)
    from rich.table import Table
    from rich.text import Text

    table = Table("", "id", "score", *shown, title=Text(query), title_justify="left")
    for place, hit in enumerate(hits, 1):
        cells = [Text(_cell(value)) for value in (hit.id, *(hit.display[name] for name in shown))]
        table.add_row(str(place), cells[0], f"{hit.score:.4f}", *cells[1:])
    show(table)


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _print_json(query: str, hits: list[Hit]) -> None:
    found = {"query": query, "hits": [hit._asdict() for hit in hits]}
    show_text(json.dumps(found, ensure_ascii=False, default=str))
