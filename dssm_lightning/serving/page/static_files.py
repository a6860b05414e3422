"""The files of the page, read once from the package and served with their types and checksums."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from dssm_lightning.serving.errors import RequestError

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}
"""The type of each ending; a file with another ending is not served."""


class PageFile(NamedTuple):
    """A file of the page.

    Example:
        >>> page_files()["style.css"].content_type
        'text/css; charset=utf-8'
    """

    content: bytes
    content_type: str
    etag: str
    """Its checksum in quotes: a browser that has the file already asks with it."""


@cache
def page_files() -> dict[str, PageFile]:
    """Return the files of the page by name; do not change them.

    Example:
        >>> sorted(name for name in page_files() if not name.endswith(".js"))
        ['index.html', 'style.css']
    """
    found = {}
    for each in sorted(files(__package__).iterdir(), key=lambda path: path.name):
        content_type = TYPES.get(each.name.rpartition(".")[2])
        if content_type is not None:
            content = each.read_bytes()
            found[each.name] = PageFile(content, content_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found


async def start_page(request: Request) -> Response:
    """``GET /``: the page."""
    return _answer(request, "index.html")


async def page_file(request: Request) -> Response:
    """``GET /page/{file}``: what the page consists of.

    Raises:
        RequestError: 404 the page has no such file.
    """
    return _answer(request, request.path_params["file"])


def _answer(request: Request, name: str) -> Response:
    found = page_files().get(name)
    if found is None:
        raise RequestError(404, f"there is nothing at {request.url.path[:200]!r}")
    headers = {"ETag": found.etag, "Cache-Control": "no-cache"}  # kept by the browser, and asked for anew each time
    known = [each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")]
    if found.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(found.content, headers=headers, media_type=found.content_type)
