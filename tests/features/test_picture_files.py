"""Pictures from strangers: what is opened, how much memory it takes, and that thrift changes no pixel."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import polars as pl
import pytest

from dssm_lightning.features import picture_files
from dssm_lightning.features.image import Image
from dssm_lightning.features.picture_files import MAX_PIXELS, PixelBudget
from dssm_lightning.utils.errors import UserError


def content(picture: PIL.Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def noise(width: int, height: int, mode: str = "RGB") -> PIL.Image.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return PIL.Image.fromarray(pixels, "RGBA").convert(mode)


# -- what is opened ----------------------------------------------------------------------------------------------------


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "a pipe"),
    "link to a pipe": (lambda path: (os.mkfifo(f"{path}.pipe"), path.symlink_to(f"{path}.pipe")), "a pipe"),
    "folder": (Path.mkdir, "a folder"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "a device"),
    "socket": (make_socket, "a socket"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ODD)
def test_only_regular_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    make, found = ODD[kind]
    make(Path("odd.png"))
    column = pl.Series(["odd.png", "absent.png"])
    with pytest.raises(UserError, match=rf"'p': cannot read '.*odd.png' in row 0 .*it is {found}"):
        Image(name="p").encode(column)
    assert not Image(name="p", on_error="skip").encode(column).any()


def test_a_format_that_is_a_program_is_refused() -> None:
    """Pillow runs Ghostscript on PostScript files."""
    file = content(PIL.Image.new("RGB", (4, 4)), "EPS")
    with pytest.raises(UserError, match="EPS files need another program"):
        Image(name="p").encode(pl.Series([file]))


def test_an_error_ends_all_threads_and_leaves_no_filter(tmp_path: Path) -> None:
    files = [content(noise(300, 300)) for _ in range(40)]
    before, filters = threading.enumerate(), list(warnings.filters)

    def encode(number: int) -> None:
        column = pl.Series([*files[:number], b"no picture", *files[number:]])
        with pytest.raises(UserError, match=f"the 10 bytes in row {number}") as raised:
            Image(name="p", size=4).encode(column)
        assert "\n" not in str(raised.value)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(encode, range(12)))
    assert warnings.filters == filters  # of warnings: a filter that threads set for a while may stay for ever
    assert threading.enumerate() == before


# -- memory ------------------------------------------------------------------------------------------------------------


def test_a_budget_is_never_exceeded_and_nobody_waits_for_ever() -> None:
    budget, most, running = PixelBudget(100), [], []

    def work(pixels: int) -> None:
        with budget.reserve(pixels):
            running.append(pixels)
            most.append(budget.in_use)
            time.sleep(0.001)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [10, 60, 99, 100, 500, 1] * 10))
    assert len(running) == 60
    assert max(most) <= 100
    assert budget.in_use == 0


def test_an_error_gives_its_pixels_back() -> None:
    budget = PixelBudget(10)
    with pytest.raises(KeyError), budget.reserve(10):
        raise KeyError
    assert budget.in_use == 0


def test_pictures_that_are_decoded_together_share_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    budget, most = PixelBudget(2 * 64 * 64), []
    plain = picture_files._plain

    def noted(picture: PIL.Image.Image) -> PIL.Image.Image:
        most.append(budget.in_use)
        return plain(picture)

    monkeypatch.setattr(picture_files, "_DECODED", budget)
    monkeypatch.setattr(picture_files, "_plain", noted)
    Image(name="p", size=4).encode(pl.Series([content(noise(64, 64))] * 30))
    assert len(most) == 30
    assert max(most) <= budget.limit


MEASURE = """
import io, resource, sys
import PIL.Image, polars as pl
from dssm_lightning.features.image import Image

file = io.BytesIO()
PIL.Image.new(sys.argv[1], (8000, 8000)).save(file, "PNG")
Image(name="p", size=8).encode(pl.Series([file.getvalue()] * 0, dtype=pl.Binary))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
Image(name="p", size=8).encode(pl.Series([file.getvalue()] * int(sys.argv[2])))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is another one elsewhere")
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_eight_of_the_largest_pictures_take_the_memory_of_one(mode: str) -> None:
    """The first picture was made with as much memory as one decoded picture needs: 8,000 × 8,000 × 4 bytes."""
    command = [sys.executable, "-c", MEASURE, mode, "8"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=True)
    assert int(done.stdout) < 600  # MiB; it was 7,600


def test_the_largest_picture_is_64_million_pixels() -> None:
    assert MAX_PIXELS == 8_000 * 8_000


# -- the same pixels ---------------------------------------------------------------------------------------------------


def reference(file: bytes, size: int) -> PIL.Image.Image:
    """Convert to four channels first, and resize then."""
    picture = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(file)))
    if picture.mode.startswith("I"):
        picture = PIL.Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        picture = picture.convert("RGB")
    picture = picture.convert("RGBA")
    scale = size / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), PIL.Image.Resampling.BICUBIC)


def turned() -> bytes:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    return content(noise(50, 30), exif=exif.tobytes())


FILES = {
    "colour": content(noise(90, 60)),
    "colour with a transparent one": content(PIL.Image.new("RGB", (9, 9), (1, 2, 3)), transparency=(1, 2, 3)),
    "four channels": content(noise(90, 60, "RGBA")),
    "grey": content(noise(61, 90, "L")),
    "grey with a transparent one": content(noise(30, 30, "L"), transparency=9),
    "grey and alpha": content(noise(61, 90, "LA")),
    "bits": content(noise(90, 60, "1")),
    "palette": content(noise(90, 60).quantize(40)),
    "palette with a transparent colour": content(noise(90, 60).quantize(40), transparency=3),
    "palette with alpha": content(noise(90, 60, "RGBA").quantize(40)),
    "print": content(noise(90, 60, "CMYK"), "TIFF"),
    "16 bits": content(PIL.Image.fromarray(np.arange(6400, dtype=np.uint16).reshape(80, 80) * 10)),
    "turned": turned(),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("size", [7, 32, 100])
def test_a_picture_is_resized_in_its_own_channels_to_the_same_pixels(kind: str, size: int) -> None:
    found, expected = picture_files.shrunk(FILES[kind], size), reference(FILES[kind], size)
    assert found.mode == expected.mode
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
