"""Decode a picture from a file or from bytes, in bounded memory, and resize it.

A picture may come from anybody. Only regular files are opened: a pipe would wait for its writer, and a device may never
end. The header's size is checked before anything is decoded, and pictures that are decoded at the same time share one
budget of pixels, each of which needs 1 to 9 bytes.
"""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageOps

from dssm_lightning.utils.errors import UserError

Pixels: TypeAlias = npt.NDArray[np.uint8]
Picture: TypeAlias = Path | bytes | None

MAX_PIXELS = 64_000_000
"""Largest number of pixels of a picture, and of all pictures that are being decoded. A header of a few bytes can claim
gigabytes, so the size is checked before decoding."""

_PROGRAMS = ("EPS", "WMF")
"""Formats that Pillow hands to another program, or to the system."""


class PixelBudget:
    """A number of pixels that threads share: who finds too few left waits until others are done.

    Example:
        >>> budget = PixelBudget(100)
        >>> with budget.reserve(60), budget.reserve(40):
        ...     budget.in_use
        100
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.in_use = limit, 0
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, pixels: int) -> Iterator[None]:
        """Take pixels of the budget within a block; wait for them first. More than the limit counts as the limit."""
        taken = min(pixels, self.limit)
        with self._changed:
            self._changed.wait_for(lambda: self.in_use + taken <= self.limit)
            self.in_use += taken
        try:
            yield
        finally:
            with self._changed:
                self.in_use -= taken
                self._changed.notify_all()


_DECODED = PixelBudget(MAX_PIXELS)


def encode_picture(source: Picture, mode: str, out: Pixels) -> None:
    """Decode one picture into ``out`` (channels, size, size), which holds zeros; None leaves ``out`` unchanged.

    Raises:
        Exception: any error that Pillow raises for a file that is damaged, missing or not a picture.
        UserError: no regular file; the picture has more than :data:`MAX_PIXELS`, pixels without a known range, or a
            format that another program would have to read.
    """
    if source is None:
        return
    size = out.shape[-1]
    picture = shrunk(source, size)
    height, width = picture.height, picture.width
    top, left = (size - height) // 2, (size - width) // 2
    canvas = PIL.Image.new("RGBA", (size, size), (255, 255, 255, 0))
    canvas.paste(picture, (left, top))
    if mode != "RGBA":
        canvas = PIL.Image.alpha_composite(PIL.Image.new("RGBA", canvas.size, "white"), canvas).convert(mode)
    out[:-1] = np.asarray(canvas).reshape(size, size, -1).transpose(2, 0, 1)
    out[-1, top : top + height, left : left + width] = 255


def reason(error: Exception) -> str:
    """Return in a few words why a picture cannot be read."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PIL.Image.DecompressionBombError | PIL.Image.DecompressionBombWarning):
        return f"more than {MAX_PIXELS:,} pixels"
    if isinstance(error, PIL.UnidentifiedImageError):
        return "not a picture in a format that Pillow can read, or a picture of 0 pixels"
    return " ".join(str(error).split()) or type(error).__name__


def header_of(source: Path | bytes) -> tuple[int, int]:
    """Return the width and the height of a picture, which its header says; nothing is decoded.

    Raises:
        UserError: no picture, or one that :func:`encode_picture` refuses by its header. The message has the reason.
    """
    try:
        with _opened(source) as file:
            return file.size
    except UserError:
        raise
    except Exception as error:  # Pillow raises many kinds of errors for damaged files
        raise UserError(reason(error)) from error


@contextmanager
def _opened(source: Path | bytes) -> Iterator[PIL.Image.Image]:
    """Open a picture whose header is accepted. Errors as for :func:`encode_picture`."""
    if isinstance(source, Path):
        _require_file(source)
    with PIL.Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
        if file.width * file.height > MAX_PIXELS:
            raise UserError(f"{file.width:,} × {file.height:,} pixels; at most {MAX_PIXELS:,} are possible")
        if file.mode == "F":
            raise UserError("its pixels are floats, whose range is unknown; convert the picture to 8 bits")
        if file.format in _PROGRAMS:
            raise UserError(f"{file.format} files need another program to be read; convert the picture to PNG")
        yield file


def shrunk(source: Path | bytes, size: int, *, enlarge: bool = True) -> PIL.Image.Image:
    """Return the picture as RGBA with a longer side of ``size`` pixels.

    Args:
        source: the file.
        size: the longer side.
        enlarge: also a picture that is smaller; else it keeps its size, and a picture without transparency is RGB.

    Raises:
        Exception: as for :func:`encode_picture`.
    """
    with _opened(source) as file, _DECODED.reserve(file.width * file.height):
        file.draft(None, (2 * size, 2 * size))  # JPEG only: decode at a lower resolution, but at least at this size
        PIL.ImageOps.exif_transpose(file, in_place=True)
        picture = _plain(file)
        scale = size / max(picture.size)
        if scale >= 1 and not enlarge:
            return picture.copy()
        width, height = (max(1, round(side * scale)) for side in picture.size)
        resized = picture.resize((width, height), PIL.Image.Resampling.BICUBIC)
        return resized.convert("RGBA") if enlarge else resized


def _require_file(path: Path) -> None:
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(found.st_mode), "a device")
        raise UserError(f"it is {kind}; only regular files are read")
    if found.st_size == 0:  # also files of the kernel, which may wait for events
        raise PIL.UnidentifiedImageError


def _plain(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Return the picture as L, RGB or RGBA, in this order: a pixel of four bytes costs four times the memory of L."""
    if picture.mode.startswith("I"):  # grey with 16 bits, which convert() would clip at 255
        return PIL.Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):  # CMYK and others
        picture = picture.convert("RGB")
    mode = "RGBA" if picture.has_transparency_data else "L" if picture.mode in ("1", "L") else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)
