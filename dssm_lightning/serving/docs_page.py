"""``GET /docs``: the OpenAPI document for people, by Swagger UI, whose files the package swagger-ui-bundle has.

Nothing is loaded from elsewhere. A server with a token gives its document only to those who have it: the page asks for
it, and keeps it as long as the tab is open.
"""

from __future__ import annotations

import asyncio
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from dssm_lightning.serving.answers import json_bytes, json_content
from dssm_lightning.serving.errors import RequestError
from dssm_lightning.serving.openapi import openapi_document
from dssm_lightning.serving.serving import Serving, serving_of

ASSETS = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
}
"""The files of Swagger UI, by their types."""
OWN = {"docs.css": "text/css; charset=utf-8", "docs.js": "text/javascript; charset=utf-8"}
"""The files of this package."""
_KEPT = {"Cache-Control": "public, max-age=3600"}


async def openapi(request: Request) -> Response:
    """Return the OpenAPI document, with examples from the bundles that are served."""
    bundles = list(serving_of(request).bundles.values())
    for each in bundles:
        each.hold()  # a reload would close them under the thread
    try:
        return json_content(await asyncio.to_thread(_document, request.app))
    finally:
        for each in bundles:
            each.release()


def _document(app: Any) -> bytes:
    """Return the document as JSON. It is made once, and anew after a reload."""
    serving: Serving = app.state.serving
    number = serving.bundle().number
    known: tuple[int, bytes] | None = getattr(app.state, "openapi", None)
    if known is None or known[0] != number:
        summaries = {route.path: route.endpoint.__doc__ or "" for route in app.routes if hasattr(route, "endpoint")}
        known = app.state.openapi = number, json_bytes(openapi_document(serving, summaries))
    return known[1]


async def docs(request: Request) -> Response:
    """Show the OpenAPI document."""
    return Response(_own("docs.html"), media_type="text/html")


async def docs_file(request: Request) -> Response:
    """Return a file of the page."""
    name = request.path_params["file"]
    if name in ASSETS:
        return Response(_asset(name), 200, {**_KEPT, "Content-Type": ASSETS[name]})
    if name in OWN:
        return Response(_own(name), 200, {"Content-Type": OWN[name], "Cache-Control": "no-cache"})
    raise RequestError(404, f"there is no file {name[:100]!r} of the page /docs")


@cache
def _own(name: str) -> bytes:
    return (resources.files("dssm_lightning.serving") / "docs" / name).read_bytes()


@cache
def _asset(name: str) -> bytes:
    try:
        bundle = import_module("swagger_ui_bundle")
    except ModuleNotFoundError as error:
        raise RequestError(
            503, "/docs needs the package swagger-ui-bundle: pip install swagger-ui-bundle; /openapi.json needs none"
        ) from error
    return Path(str(bundle.swagger_ui_path), name).read_bytes()
