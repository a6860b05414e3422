"""``POST /candidates`` and ``GET /pictures/{bundle}/{row}``: candidates for a person who picks some."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from dssm_lightning.retrieval.candidate_pictures import media_type
from dssm_lightning.serving.answers import json_content
from dssm_lightning.serving.errors import RequestError
from dssm_lightning.serving.requests import CandidatesBody, read_body
from dssm_lightning.serving.routes.checks import default_k, require_k, require_text
from dssm_lightning.serving.serving import serving_of
from dssm_lightning.serving.work import CandidatesWork

A_DAY = 86_400


async def candidates(request: Request) -> Response:
    """Find the candidates whose shown columns or id contain every word of a text."""
    serving = serving_of(request)
    limits = serving.settings.limits
    body = await read_body(request, CandidatesBody, limits.max_body)
    bundle = serving.bundle(body.bundle)
    k = default_k(body.k, len(bundle.retriever), limits, usual=20)
    require_k(k, limits)
    require_text(body.text, "text", limits)
    (hits,) = await serving.run(CandidatesWork(bundle, k), [body.text], bundle)
    return json_content(b'{"hits":' + hits + b',"bundle":' + bundle.name_json + b"}")


async def picture(request: Request) -> Response:
    """Return the small picture of a candidate."""
    bundle = serving_of(request).bundle(request.path_params["bundle"])
    row, pictures = request.path_params["row"], bundle.retriever.corpus.pictures
    version = request.query_params.get("v", bundle.version)
    found = None
    if pictures is not None and version == bundle.version and len(row) < 20 and row.isascii() and row.isdigit():
        found = pictures.at(int(row)) if int(row) < len(pictures) else None
    if found is None:
        raise RequestError(404, f"bundle {bundle.name!r} has no picture of candidate {row[:40]!r}")
    keep = f"private, max-age={A_DAY}, immutable" if "v" in request.query_params else "no-cache"
    return Response(found, 200, {"Cache-Control": keep}, media_type(found))
