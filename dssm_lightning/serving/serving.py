"""What a server serves: its bundles, the batches of their work, and the swap of all bundles at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request

from dssm_lightning.serving.answers import json_bytes
from dssm_lightning.serving.batching import Batcher
from dssm_lightning.serving.errors import RequestError
from dssm_lightning.serving.info import server_info
from dssm_lightning.serving.jobs import Work
from dssm_lightning.serving.served_bundle import ServedBundle, open_bundles
from dssm_lightning.serving.settings import ServingSettings
from dssm_lightning.serving.telemetry import Telemetry
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import LOGGER
from dssm_lightning.utils.suggestions import did_you_mean

_LATER = {"Retry-After": "1"}


class Serving:
    """The bundles of a server, and the work that requests ask of them.

    Args:
        settings: of the server.
        telemetry: what counts; a new one by default.

    Example:
        >>> from dssm_lightning.serving.settings import name_bundles
        >>> serving = Serving(ServingSettings(name_bundles(["runs/emoji"])))
        >>> serving.is_ready, serving.why_not_ready
        (False, 'the bundles are being loaded')
    """

    def __init__(self, settings: ServingSettings, telemetry: Telemetry | None = None) -> None:
        self.settings = settings
        self.telemetry = Telemetry() if telemetry is None else telemetry
        self.bundles: dict[str, ServedBundle] = {}
        self.batcher = Batcher(settings.limits, self.telemetry.count_batch, self.telemetry.set_queue)
        self.is_draining = False
        self.changed: str | None = None
        """What was found to be wrong with the files of a bundle; set by who watches them."""
        self.tell_others: Callable[[], None] | None = None
        """What lets the other workers reload, after a reload that a client asked for; set by who has workers."""
        self._info = b""
        self._opening = threading.Lock()
        self._is_reloading = False

    # -- bundles -------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open, verify and warm all bundles, if that has not been done.

        Raises:
            UserError: a bundle is missing or damaged, or cannot answer.
        """
        with self._opening:
            if not self.bundles:
                self._take(open_bundles(self.settings))

    async def reload(self) -> list[ServedBundle]:
        """Open all bundles anew, and serve them in place of the old ones, which finish the work that they have begun.

        Raises:
            UserError: a bundle is missing or damaged, or cannot answer; the old ones are served further.
            RequestError: 409 while the bundles are being loaded.
        """
        if self._is_reloading:
            raise RequestError(409, "the bundles are being loaded; ask again when that is done")
        self._is_reloading = True
        try:
            opened = await asyncio.to_thread(open_bundles, self.settings)
        except UserError:
            self.telemetry.count_reload(False)
            raise
        finally:
            self._is_reloading = False
        self._take(opened)
        self.telemetry.count_reload(True)
        LOGGER.info("reloaded %s", ", ".join(f"{bundle.name} ({bundle.checksum[:12]})" for bundle in opened))
        return opened

    def bundle(self, name: str | None = None) -> ServedBundle:
        """Return a bundle by its name; the first one without a name.

        Raises:
            RequestError: 404 no such bundle; 503 the bundles are not loaded yet, or their files have changed.
        """
        if not self.bundles:
            raise RequestError(503, "the bundles are being loaded; ask again", headers=_LATER)
        if self.changed is not None:
            raise RequestError(503, self.changed, headers=_LATER)
        if name is None:
            return next(iter(self.bundles.values()))
        found = self.bundles.get(name)
        if found is None:
            names = list(self.bundles)
            raise RequestError(
                404, f"there is no bundle {name[:100]!r}; bundles are {names}{did_you_mean(name, names)}"
            )
        return found

    def info(self) -> bytes:
        """Return the answer to ``GET /info``.

        Raises:
            RequestError: 503 the bundles are not loaded yet.
        """
        self.bundle()
        return self._info

    def _take(self, opened: Sequence[ServedBundle]) -> None:
        before, self.bundles = self.bundles, {bundle.name: bundle for bundle in opened}
        self.changed = None
        self._info = json_bytes(server_info(self.settings, [bundle.facts for bundle in opened]))
        for bundle in opened:
            version = bundle.manifest.versions.get("dssm-lightning", "")
            self.telemetry.set_bundle(bundle.name, bundle.checksum, version, len(bundle.retriever))
        for old in before.values():
            old.retire()

    # -- work ----------------------------------------------------------------------------------------------------------

    async def run(self, work: Work, items: Sequence[Any], bundle: ServedBundle) -> list[Any]:
        """Return the result of each item.

        Raises:
            RequestError: as for :meth:`~dssm_lightning.serving.batching.Batcher.submit`.
        """
        bundle.hold()
        try:
            return await self.batcher.submit(work, items)
        finally:
            bundle.release()

    # -- state ---------------------------------------------------------------------------------------------------------

    @property
    def why_not_ready(self) -> str | None:
        """Why requests should be sent to another server; None if they should not."""
        if not self.bundles:
            return "the bundles are being loaded"
        if self.is_draining:
            return "the server stops"
        return self.changed

    @property
    def is_ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.why_not_ready is None

    def drain(self) -> None:
        """Say that the server stops: what has begun is answered."""
        self.is_draining = True

    def close(self) -> None:
        """Refuse what waits, and release the bundles."""
        self.is_draining = True
        self.batcher.close()
        for bundle in self.bundles.values():
            bundle.retire()


def serving_of(request: Request) -> Serving:
    """Return what the application of a request serves."""
    serving: Serving = request.app.state.serving
    return serving
