"""A headless Chromium for the tests of the page, which says what it saw: messages, requests and results."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

INSTALL = "apt-get install chromium fonts-noto-color-emoji && pip install 'dssm-lightning[test]'"
"""The line that installs what these tests need."""
TIMEOUT_MS = 20_000
"""Milliseconds for which a page is waited for; machines are shared."""
FOUR_PICTURES = "() => [...document.querySelectorAll('.hit img')].slice(0, 4).every((each) => each.naturalWidth)"
"""Whether the first four results show their pictures."""


def chromium_or_skip() -> str:
    """Return the path of Chromium, or skip the test and say how to install it.

    ``DSSM_CHROMIUM`` names another one than that of ``PATH``.
    """
    found = shutil.which(os.environ.get("DSSM_CHROMIUM") or "chromium")
    if found is None or importlib.util.find_spec("playwright") is None:
        pytest.skip(f"the page is tested in a browser: {INSTALL}")
    return found


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield a browser of Playwright, and close it afterwards."""
    path = chromium_or_skip()
    from playwright.sync_api import sync_playwright

    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    options = ["--no-sandbox"] if is_root else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options, timeout=90_000)
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page in a context of its own, which keeps what the browser complained of and whom it asked.

    Args:
        browser: of :func:`chromium`.
        address: of the server.
        options: of the context, such as ``color_scheme``.
    """

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.address = address
        self.context = browser.new_context(viewport={"width": 1280, "height": 860}, **options)
        self.context.set_default_timeout(TIMEOUT_MS)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def open(self, view: str = "") -> Any:
        """Open a view, such as ``#q=cat``, and return the page once it is drawn."""
        self.page.goto(f"{self.address}/{view}")
        self.page.wait_for_selector(
            ".head .summary:not(:empty), .alert:not(:empty), #welcome:not([hidden]), dialog[open]"
        )
        return self.page

    def hits(self, place: int = 0) -> list[str]:
        """The ids of a list, in their order."""
        script = """(place) => [...document.querySelectorAll("#panes > section")[place]
            .querySelectorAll(".similar")].map((each) => each.dataset.id)"""
        found: list[str] = self.page.evaluate(script, place)
        return found

    def wait_for_hits(self, ids: list[str], place: int = 0) -> None:
        """Wait until a list shows just these candidates."""
        script = """([ids, place]) => JSON.stringify([...document.querySelectorAll("#panes > section")[place]
            .querySelectorAll(".similar")].map((each) => each.dataset.id)) === JSON.stringify(ids)"""
        self.page.wait_for_function(script, arg=[ids, place])

    def strangers(self) -> list[str]:
        """The addresses that were asked and are not the server's."""
        own = urlsplit(self.address).netloc
        return [
            url for url in self.asked if urlsplit(url).netloc != own and urlsplit(url).scheme not in ("data", "blob")
        ]

    def is_quiet(self) -> bool:
        """Whether the browser complained of nothing and asked nobody else."""
        assert self.complaints == []
        assert self.strangers() == []
        return True

    def scrolls_sideways(self) -> bool:
        """Whether the page is wider than its window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    def violations(self) -> list[str]:
        """What axe finds that is serious or critical."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [
            f"{each['id']}: {node['html'][:200]}"
            for each in found
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]

    def focused(self) -> str:
        """The accessible name of what has the focus, or its id."""
        script = "(n => n.getAttribute('aria-label') || n.labels?.[0]?.textContent || n.id || n.textContent)"
        return str(self.page.evaluate(f"{script}(document.activeElement)")).strip()

    def close(self) -> None:
        """Close the tab."""
        self.context.close()


OpenTab = Callable[..., Tab]
"""Opens a tab: ``tab("#q=cat", color_scheme="dark")``."""


def ids_of(hits: list[Any]) -> list[str]:
    """The ids of hits as the page writes them."""
    return [str(hit.id) for hit in hits]
