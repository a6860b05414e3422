"""``POST /encode`` and ``POST /score``: embeddings of queries or candidates, and the scores of pairs."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from dssm_lightning.retrieval.towers import Side
from dssm_lightning.serving.answers import json_later
from dssm_lightning.serving.errors import RequestError
from dssm_lightning.serving.requests import EncodeBody, ScoreBody, read_body
from dssm_lightning.serving.routes.checks import as_list, read_small
from dssm_lightning.serving.served_bundle import ServedBundle
from dssm_lightning.serving.serving import Serving, serving_of
from dssm_lightning.serving.work import EncodeWork, ScoreWork


async def encode(request: Request) -> Response:
    """Return the embeddings of queries, or of candidates, and what the features cut off."""
    serving = serving_of(request)
    body = await read_body(request, EncodeBody, serving.settings.limits.max_body)
    if (body.query is None) == (body.candidate is None):
        given = "both are given" if body.query is not None else "neither is given"
        raise RequestError(422, f"give exactly one of query and candidate; {given}")
    bundle = serving.bundle(body.bundle)
    if body.query is not None:
        found = await embedded(serving, bundle, "query", as_list(body.query, "query", serving.settings.limits))
    else:
        assert body.candidate is not None
        values = as_list(body.candidate, "candidate", serving.settings.limits)
        found = await embedded(serving, bundle, "candidate", values)

    def answer() -> dict[str, Any]:
        embeddings = [row.tolist() for row, _ in found]
        return {"embeddings": embeddings, "truncated": [cut for _, cut in found], "bundle": bundle.name}

    return await json_later(answer, len(found) * bundle.manifest.corpus.width)


async def embedded(serving: Serving, bundle: ServedBundle, side: Side, values: list[Any]) -> list[tuple[Any, Any]]:
    """Return for each raw query or candidate its embedding (D,), and what was cut off.

    Raises:
        RequestError: a value that is refused, and as for :meth:`~dssm_lightning.serving.serving.Serving.run`.
    """
    read = read_small(bundle.reader(side), values)
    return await serving.run(EncodeWork(bundle, side, read is not None), values if read is None else read, bundle)


async def score(request: Request) -> Response:
    """Return the model's scores of a query with some candidates, which need not be among those that are searched."""
    serving = serving_of(request)
    body = await read_body(request, ScoreBody, serving.settings.limits.max_body)
    bundle = serving.bundle(body.bundle)
    candidates = as_list(body.candidates, "candidates", serving.settings.limits)
    ((scores, query, others),) = await serving.run(ScoreWork(bundle), [(body.query, candidates)], bundle)
    truncated = {"query": query, "candidates": others}
    return await json_later(lambda: {"scores": scores, "truncated": truncated, "bundle": bundle.name}, len(scores))
