"""``GET /health``, ``/ready``, ``/info`` and ``/metrics``, and ``POST /reload``: what operators need."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from dssm_lightning.serving.answers import json_content, json_response
from dssm_lightning.serving.errors import RequestError
from dssm_lightning.serving.serving import serving_of
from dssm_lightning.serving.telemetry import CONTENT_TYPE
from dssm_lightning.utils.errors import UserError


async def health(request: Request) -> Response:
    """Say that the server lives."""
    return json_content(b'{"status":"alive"}')


async def ready(request: Request) -> Response:
    """Say whether requests should be sent here; 503 while the server loads or stops, or when a bundle has changed."""
    reason = serving_of(request).why_not_ready
    if reason is not None:
        raise RequestError(503, reason, headers={"Retry-After": "1"})
    return json_content(b'{"status":"ready"}')


async def info(request: Request) -> Response:
    """Describe the server's limits, and its bundles: columns, filters, metrics and versions."""
    return json_content(serving_of(request).info())


async def metrics(request: Request) -> Response:
    """Return what Prometheus reads."""
    content = await asyncio.to_thread(serving_of(request).telemetry.exposition)
    return Response(content, 200, {"Content-Type": CONTENT_TYPE})


async def reload(request: Request) -> Response:
    """Open the bundles anew, and serve them in place of the old ones; a broken one leaves the old ones."""
    serving = serving_of(request)
    if serving.settings.token is None:
        raise RequestError(403, "a reload by HTTP needs a token, and none is set (DSSM_API_TOKEN): send SIGHUP instead")
    try:
        bundles = await serving.reload()
    except UserError as error:
        raise RequestError(409, f"the old bundles are served further: {error}") from error
    if serving.tell_others is not None:
        serving.tell_others()
    return json_response({"bundles": [{"name": each.name, "checksum": each.checksum} for each in bundles]})
