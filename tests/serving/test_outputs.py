"""What becomes of answers to clients that have left."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import Any

import pytest
from helpers.http_wire import GET, running, wait_until

RESET = struct.pack("ii", 1, 0)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_client_that_leaves_pipelined_requests_behind_is_no_error(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The first request is answered into a closed connection: uvicorn tells only the last one that its client left."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    begun: list[str] = []
    ended: list[str] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        begun.append(scope["path"])
        await asyncio.sleep(0.15)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"200000")]})
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            await send({"type": "http.response.body", "body": b"x" * 100_000})
        finally:
            ended.append(scope["path"])

    with caplog.at_level(logging.WARNING), running(slow, loop) as server:
        for _ in range(3):
            wire = server.wire()
            wire.send(GET % b"a" + GET % b"b" + GET % b"c")
            wait_until(lambda: len(begun) > len(ended))
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            wire.close()
            wait_until(lambda: len(begun) == len(ended))
        wait_until(lambda: not server.connections)
        assert set(begun) <= {"/a", "/b"}
    assert not caplog.records
