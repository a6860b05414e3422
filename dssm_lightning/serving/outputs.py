"""The end of a connection: what was answered reaches the client, and a client that does not read is left."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

LINGER_S = 2.0
"""Seconds for which a client that still sends can read its last answer."""


class Output:
    """The transport of a connection, as answers use it. Closing it is up to the connection, which calls :meth:`end`.

    Args:
        transport: the transport.
        loop: of the transport.
        stalled_s: seconds after which a client that has read nothing of what waits is left.
        close: what an answer calls that is the last one.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        stalled_s: float,
        close: Callable[[], None],
    ) -> None:
        self.is_closing, self.close = transport.is_closing, close
        self.has_ended = False
        self._transport, self._loop, self._stalled_s = transport, loop, stalled_s
        self._timer: asyncio.TimerHandle | None = None

    def write(self, data: bytes) -> None:
        """Write, unless the client has left: the answer to a pipelined request learns of that too late."""
        if not self.is_closing():
            self._transport.write(data)

    def has_arrived(self) -> bool:
        """Return whether bytes, or the end of the stream, have arrived that were not read yet."""
        socket = self._transport.get_extra_info("socket")
        return socket is not None and has_arrived(socket.fileno())

    def end(self, still_sends: bool) -> None:
        """Close the connection when all is written.

        Args:
            still_sends: the client may be sending. The connection is then closed for writing only, and what arrives is
                read and forgotten for a while: bytes that nobody reads would make the system reset the connection, by
                which a client may lose its answer.
        """
        if self.has_ended or self.is_closing():
            return
        self.has_ended = True
        if still_sends and self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()
        self._watch(LINGER_S, self._leave)

    def watch_stalling(self) -> None:
        """Leave a client that has not read anything for a while."""
        if not self.has_ended:
            self._watch(self._stalled_s, self._leave, self._transport.get_write_buffer_size())

    def stop_watching(self) -> None:
        """Forget the watch: the client reads."""
        if not self.has_ended:
            self.forget()

    def forget(self) -> None:
        """Cancel what was planned, since the connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self, seconds: float, then: Callable[..., None], *values: int) -> None:
        self.forget()
        self._timer = self._loop.call_later(seconds, then, *values)

    def _leave(self, before: int | None = None) -> None:
        """Abort, unless the client reads more of what waits for it."""
        waiting = self._transport.get_write_buffer_size()
        if waiting and (before is None or waiting < before):
            self._watch(self._stalled_s, self._leave, waiting)
        else:
            self._transport.abort()


def has_arrived(descriptor: int) -> bool:
    """Return whether a socket has bytes, or the end of its stream, that were not read yet.

    Example:
        >>> import socket
        >>> one, other = socket.socketpair()
        >>> with one, other:
        ...     before = has_arrived(one.fileno())
        ...     _ = other.send(b"x")
        ...     before, has_arrived(one.fileno())
        (False, True)
    """
    if descriptor < 0:
        return False
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([descriptor], [], [], 0)[0])
