"""A server of a small application in a thread of the test, and sockets that say to it what no client would."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from dssm_lightning.serving.connection_config import ConnectionConfig
from dssm_lightning.serving.connections import Connection
from dssm_lightning.serving.graceful_server import GracefulServer
from dssm_lightning.serving.settings import Limits

TIMEOUT = 20.0
App = Callable[[Any, Any, Any], Any]
GET = b"GET /%s HTTP/1.1\r\nHost: test\r\n\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the path, the body's length and headers; ``/slow`` takes .3 s, ``/early`` does not read the body."""
    size, path = 0, scope["path"]
    if path != "/early":
        while (message := await receive()).get("more_body") or message["type"] == "http.request":
            size += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        if message["type"] == "http.disconnect":
            return
    if path == "/slow":
        await asyncio.sleep(0.3)
    body = json.dumps({"path": path, "size": size, "headers": len(scope["headers"])}).encode()
    if path == "/large":
        body = b"x" * 20_000_000
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 413 if path == "/early" else 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Answer(NamedTuple):
    """One answer on a connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def is_last(self) -> bool:
        return self.headers.get("connection") == "close"


class Wire:
    """A connection on which a test sends bytes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> Answer | None:
        """The next answer; None at the end of the connection."""
        try:
            line = self._file.readline()
        except ConnectionResetError:
            return None
        if not line:
            return None
        headers = {}
        while (header := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = header.decode("latin-1").strip().partition(": ")
            headers[name.lower()] = value
        return Answer(int(line.split()[1]), headers, self._file.read(int(headers["content-length"])))

    def is_closed(self, within: float = TIMEOUT) -> bool:
        """Whether the server closes the connection without a further byte."""
        self.socket.settimeout(within)
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(TIMEOUT)

    def close(self) -> None:
        self._file.close()
        self.socket.close()


class WireServer:
    """A running server."""

    def __init__(self, app: App, limits: Limits, loop: str) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.port = self.socket.getsockname()[1]
        self.refused: list[int] = []
        self._wires: list[Wire] = []
        self.config = ConnectionConfig(
            app,
            limits,
            lambda refusal: self.refused.append(refusal.status),
            http=Connection,
            ws="none",
            loop=loop,
            lifespan="off",
            log_config=None,
            timeout_keep_alive=limits.keep_alive,
            timeout_graceful_shutdown=15,
        )
        self.server = GracefulServer(self.config)
        self._thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)
        self._thread.start()
        wait_until(lambda: self.server.started)

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)

    @property
    def tasks(self) -> int:
        return len(self.server.server_state.tasks)

    def wire(self) -> Wire:
        made = Wire(self.port)
        self._wires.append(made)
        return made

    def close(self) -> None:
        for wire in self._wires:
            wire.close()
        self.stop()
        self.socket.close()

    def stop(self) -> None:
        self.server.soon(self.server.stop)
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()


def wait_until(condition: Callable[[], bool], seconds: float = TIMEOUT) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


@contextlib.contextmanager
def running(app: App = echo, loop: str = "uvloop", **limits: Any) -> Iterator[WireServer]:
    """A server for the time of a block."""
    made = WireServer(app, Limits(**limits), loop)
    try:
        yield made
    finally:
        made.close()
