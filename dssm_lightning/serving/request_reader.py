"""How a connection reads requests: uvicorn's protocol of HTTP/1.1, with limits of size and time."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dssm_lightning.serving.connection_config import ConnectionConfig, FullFlow
from dssm_lightning.serving.refusals import Refusal
from dssm_lightning.utils.logger import LOGGER

SLICE = 16_384
"""Bytes that are parsed at once."""
MOST_PIPELINED = 16
"""Requests of a connection that wait for the answer to one before them; what follows is not parsed yet."""
MOST_HEADERS = 256
_OF_UPGRADES = (b"upgrade", b"http2-settings")
HEAD, BODY, BETWEEN = "head", "body", "between"
"""What the parser is in."""


class _RefusedError(Exception):
    """Stops the parser."""


def _said(error: httptools.HttpParserError) -> str:
    cause = error.__context__  # of an event of ours
    if cause is None:
        return str(error) or type(error).__name__
    if not isinstance(cause, httptools.HttpParserError | UnicodeError | AttributeError):
        LOGGER.error("a request could not be read", exc_info=cause)
    return "its address is not valid"


class RequestReader(HttpToolsProtocol):
    """Reads requests, and begins to answer them. What ends a connection is up to the subclass."""

    def __init__(self, config: ConnectionConfig, *arguments: Any, **named: Any) -> None:
        super().__init__(config, *arguments, **named)
        self.limits = config.limits
        self._first_timer: asyncio.TimerHandle | None = None  # until anything has arrived
        self._head_timer: asyncio.TimerHandle | None = None  # until the headers of a request have arrived
        self._part = BETWEEN
        self._head_bytes = self._frame_bytes = self._body_bytes = 0
        self._held = b""  # has arrived, and is not parsed yet
        self._again = b""  # headers that are to be parsed again, without those that ask for another protocol
        self.is_deaf = False  # nothing more is parsed
        self.ends_soon = config.is_ending  # a request that arrives is the last one
        self.unanswered = 0  # requests whose headers have arrived
        self._persists = True  # whether the request that arrives leaves the connection open

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to listen."""
        stream = cast(asyncio.Transport, transport)
        super().connection_made(stream)
        self.flow: FullFlow = FullFlow(stream)
        self.close_if_silent(self.limits.header_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """End all that waits."""
        self.stop_reading()
        self.pipeline.clear()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def end(self, still_sends: bool = False) -> None:
        """Close the connection when all is written."""
        raise NotImplementedError

    def refuse(self, refusal: Refusal) -> None:
        """Answer what is no request, and end."""
        raise NotImplementedError

    def answer_begins(self) -> None:
        """Prepare ``self.cycle``, which answers the request that arrives."""
        raise NotImplementedError

    @property
    def still_sends(self) -> bool:
        """Whether a part of a request has arrived that is not answered."""
        return self._part != BETWEEN or bool(self._held) or bool(self.pipeline)

    @property
    def is_in_body(self) -> bool:
        """Whether a request's headers have arrived, and its body not yet."""
        return self._part == BODY

    def close_if_silent(self, seconds: float) -> None:
        """Close the connection if nothing arrives, without an answer: browsers open connections in advance."""
        self._stop_timers()
        self._first_timer = self.loop.call_later(seconds, self.end)

    def stop_reading(self) -> None:
        """Parse nothing more of what arrives."""
        self.is_deaf = True
        self._held, self.flow.full = b"", False
        self._stop_timers()

    # -- what arrives --------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, or keep it if many requests wait."""
        if self.is_deaf:
            return
        self._unset_keepalive_if_required()
        if self._held or self.pipeline or len(data) > SLICE:
            self._parse_slices(memoryview(self._held + data))
        else:
            self._parse(data)

    def _parse_slices(self, data: memoryview) -> None:
        self._held = b""
        for start in range(0, len(data), SLICE):
            if len(self.pipeline) >= MOST_PIPELINED:
                self._held = bytes(data[start:])
                self.flow.pause_reading()
                break
            self._parse(data[start : start + SLICE])
            if self.is_deaf:
                break
        self.flow.full = bool(self._held)

    def _parse(self, data: bytes | memoryview) -> None:
        try:
            self._feed(data)
            self._check_sizes(len(data))
        except httptools.HttpParserError as error:
            if not self.is_deaf:
                self.refuse(Refusal(400, f"this is no HTTP request: {_said(error)}"))
        if self._part != HEAD or self.is_deaf:
            self._stop_timers()
        elif self._head_timer is None:
            self._stop_timers()
            self._head_timer = self.loop.call_later(self.limits.header_timeout, self._refuse_slow_head)

    def _feed(self, data: bytes | memoryview) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            rest, self._again = self._again + bytes(data[error.args[0] :]), b""
            if rest and not self.is_deaf:
                self._feed(rest)

    def _check_sizes(self, arrived: int) -> None:
        """Bound what the parser keeps to itself: a header without end, or what stands between the parts of a body."""
        if self._part == HEAD:
            self._head_bytes += arrived
            if self._head_bytes > self.limits.max_header_bytes + SLICE:
                self._refuse_head()
        elif self._part == BODY:
            self._frame_bytes += arrived
            if self._frame_bytes > 8 * self._body_bytes + self.limits.max_header_bytes + 2 * SLICE:
                self.refuse(Refusal(400, "this is no HTTP request: a body of little but chunk sizes or trailers"))

    def read_held(self) -> None:
        """Parse what waited for answers to earlier requests."""
        if self._held and not self.is_deaf:
            self._parse_slices(memoryview(self._held))
            if not self._held and not self.pipeline:
                self.flow.resume_reading()

    def give_up_body(self) -> None:
        """Let go of a request whose body does not arrive: its answer is not given."""
        if self._part != BODY:
            return
        self._part = BETWEEN
        if self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()
            self.unanswered -= 1
        elif not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.unanswered -= 1

    def _stop_timers(self) -> None:
        for timer in (self._first_timer, self._head_timer):
            if timer is not None:
                timer.cancel()
        self._first_timer = self._head_timer = None

    # -- the parser's events -------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._part = HEAD
        self._head_bytes = self._frame_bytes = self._body_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; one after a body means nothing here."""
        if self._part == HEAD:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer. Until the request has arrived whole, its answer is to be the connection's last."""
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._again = self._without_upgrade()
            return
        size, hosts = len(self.url), 0
        for name, value in self.headers:
            size += len(name) + len(value) + 4
            hosts += name == b"host"
        if size > self.limits.max_header_bytes or len(self.headers) > MOST_HEADERS:
            self._refuse_head()
            raise _RefusedError
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            self.refuse(Refusal(400, f"this is no HTTP request: it has {hosts or 'no'} header Host; one is needed"))
            raise _RefusedError
        super().on_headers_complete()
        self._part = BODY
        self.unanswered += 1
        self._persists = self.cycle.keep_alive
        self.cycle.keep_alive = False
        self.answer_begins()

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has arrived whole."""
        if self._again:
            return
        self._part = BETWEEN
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._persists and not self.ends_soon
        super().on_message_complete()

    def _without_upgrade(self) -> bytes:
        """Return the headers as they are in HTTP/1.1 only: the parser takes a request for another protocol as bodiless.

        Java's own client asks for HTTP/2 so with each request, also with one that has a body.
        """
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in self.headers if name not in _OF_UPGRADES]
        return b"\r\n".join([*lines, b"", b""])

    def _refuse_head(self) -> None:
        most = self.limits.max_header_bytes
        self.refuse(Refusal(431, f"the headers have more than {most:,} bytes, or are more than {MOST_HEADERS}"))

    def _refuse_slow_head(self) -> None:
        self.refuse(Refusal(408, f"the headers did not arrive within {self.limits.header_timeout:g} s"))
