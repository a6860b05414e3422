"""uvicorn's server, which ends and reloads without a lost request."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import cast

from uvicorn.server import Server

from dssm_lightning.serving.connection_config import ConnectionConfig
from dssm_lightning.serving.connections import Connection
from dssm_lightning.serving.listening import admit_no_more

HANDSHAKE_S = 0.05
"""Seconds that connections which have begun have to become complete, before the socket is closed."""
INTERRUPTED = 130
"""Exit status after a second Ctrl-C."""
HANGUP: int = getattr(signal, "SIGHUP", -1)
"""The signal to reload; there is none on Windows."""
SIGNALS = tuple(number for number in (signal.SIGINT, signal.SIGTERM, HANGUP) if number >= 0)


class GracefulServer(Server):
    """Serves on sockets that are bound already. SIGTERM and Ctrl-C end it, a second Ctrl-C at once; SIGHUP reloads.

    In the end no more connections are accepted, those that the system has accepted are answered, and each answer says
    that it is the last one. :meth:`run` returns; the signal is not raised again, so that the status is 0.

    Args:
        config: of uvicorn and of connections.
        drain: called when a signal asks the server to end.
        reload: is called on SIGHUP, in the event loop.
        signals: what it reacts to.
        is_alone: no other process accepts on its sockets.
    """

    config: ConnectionConfig

    def __init__(
        self,
        config: ConnectionConfig,
        drain: Callable[[], None] = lambda: None,
        reload: Callable[[], None] = lambda: None,
        signals: Sequence[int] = SIGNALS,
        is_alone: bool = True,
    ) -> None:
        super().__init__(config)
        self._drain, self._reload, self._signals = drain, reload, signals
        self._is_alone, self._had_terminal = is_alone, has_terminal()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._early: list[Callable[[], None]] = []  # what is to be called when the loop runs

    def stop(self) -> None:
        """End, after all requests that have arrived are answered. Call it in the event loop."""
        if not self.should_exit:
            self._drain()
            self.config.is_ending = True
            for connection in self.server_state.connections:
                cast(Connection, connection).ends_soon = True
            self.should_exit = True

    def soon(self, call: Callable[[], None]) -> None:
        """Call something in the event loop, from another thread."""
        if self._loop is None:
            self._early.append(call)
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(call)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """React to signals, in the main thread."""
        self._loop = asyncio.get_running_loop()
        for call in self._early:
            self._loop.call_soon(call)
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._heard) for number in self._signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.should_exit:
            os._exit(INTERRUPTED)
        reloads = number == HANGUP and not (self._had_terminal and not has_terminal())
        self.soon(self._reload if reloads else self.stop)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, answer all that has arrived, and end."""
        if self._is_alone:
            for each in sockets or []:
                admit_no_more(each)
            await asyncio.sleep(HANDSHAKE_S)
        waiting = _accept_waiting(sockets or [])
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for each in waiting:
            await loop.connect_accepted_socket(self._connection, each)
        await super().shutdown(sockets)

    def _connection(self) -> Connection:
        return Connection(self.config, self.server_state, self.lifespan.state)


def _accept_waiting(sockets: Sequence[socket.socket]) -> list[socket.socket]:
    """Accept the connections that the system has already made, and which closing the socket would reset."""
    accepted = []
    for each in sockets:
        with contextlib.suppress(OSError):  # the last one: there is none
            while True:
                accepted.append(each.accept()[0])
    for connection in accepted:
        connection.setblocking(False)
    return accepted


def has_terminal() -> bool:
    """Return whether the process has a terminal that can be opened, which a hang-up takes away."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True
