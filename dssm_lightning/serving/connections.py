"""One connection: uvicorn's protocol of HTTP/1.1, with limits, and with ends at which no answer is lost.

What uvicorn does otherwise, and :class:`Connection` does:

- The headers have a time and a size, connections have a number, and a client that does not read its answer is left.
- What is no HTTP is answered by JSON, after the answers to the requests before it.
- A client that has sent all that it wants to send (a half-closed socket) still gets its answers.
- An answer that is given before its request has arrived whole says that it is the last one.
- A connection on which a request has arrived is not closed for being idle.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from dssm_lightning.serving.connection_config import ConnectionConfig
from dssm_lightning.serving.outputs import LINGER_S, Output
from dssm_lightning.serving.refusals import Refusal, refusing_app, too_many_connections
from dssm_lightning.serving.request_reader import RequestReader

LATE_S = 0.05
"""Seconds after which an idle connection is looked at again, because something has arrived."""
MOMENT_S = 1.0
"""Seconds for which an idle connection stays open when the server stops: a request may be on its way."""


class Connection(RequestReader):
    """A connection of a client.

    Example:
        >>> from dssm_lightning.serving.settings import Limits
        >>> async def app(scope, receive, send): ...
        >>> config = ConnectionConfig(app, Limits(max_connections=100), http=Connection, ws="none")
        >>> config.limits.max_connections
        100
    """

    config: ConnectionConfig

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin. On a connection too many, only requests of operators are answered; far too many are closed."""
        super().connection_made(transport)
        self._output = Output(self.transport, self.loop, self.limits.body_timeout, self.end)
        self._refusal: Refusal | None = None  # to be written after the answers
        self._client_is_done = False  # it sends nothing more
        most = self.limits.max_connections
        if len(self.connections) > most:
            self._refuse_surplus(too_many_connections(most), len(self.connections) > most + most // 8 + 16)

    def _refuse_surplus(self, refusal: Refusal, at_once: bool) -> None:
        self.config.refused(refusal)
        self.ends_soon = True
        if at_once:
            self.transport.write(refusal.as_http())
            self.transport.close()
            self.stop_reading()
        else:
            self.app = refusing_app(self.app, refusal)
            self.close_if_silent(LINGER_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """End all that waits."""
        self._output.forget()
        super().connection_lost(exc)

    def answer_begins(self) -> None:
        """Let the answer close the connection in our way."""
        self.cycle.transport = cast(asyncio.Transport, self._output)

    def client_is_done(self) -> bool:
        """Return whether the connection stays open to answer requests that have arrived whole."""
        self._client_is_done = True
        if not self.is_deaf:
            self.give_up_body()
            self.stop_reading()
        return self.unanswered > 0 and not self._output.has_ended

    eof_received: Any = client_is_done  # for uvicorn it returns nothing

    def on_response_complete(self) -> None:
        """Go on with the next request, or come to the end."""
        self.unanswered -= 1
        if self._output.has_ended or self.transport.is_closing():
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        self.read_held()
        if self.unanswered:
            return
        if self.is_deaf:
            self._finish()
        elif self.ends_soon:
            self.shutdown()

    # -- the end -------------------------------------------------------------------------------------------------------

    def refuse(self, refusal: Refusal) -> None:
        """Answer what is no request, after the answers to the requests before it, and end."""
        self.config.refused(refusal)
        self._refusal = None if self.is_in_body and self.cycle.response_started else refusal
        self.give_up_body()
        self.stop_reading()
        if not self.unanswered:
            self._finish()

    def _finish(self) -> None:
        """Write the refusal that waited for answers, if there is one, and end."""
        refusal, self._refusal = self._refusal, None
        if refusal is not None:
            self._output.write(refusal.as_http())
        self.end(still_sends=refusal is not None)

    def end(self, still_sends: bool = False) -> None:
        """Close the connection when all is written.

        Args:
            still_sends: the client may be sending what nobody waits for.
        """
        still_sends = still_sends or self.still_sends or self._output.has_arrived()
        self.stop_reading()
        self.pipeline.clear()
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        self._output.end(still_sends and not self._client_is_done)

    def shutdown(self) -> None:
        """Answer what has arrived, and what arrives within a moment, and end."""
        self.ends_soon = True
        if self._output.has_ended or self.transport.is_closing():
            return
        if self.unanswered:
            self.cycle.keep_alive = False
        else:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(MOMENT_S, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, unless a request has just arrived or is arriving."""
        if self._output.has_arrived():
            self.timeout_keep_alive_task = self.loop.call_later(LATE_S, self.timeout_keep_alive_handler)
        elif not self.still_sends:
            self.end()

    # -- clients that do not read --------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Wait for a client to read, but not for ever."""
        super().pause_writing()
        self._output.watch_stalling()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._output.stop_watching()
