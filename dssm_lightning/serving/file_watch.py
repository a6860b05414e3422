"""Files of a bundle that change while it is served: the arrays in them are mapped, and would change under a search."""

from __future__ import annotations

import asyncio

from dssm_lightning.serving.file_stamps import Stamps
from dssm_lightning.serving.served_bundle import ServedBundle
from dssm_lightning.serving.serving import Serving
from dssm_lightning.utils.logger import LOGGER

EVERY_S = 1.0
"""Seconds between two looks."""


class FileWatch:
    """Looks at the files of the served bundles.

    A file that was changed in place ends the service of all bundles until they are reloaded, since nobody knows what a
    search would read. A file that was replaced or removed is harmless: the server holds on to the one that it opened.

    Args:
        serving: the bundles.
        tells: whether the log tells of replaced files.
    """

    def __init__(self, serving: Serving, tells: bool = True) -> None:
        self._serving, self._tells = serving, tells
        self._told: set[int] = set()

    async def run(self) -> None:
        """Look every second, in another thread: a folder may be far away."""
        while True:
            await asyncio.sleep(EVERY_S)
            for bundle in list(self._serving.bundles.values()):
                found = await asyncio.to_thread(bundle.stamps_now)
                if self._serving.bundles.get(bundle.name) is bundle:
                    self.compare(bundle, found)
            self._forget()

    def look(self) -> None:
        """Look once."""
        for bundle in list(self._serving.bundles.values()):
            self.compare(bundle, bundle.stamps_now())
        self._forget()

    def compare(self, bundle: ServedBundle, found: Stamps) -> None:
        """Compare the files of a bundle with those that were opened."""
        first = bundle.stamps
        replaced = [name for name, stamp in found.items() if stamp != first[name]]
        for name in replaced:
            before, now = first[name], found[name]
            if before is not None and now is not None and before.is_changed(now) and self._serving.changed is None:
                self._serving.changed = (
                    f"bundle {bundle.name}: {name} was changed while it is served, so that answers could be wrong; "
                    "put a whole bundle in its place, as export and pull do, and reload"
                )
                LOGGER.error(self._serving.changed)
                return
        if replaced and self._serving.changed is None and bundle.number not in self._told:
            self._told.add(bundle.number)
            if self._tells:
                LOGGER.info(f"bundle {bundle.name}: its files were replaced; the old ones are served until a reload")

    def _forget(self) -> None:
        self._told &= {bundle.number for bundle in self._serving.bundles.values()}
