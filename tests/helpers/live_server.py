"""A server of some bundles on a free port of this machine, in a thread of the tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from dssm_lightning.serving.app import build_app
from dssm_lightning.serving.serving import Serving
from dssm_lightning.serving.settings import ServingSettings, name_bundles


@contextmanager
def live_server(*bundles: str | Path, **settings: Any) -> Iterator[str]:
    """Yield the address of a server that serves some bundles, and end it afterwards."""
    serving = Serving(ServingSettings(name_bundles(list(map(str, bundles))), **settings))
    config = uvicorn.Config(build_app(serving), port=0, log_level="critical", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{_port(server, thread)}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive()


def _port(server: uvicorn.Server, thread: threading.Thread) -> int:
    end = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive(), "the server could not start"
        assert time.monotonic() < end, "the server did not start in time"
        time.sleep(0.01)
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port
