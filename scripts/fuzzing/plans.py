"""What is sent to a server: requests as bytes, and plans of how these go over a connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

JSON = {"Content-Type": "application/json"}
HALF, WAIT, CLOSE, RESET = "half", "wait", "close", "reset"
"""What a client does when all is sent: says so and reads, waits for the server's end, or leaves, politely or not."""


class Request(NamedTuple):
    """A request with a body whose length its headers give.

    Example:
        >>> Request("GET", "/health").as_bytes()
        b'GET /health HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n'
    """

    method: str
    target: str
    headers: Mapping[str, str] = {}
    body: bytes = b""

    def head(self, *others: bytes) -> bytes:
        """Return the first line, the headers, and others, up to the empty line."""
        lines = [f"{self.method} {self.target} HTTP/1.1".encode("utf-8", "surrogateescape"), b"Host: localhost"]
        for name, value in self.headers.items():
            if name.lower() not in ("host", "content-length", "transfer-encoding"):
                lines.append(f"{name}: {value}".encode("utf-8", "surrogateescape"))
        return b"\r\n".join([*lines, *others]) + b"\r\n\r\n"

    def as_bytes(self) -> bytes:
        """Return all that goes over the wire."""
        has_body = bool(self.body) or self.method in ("POST", "PUT", "PATCH")
        return self.head(*([b"Content-Length: %d" % len(self.body)] if has_body else [])) + self.body


class Plan(NamedTuple):
    """What one client does.

    Attributes:
        kind: what is counted together.
        parts: what is sent, one after the other.
        requests: how many requests that is.
        answers: how many answers have to come, unless one says that it is the last; None: any number.
        pause: seconds between two parts.
        end: what happens after the last part, on a connection of its own.
        is_kept: whether it goes over a connection that other requests have used, and will use.
    """

    kind: str
    parts: tuple[bytes, ...]
    requests: int = 1
    answers: int | None = None
    pause: float = 0.0
    end: str = HALF
    is_kept: bool = False

    @property
    def is_slow(self) -> bool:
        """Whether it takes a while."""
        return self.pause > 0 or self.end == WAIT


def ask(kind: str, request: Request) -> Plan:
    """Return the plan to send a request as it should be."""
    return Plan(kind, (request.as_bytes(),), answers=1, is_kept=True)


def post(target: str, body: bytes, **headers: Any) -> Request:
    """Return a request with a body of JSON."""
    return Request("POST", target, JSON | headers, body)
