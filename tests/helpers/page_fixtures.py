"""Fixtures of the tests of the page: bundles, a server of them, and a browser. A test file names this plugin:
``pytest_plugins = ["helpers.page_fixtures"]``.

A file's browser is closed after its tests, since Playwright keeps an event loop in the thread of the tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.bundles import make_shop_bundle
from helpers.chromium import OpenTab, Tab, chromium, chromium_or_skip
from helpers.live_server import live_server
from helpers.page_bundles import make_film_bundle
from helpers.retrievers import shop_table

from dssm_lightning.retrieval.retriever import Retriever


@pytest.fixture(scope="session")
def film_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with fields of each kind, pictures and hostile texts; do not change it."""
    return make_film_bundle(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="session")
def large_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop with 10 more candidates, for comparisons; do not change it."""
    return make_shop_bundle(tmp_path_factory.mktemp("large"), table=shop_table(40))


@pytest.fixture(scope="module")
def address(shop_bundle: Path, large_bundle: Path, film_bundle: Path) -> Iterator[str]:
    """The address of a server of the three bundles."""
    chromium_or_skip()
    with live_server(f"shop={shop_bundle}", f"large={large_bundle}", f"films={film_bundle}") as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser."""
    with chromium() as found:
        yield found


@pytest.fixture
def tab(browser: Any, address: str) -> Iterator[OpenTab]:
    """Open tabs, which are closed afterwards."""
    opened: list[Tab] = []

    def open_tab(view: str = "", at: str = address, **options: Any) -> Tab:
        opened.append(Tab(browser, at, **options))
        opened[-1].open(view)
        return opened[-1]

    try:
        yield open_tab
    finally:
        for each in opened:
            each.close()


@pytest.fixture(scope="module")
def shop(shop_bundle: Path) -> Retriever:
    """What the page must show of the shop."""
    return Retriever.load(shop_bundle)


@pytest.fixture(scope="module")
def large(large_bundle: Path) -> Retriever:
    """The same of the larger shop."""
    return Retriever.load(large_bundle)


@pytest.fixture(scope="module")
def films(film_bundle: Path) -> Retriever:
    """The same of the films."""
    return Retriever.load(film_bundle)
