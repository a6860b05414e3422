"""The screenshots of the documentation: there, small, and taken by a script that runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.chromium import chromium_or_skip
from helpers.live_server import live_server
from helpers.paths import ROOT
from PIL import Image

IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 200_000
SIZES = {"page.png": (1280, 800), "page-dark-phone.png": (390, 780), "page-compare.png": (1280, 800)}


def check(folder: Path) -> None:
    for name, size in SIZES.items():
        assert (folder / name).stat().st_size < MOST_BYTES
        with Image.open(folder / name) as image:
            assert image.size == size


def test_the_screenshots_are_small() -> None:
    check(IMAGES)


@pytest.mark.timeout(120)
def test_the_script_takes_them(shop_bundle: Path, tmp_path: Path) -> None:
    chromium_or_skip()
    code = "import sys, pathlib as p, page_screenshots as s; s.take_screenshots(sys.argv[1], p.Path(sys.argv[2]))"
    with live_server(f"shop={shop_bundle}") as address:
        line = ["timeout", "-k", "5", "100", sys.executable, "-c", code, address, str(tmp_path)]
        done = subprocess.run(line, cwd=ROOT / "scripts", capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    check(tmp_path)
