"""The command that answers queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dssm_lightning.cli.checkpoint_arguments import _checkpoint
from dssm_lightning.retrieval.retriever import Hit, RawValues
from dssm_lightning.utils.errors import UserError


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
        k: how many answers; None = 10, or all where the corpus has fewer.
        json: print JSON lines instead of tables.
        picture: a PNG file for what was found, where candidates have pictures: a row for each query.
        exclude_history: leave out what stands in the history that a query gives.
        hybrid: rank by the reciprocal rank fusion of the model with BM25.
        hybrid_weight: weight of BM25's list in it.

    Returns:
        for each query its hits, best first.
    """
    from dssm_lightning.api import load_run, make_retriever
    from dssm_lightning.reports import hit_pictures
    from dssm_lightning.retrieval.hybrid import Hybrid

    values = [_raw(text) for text in query]
    model, data = load_run(_checkpoint(ckpt_path))
    if picture is not None:  # what cannot be drawn is said before the corpus is embedded
        hit_pictures.picture_feature(data)
        hit_pictures.require_png(Path(picture))
    words = Hybrid(data.data, hybrid_weight) if hybrid else None
    retriever = make_retriever(model, data, words)
    k = min(10, len(retriever.candidates)) if k is None else k
    answers = [retriever.search(value, k, exclude_history) for value in values]
    for text, hits in zip(query, answers, strict=True):
        _print_json(text, hits) if json else _print_table(text, hits)
    if picture is not None:
        hit_pictures.draw_hits([_title(value) for value in values], answers, data, Path(picture))
        if not json:
            print(f"the hits as pictures: {picture}")
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
    table = Table("", "id", "score", *shown, title=query, title_justify="left")
    for place, hit in enumerate(hits, 1):
        table.add_row(str(place), str(hit.id), f"{hit.score:.4f}", *(_cell(hit.display[name]) for name in shown))
    Console().print(table)


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _print_json(query: str, hits: list[Hit]) -> None:
    print(json.dumps({"query": query, "hits": [hit._asdict() for hit in hits]}, ensure_ascii=False, default=str))
