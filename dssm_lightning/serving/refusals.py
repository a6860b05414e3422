"""Answers of a connection itself: to what is no HTTP, too much of it, too slow, or on one connection too many."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, NamedTuple

from dssm_lightning.serving.errors import TYPES, error_body

RETRY_AFTER_S = 1
"""Seconds after which a client that found too many connections may try again."""
ALWAYS_ANSWERED = ("/health", "/ready", "/metrics")
"""Paths that are answered on a connection too many as well: a busy server must not look like a dead one."""
_HEADERS = {
    "content-type": "application/json",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "connection": "close",
}

App = Callable[[Any, Any, Any], Awaitable[None]]


class Refusal(NamedTuple):
    """An error that ends a connection.

    Example:
        >>> refusal = Refusal(431, "the headers have more than 65536 bytes")
        >>> refusal.as_http()[:44]
        b'HTTP/1.1 431 Request Header Fields Too Large'
    """

    status: int
    message: str

    @property
    def error_type(self) -> str:
        """The kind of error, for its body and for who counts."""
        return "slow_headers" if self.status == 408 else TYPES[self.status]

    def body(self) -> bytes:
        """Return the body of the answer."""
        return error_body(self.status, self.message, self.error_type)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers of the answer."""
        found = _HEADERS | {"content-length": str(len(self.body()))}
        if self.status == 503:
            found["retry-after"] = str(RETRY_AFTER_S)
        return [(name.encode(), value.encode()) for name, value in found.items()]

    def as_http(self) -> bytes:
        """Return the whole answer as it goes over the wire."""
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}".encode()]
        lines += [name + b": " + value for name, value in self.headers()]
        return b"\r\n".join([*lines, b"", self.body()])


def too_many_connections(limit: int) -> Refusal:
    """Return the refusal of a connection too many."""
    return Refusal(503, f"too many connections: at most {limit} are open at once; try again")


def refusing_app(app: App, refusal: Refusal) -> App:
    """Return an application that refuses every request but those of :data:`ALWAYS_ANSWERED`."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] in ALWAYS_ANSWERED:
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": refusal.status, "headers": refusal.headers()})
        await send({"type": "http.response.body", "body": refusal.body()})

    return answer
