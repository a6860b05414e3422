"""What each process of a server is made of."""

from __future__ import annotations

import asyncio
import contextlib
import math
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from threadpoolctl import threadpool_limits

from dssm_lightning.serving.app import build_app
from dssm_lightning.serving.connection_config import ConnectionConfig
from dssm_lightning.serving.connections import Connection
from dssm_lightning.serving.errors import RequestError
from dssm_lightning.serving.file_watch import FileWatch
from dssm_lightning.serving.graceful_server import SIGNALS, GracefulServer
from dssm_lightning.serving.listening import BACKLOG
from dssm_lightning.serving.refusals import Refusal
from dssm_lightning.serving.serving import Serving
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.freed_memory import give_memory_back
from dssm_lightning.utils.logger import LOGGER

AGAIN_S = 0.2
"""Seconds after which a reload is tried again that found another one under way."""
SPARE_S = 5.0
"""Seconds that requests have beyond their time limit when the server stops."""


def descriptions(serving: Serving) -> list[str]:
    """Return what is said of the bundles when they are served."""
    return [f"{bundle.name} ({len(bundle.retriever):,} candidates)" for bundle in serving.bundles.values()]


def make_server(
    serving: Serving,
    started: Callable[[], None] = lambda: None,
    signals: Sequence[int] = SIGNALS,
    tells: bool = True,
    is_alone: bool = True,
) -> GracefulServer:
    """Return the server of one process.

    Args:
        serving: its bundles.
        started: is called when requests are accepted.
        signals: what it reacts to.
        tells: whether the log tells of replaced files.
        is_alone: no other process serves on its socket.
    """
    limits = serving.settings.limits
    # Answers tell what was cut off, and Pillow warns of broken pictures. Python keeps each text, which clients choose.
    warnings.filterwarnings("ignore", module=r"dssm_lightning|PIL\b")
    give_memory_back()
    threadpool_limits(serving.settings.threads, "blas")  # threads of NumPy would wait for each other, on the processor

    def refused(refusal: Refusal) -> None:
        serving.telemetry.count_error(refusal.error_type)

    app = build_app(serving)
    life = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def watched(app: Any) -> AsyncIterator[Any]:
        async with life(app) as state:
            watch = asyncio.create_task(FileWatch(serving, tells).run())
            started()
            yield state
            watch.cancel()

    app.router.lifespan_context = watched
    config = ConnectionConfig(
        app,
        limits,
        refused,
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=serving.settings.access_log,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=math.ceil(limits.keep_alive),
        timeout_graceful_shutdown=math.ceil(limits.timeout + SPARE_S),
    )
    return GracefulServer(config, serving.drain, Reloading(serving).request, signals, is_alone)


class Reloading:
    """Reloads on request. A request during a reload is followed by another reload, because files may have changed."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._task: asyncio.Task[None] | None = None
        self._is_asked = False

    def request(self) -> None:
        """Reload, in the event loop; what is wrong is logged."""
        self._is_asked = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._is_asked:
            self._is_asked = False
            try:
                await self._serving.reload()
            except RequestError:  # a client has asked for a reload that has not ended
                self._is_asked = True
                await asyncio.sleep(AGAIN_S)
            except (UserError, OSError) as error:
                LOGGER.error(f"the reload is refused, and what was served is served further: {error}")
            except Exception:
                LOGGER.exception("the reload failed, and what was served is served further")
