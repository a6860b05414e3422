"""What a server says: read strictly, and judged."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class NoAnswerError(Exception):
    """Bytes that are no answer of HTTP."""


class Answer(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_last(self) -> bool:
        """Whether it says that the connection ends with it."""
        return "close" in self.headers.get("connection", "").lower()

    def fault(self, bodiless: bool) -> str | None:
        """Return what is wrong with it beside its status; None if nothing is.

        Args:
            bodiless: whether it may have no body, as an answer to HEAD.
        """
        if self.status < 200:
            return None
        if self.headers.get("x-content-type-options") != "nosniff":
            return "an answer without security headers"
        if b"Traceback" in self.body:
            return "a traceback"
        if not self.body:
            return None if bodiless or self.status in (200, 204, 304) else "an error without a body"
        if self.headers.get("content-type") == "application/json":
            try:
                value = msgspec.json.decode(self.body)
            except msgspec.DecodeError:
                return "no JSON"
            if self.status >= 400 and (not isinstance(value, dict) or value.keys() != {"error", "error_type"}):
                return "an error of another form"
        elif self.status >= 400:
            return "an error that is no JSON"
        return None


def take(data: bytearray, bodiless: bool = False) -> Answer | None:
    """Take the first answer off some bytes; None if it has not arrived whole.

    Args:
        data: what has arrived; the answer is removed.
        bodiless: whether the answer is one to HEAD.

    Raises:
        NoAnswerError: the bytes are no answer.
    """
    if not data.startswith(b"HTTP/1.1 "[: len(data)]):
        raise NoAnswerError(f"no status: {bytes(data[:60])!r}")
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = bytes(data[:end]).decode("latin-1").split("\r\n")
    number = first[9:12]
    if not (number.isdigit() and "100" <= number < "600" and first[12:13] == " "):
        raise NoAnswerError(f"no status: {first[:60]!r}")
    if not all(": " in line or line.endswith(":") for line in lines):
        raise NoAnswerError(f"a header without a value in {lines!r:.300}")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    status, size = int(number), 0
    if not bodiless and status >= 200 and status not in (204, 304):
        given = headers.get("content-length", "")
        if not given.isdigit():
            raise NoAnswerError(f"status {status} without a length")
        size = int(given)
    start = end + 4
    if len(data) < start + size:
        return None
    body = bytes(data[start : start + size])
    del data[: start + size]
    return Answer(status, headers, body)


def take_all(data: bytearray) -> list[Answer]:
    """Take all answers off what a connection has said; which of the requests were HEAD is not known.

    Raises:
        NoAnswerError: the bytes are no answers, or one of them is cut.
    """
    found = []
    while data:
        start = data.find(b"\r\n\r\n") + 4
        bodiless = start >= 4 and (start == len(data) or data.startswith(b"HTTP/1.1 ", start))
        answer = take(data, bodiless)
        if answer is None:
            raise NoAnswerError(f"an answer that is cut: {bytes(data[:60])!r}, {len(data)} bytes")
        found.append(answer)
    return found
