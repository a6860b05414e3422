"""The application: routes, what guards them, and its life."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from dssm_lightning.serving import docs_page
from dssm_lightning.serving.errors import RequestError
from dssm_lightning.serving.guard import Guard
from dssm_lightning.serving.page import static_files
from dssm_lightning.serving.route_table import RouteTable
from dssm_lightning.serving.routes import candidates, embeddings, encode, operations, search
from dssm_lightning.serving.serving import Serving

Route = Callable[[Request], Awaitable[Response]]
ROUTES: tuple[tuple[str, str, Route], ...] = (
    ("/search", "POST", search.search),
    ("/similar", "POST", search.similar),
    ("/encode", "POST", encode.encode),
    ("/score", "POST", encode.score),
    ("/candidates", "POST", candidates.candidates),
    ("/pictures/{bundle}/{row}", "GET", candidates.picture),
    ("/embed", "POST", embeddings.embed),
    ("/", "POST", embeddings.embed),
    ("/v1/embeddings", "POST", embeddings.openai_embeddings),
    ("/v1/models", "GET", embeddings.list_models),
    ("/v1/models/{model}", "GET", embeddings.show_model),
    ("/health", "GET", operations.health),
    ("/ready", "GET", operations.ready),
    ("/info", "GET", operations.info),
    ("/metrics", "GET", operations.metrics),
    ("/reload", "POST", operations.reload),
    ("/openapi.json", "GET", docs_page.openapi),
    ("/docs", "GET", docs_page.docs),
    ("/docs/{file}", "GET", docs_page.docs_file),
    ("/", "GET", static_files.start_page),
    ("/page/{file}", "GET", static_files.page_file),
)
"""The addresses, the most frequent first."""


def build_app(serving: Serving) -> FastAPI:
    """Return the application that serves some bundles. It opens them when it starts, if they are not open.

    Args:
        serving: the bundles, and the settings of the server.
    """
    app = FastAPI(title="dssm-lightning", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_life)
    app.router.redirect_slashes = False  # a redirect would repeat whatever the header Host says
    app.state.serving = serving
    _add_routes(app)
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_middleware(
        Guard,
        settings=serving.settings,
        telemetry=serving.telemetry,
        is_draining=lambda: serving.is_draining,
    )
    return app


def _add_routes(app: FastAPI) -> None:
    for path, method, route in ROUTES:
        app.router.add_route(path, route, [method])


@contextlib.asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    serving: Serving = app.state.serving
    await asyncio.to_thread(serving.open)
    try:
        yield
    finally:
        serving.close()


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    serving: Serving = request.app.state.serving
    serving.telemetry.count_error(error.error_type)
    return error.response()


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message, headers = str(error.detail), error.headers
    if error.status_code == 404:
        message = f"there is nothing at {request.url.path[:200]!r}"
    elif error.status_code == 405:
        message = f"{request.method} is not possible at {request.url.path[:200]!r}"
        headers = {"Allow": ", ".join(RouteTable(request.app.routes).methods(request.url.path))}
    return await _refused(request, RequestError(error.status_code, message, headers=headers))
