"""One line of JSON for each request, on the logger ``dssm_lightning.access``."""

from __future__ import annotations

import logging
import sys
from datetime import datetime, timezone
from typing import NamedTuple

import msgspec

from dssm_lightning.utils.console import write_line

ACCESS = logging.getLogger("dssm_lightning.access")
LONGEST_PATH = 200
"""Characters of a path; the rest is cut."""


class Access(NamedTuple):
    """What is said of a request: neither its body, its query string nor its headers."""

    time: str
    method: str
    path: str
    status: int
    milliseconds: float
    bytes: int
    client: str
    request_id: str


def log_access(method: str, path: str, status: int, seconds: float, size: int, client: str, request_id: str) -> None:
    """Log an answered request.

    Args:
        method: of HTTP.
        path: without the query string.
        status: of the answer; 499 if the client left before it.
        seconds: from the headers to the end of the answer.
        size: bytes of the answer's body.
        client: the address of the client.
        request_id: of ``X-Request-ID``.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    line = Access(now, method, path[:LONGEST_PATH], status, round(seconds * 1000, 3), size, client, request_id)
    ACCESS.info("%s", msgspec.json.encode(line._asdict()).decode())


def show_accesses() -> None:
    """Send the lines to the standard error, as they are, unless the user has set up this logger."""
    if not ACCESS.handlers:
        handler = _StandardError()
        handler.setFormatter(logging.Formatter("%(message)s"))
        ACCESS.addHandler(handler)
        ACCESS.propagate = False
    ACCESS.setLevel(logging.INFO)


class _StandardError(logging.Handler):
    """Write to the current ``sys.stderr``, which a test replaces."""

    def emit(self, record: logging.LogRecord) -> None:
        write_line(sys.stderr, self.format(record))
