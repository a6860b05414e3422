"""Clients that carry out plans, many at once, and note what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any

from fuzzing.answers import Answer, NoAnswerError, take, take_all
from fuzzing.plans import CLOSE, HALF, RESET, Plan
from fuzzing.tally import Tally

PATIENCE_S = 90.0
"""Seconds after which a plan hangs. The longest one that does not waits for several time limits of the server."""
CLIENTS, SLOW_CLIENTS = 32, 64
"""Plans that are carried out at once, and slow ones beside them."""
_ADDRESSES = 200


class Wire(asyncio.Protocol):
    """A connection that keeps what arrives."""

    def __init__(self) -> None:
        self.data, self.is_over, self._is_gone = bytearray(), False, False
        self._changed, self._writable = asyncio.Event(), asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Keep what arrives."""
        self.data += data
        self._changed.set()

    def eof_received(self) -> None:
        """Note that the server sends nothing more."""
        self.is_over = True
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end; a reset is one as well."""
        self.is_over = self._is_gone = True
        self._changed.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """Wait before more is sent."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on sending."""
        self._writable.set()

    async def send(self, data: bytes) -> None:
        """Send, and wait until the server has read most of it, or has left."""
        if data and not self.transport.is_closing():
            self.transport.write(data)
            await self._writable.wait()

    async def answer(self, bodiless: bool) -> Answer | None:
        """Return the next answer that is not an interim one; None: the connection has ended before it."""
        while True:
            found = take(self.data, bodiless)
            if found is not None and found.status >= 200:
                return found
            if found is None:
                if self.is_over:
                    return None
                self._changed.clear()
                await self._changed.wait()

    async def read_all(self) -> None:
        """Wait for the end of the connection."""
        while not self.is_over:
            self._changed.clear()
            await self._changed.wait()

    def leave(self, reset: bool = False) -> None:
        """Close the connection without reading what waits."""
        made = self.transport.get_extra_info("socket")
        if reset and made is not None:
            with contextlib.suppress(OSError):
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if not self._is_gone:
            self.transport.abort() if reset or self.is_over else self.transport.close()


class Clients:
    """Carries out plans.

    Args:
        port: of the server, on this machine.
        tally: what counts.
        count: plans at once.
    """

    def __init__(self, port: int, tally: Tally, count: int = CLIENTS) -> None:
        self._port, self._tally, self._count = port, tally, count
        self._numbers = itertools.count()
        self._slow: set[asyncio.Task[None]] = set()

    async def run(self, plans: Iterable[Plan]) -> None:
        """Carry out all plans, and close all connections."""
        waiting = iter(plans)
        self._few = asyncio.Semaphore(SLOW_CLIENTS)
        await asyncio.gather(*(self._client(waiting) for _ in range(self._count)))
        await asyncio.gather(*self._slow)

    async def _client(self, plans: Iterator[Plan]) -> None:
        wire: Wire | None = None
        for plan in plans:
            if plan.is_kept:
                wire = await self._patient(plan, self._ask(plan, wire))
            elif plan.is_slow:
                await self._few.acquire()
                task = asyncio.create_task(self._slowly(plan))
                self._slow.add(task)
                task.add_done_callback(self._slow.discard)
            else:
                await self._patient(plan, self._alone(plan))
        if wire is not None:
            wire.leave()

    async def _slowly(self, plan: Plan) -> None:
        try:
            await self._patient(plan, self._alone(plan))
        finally:
            self._few.release()

    async def _patient(self, plan: Plan, doing: Coroutine[Any, Any, Wire | None]) -> Wire | None:
        self._tally.begin(plan)
        try:
            done: Wire | None = await asyncio.wait_for(doing, PATIENCE_S)
        except NoAnswerError as error:
            self._tally.fault(plan, str(error))
        except (TimeoutError, asyncio.TimeoutError):
            self._tally.fault(plan, f"no end within {PATIENCE_S:g} s")
        except OSError as error:
            self._tally.fault(plan, f"no connection: {error!r}")
        else:
            return done
        return None

    async def _connect(self) -> Wire:
        # Each address has its own ports: those of connections that have ended stay taken for a minute.
        source = (f"127.0.0.{2 + next(self._numbers) % _ADDRESSES}", 0)
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(Wire, "127.0.0.1", self._port, local_addr=source)
        return wire

    async def _ask(self, plan: Plan, wire: Wire | None) -> Wire | None:
        """Ask on a connection that is kept; return it if it can be used again."""
        if wire is None or wire.is_over:
            wire = await self._connect()
        bodiless = plan.parts[0].startswith(b"HEAD ")
        await wire.send(plan.parts[0])
        answer = await wire.answer(bodiless)
        self._tally.end(plan, [] if answer is None else [answer], bodiless)
        if answer is not None and not answer.is_last and not wire.is_over:
            return wire
        wire.leave()
        return None

    async def _alone(self, plan: Plan) -> None:
        """Carry out a plan on a connection of its own."""
        wire = await self._connect()
        try:
            for part in plan.parts:
                await wire.send(part)
                if plan.pause:
                    await asyncio.sleep(plan.pause)
            if plan.end in (CLOSE, RESET):
                wire.leave(reset=plan.end == RESET)
                return
            if plan.end == HALF and not wire.transport.is_closing():
                with contextlib.suppress(OSError):
                    wire.transport.write_eof()
            await wire.read_all()
        finally:
            wire.leave()
        self._tally.end(plan, take_all(wire.data), bodiless=True)
