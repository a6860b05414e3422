"""Errors that a client reads: a status, a kind, and one line that a person understands."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import msgspec
from starlette.responses import Response

from dssm_lightning.utils.errors import UserError

LONGEST = 1_000
"""Characters of a message; the rest is cut."""
TYPES = {
    400: "malformed",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "slow_body",
    409: "conflict",
    411: "length_required",
    413: "too_large",
    415: "unsupported_media_type",
    422: "validation",
    429: "overloaded",
    431: "headers_too_large",
    500: "internal",
    503: "unavailable",
    504: "timeout",
}
"""The ``error_type`` of each status."""


class RequestError(Exception):
    """A request that is refused.

    Args:
        status: the HTTP status.
        message: one line: what was found, and what was possible.
        error_type: the kind of error; by default that of the status.
        headers: further headers of the answer.

    Example:
        >>> RequestError(404, "no candidate has id = 'x'").error_type
        'not_found'
    """

    def __init__(
        self, status: int, message: str, error_type: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, one_line(message)
        self.error_type = TYPES.get(status, "error") if error_type is None else error_type
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """Return the answer to the request."""
        return error_response(self.status, self.message, self.error_type, self.headers)


def error_response(
    status: int, message: str, error_type: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer with the body ``{"error", "error_type"}``.

    Example:
        >>> error_response(404, "no such page").body
        b'{"error":"no such page","error_type":"not_found"}'
    """
    return Response(error_body(status, message, error_type), status, headers, "application/json")


def error_body(status: int, message: str, error_type: str | None = None) -> bytes:
    """Return the body of an error, for those who write an answer without Starlette."""
    kind = TYPES.get(status, "error") if error_type is None else error_type
    return msgspec.json.encode({"error": one_line(message), "error_type": kind})


def one_line(message: str) -> str:
    """Return a message as one line of valid Unicode, with its end cut off if it is very long.

    Example:
        >>> one_line("no\\n  such \\ud800 file")
        'no such \\\\ud800 file'
    """
    text = " ".join(message.split()).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"


@contextlib.contextmanager
def refusing_values() -> Iterator[None]:
    """Turn what a feature, a filter or a retriever refuses into an answer with status 422.

    Raises:
        RequestError: a :class:`~dssm_lightning.utils.errors.UserError`, or a value that is nested too deeply.
    """
    try:
        yield
    except UserError as error:
        raise RequestError(422, str(error)) from error
    except RecursionError as error:
        raise RequestError(422, "a value is nested too deeply") from error
