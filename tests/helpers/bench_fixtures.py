"""Fixture of the tests of ``scripts/bench.py``. A test file names this plugin:
``pytest_plugins = ["helpers.bench_fixtures"]``."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType

import pytest
from helpers.paths import ROOT


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """The script as a module; ``benchmarks.…`` can be imported beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        yield importlib.import_module("bench")
