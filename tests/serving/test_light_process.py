"""A process that serves loads neither torch nor Polars, and names the package that is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT, TESTS

HEAVY = {"torch", "polars", "lightning", "torchmetrics", "pandas", "jsonargparse"}
SERVER = {"fastapi", "uvicorn", "numpy", "onnxruntime"}
ANSWERING = """
import json, sys
sys.path.insert(0, sys.argv[1])
from helpers.serving import served
with served(sys.argv[2]) as server:
    for path, body in [
        ("/search", {"query": "copy file", "explain": True}),
        ("/search", {"query": ["copy", "file"], "hybrid": 1}),
        ("/search", {"query": "copy", "filter": "price > 1 and made > '2012-01-01'"}),
        ("/similar", {"id": "i1"}),
        ("/encode", {"query": "copy"}),
        ("/encode", {"candidate": ["copy"]}),
        ("/score", {"query": "copy", "candidates": "file"}),
        ("/candidates", {"text": "copy"}),
    ]:
        answer = server.post(path, body)
        assert answer.status == 200, (path, answer.content)
    for path in ("/info", "/metrics", "/ready", "/health", "/openapi.json"):
        assert server.get(path).status == 200, path
print(*sys.modules)
"""


def loaded(*arguments: str) -> set[str]:
    """The modules that a fresh process holds at its end."""
    line = ["timeout", "-k", "5", "100", sys.executable, "-c", *arguments]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()} & {*HEAVY, *SERVER}


@pytest.mark.parametrize("module", ["app", "serving", "settings"])
def test_the_import_loads_little(module: str) -> None:
    assert not loaded(f"import sys, dssm_lightning.serving.{module}\nprint(*sys.modules)") & HEAVY


def test_settings_load_no_server() -> None:
    """The command line checks them before it starts anything."""
    found = loaded("import sys, dssm_lightning.serving.settings\nprint(*sys.modules)")
    assert not found


def test_answers_load_little(shop_bundle: Path) -> None:
    assert not loaded(ANSWERING, str(TESTS), str(shop_bundle)) & HEAVY
