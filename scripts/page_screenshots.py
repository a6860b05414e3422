"""Take the screenshots of the documentation from a served bundle of the emoji config.

    python -m dssm_lightning serve --bundle bundle
    python scripts/page_screenshots.py http://127.0.0.1:8000

It needs Chromium (``DSSM_CHROMIUM`` names another than that of PATH), a font with emoji, and the extra ``test``.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
COLOURS = 256
"""Colours of a screenshot, which keep it small."""


class Shot(NamedTuple):
    """A view of the page, in a window of a size and colour scheme."""

    view: str
    width: int
    height: int
    scheme: str


SHOTS = {
    "page.png": Shot("#q=grinning+cat", 1280, 800, "light"),
    "page-dark-phone.png": Shot("#q=birthday+party", 390, 780, "dark"),
    "page-compare.png": Shot("#q=angry+cat&r=happy+cat&versus=query&k=12", 1280, 800, "light"),
}


def take_screenshots(address: str, folder: Path = IMAGES) -> list[Path]:
    """Write the screenshots of a server's page, and return their paths."""
    path = shutil.which(os.environ.get("DSSM_CHROMIUM") or "chromium")
    if path is None:
        raise SystemExit("there is no chromium: apt-get install chromium fonts-noto-color-emoji")
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if is_root else [])
        written = [_take(browser, f"{address}/{shot.view}", shot, folder / name) for name, shot in SHOTS.items()]
        browser.close()
    return written


def _take(browser: Any, url: str, shot: Shot, path: Path) -> Path:
    options = {"viewport": {"width": shot.width, "height": shot.height}, "color_scheme": shot.scheme}
    context = browser.new_context(**options)
    page = context.new_page()
    page.goto(url)
    page.locator(".hit").first.wait_for()
    page.evaluate("() => document.activeElement.blur()")
    page.wait_for_timeout(500)  # pictures and fonts
    with Image.open(io.BytesIO(page.screenshot())) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    context.close()
    return path


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    for written in take_screenshots(sys.argv[1].rstrip("/")):
        sys.stdout.write(f"{written} ({written.stat().st_size:,} bytes)\n")
