"""``POST /search`` and ``POST /similar``: candidates that score highest."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from dssm_lightning.retrieval.diversity import require_diversity
from dssm_lightning.serving.answers import joined, json_content
from dssm_lightning.serving.errors import RequestError, refusing_values
from dssm_lightning.serving.requests import SearchBody, SimilarBody, read_body
from dssm_lightning.serving.routes.checks import (
    as_list,
    default_k,
    id_text,
    id_texts,
    read_small,
    require_k,
    require_text,
)
from dssm_lightning.serving.serving import Serving, serving_of
from dssm_lightning.serving.work import SearchWork, SimilarWork


async def search(request: Request) -> Response:
    """Find the candidates that score highest for a query, or for each of several.

    A query is an object of values by column name, or a text where the model reads one column.
    """
    serving = serving_of(request)
    body = await read_body(request, SearchBody, serving.settings.limits.max_body)
    results, bundle = await _searched(serving, body)
    if isinstance(body.query, list):
        content = b'{"results":' + joined([b"{" + each + b"}" for each in results])
    else:
        content = b"{" + results[0]
    return json_content(content + b',"bundle":' + bundle + b"}")


async def _searched(serving: Serving, body: SearchBody) -> tuple[list[bytes], bytes]:
    limits, bundle = serving.settings.limits, serving.bundle(body.bundle)
    queries = as_list(body.query, "query", limits)
    require_text(body.filter, "filter", limits)
    exclude = id_texts(body.exclude, "exclude", limits) if body.exclude else ()
    k = default_k(body.k, len(bundle.retriever) - len(exclude), limits)
    require_k(k, limits, len(queries))
    read = read_small(bundle.queries, queries)
    hybrid = None if body.hybrid is False else body.hybrid
    with refusing_values():
        diversity = require_diversity(body.diversity)
    options = (k, body.filter, exclude, body.exclude_history, hybrid, diversity, body.explain, read is not None)
    work = SearchWork(bundle, *options)
    return await serving.run(work, queries if read is None else read, bundle), bundle.name_json


async def similar(request: Request) -> Response:
    """Find the candidates whose embeddings are most similar to that of a candidate, by their cosine."""
    serving = serving_of(request)
    limits = serving.settings.limits
    body = await read_body(request, SimilarBody, limits.max_body)
    bundle = serving.bundle(body.bundle)
    exclude = id_texts(body.exclude, "exclude", limits)
    k = default_k(body.k, len(bundle.retriever) - 1 - len(exclude), limits)
    require_k(k, limits)
    require_text(body.filter, "filter", limits)
    candidate = id_text(body.id, "id", limits)
    if bundle.retriever.corpus.rows.find(candidate) is None:
        raise RequestError(404, f"no candidate has {bundle.manifest.corpus.id_column} = {candidate[:100]!r}")
    work = SimilarWork(bundle, k, body.filter, exclude)
    (hits,) = await serving.run(work, [candidate], bundle)
    return json_content(b'{"hits":' + hits + b',"bundle":' + bundle.name_json + b"}")
