"""Pictures: read, decoded and resized once, into bytes."""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageOps
import polars as pl
import torch
from rich.progress import track
from torch import Tensor

from dssm_lightning.features.base import Feature
from dssm_lightning.utils.errors import UserError

Pixels: TypeAlias = npt.NDArray[np.uint8]
Picture: TypeAlias = Path | bytes | None

MAX_PIXELS = 64_000_000
"""A larger picture is refused by its header, before it is decoded: a few kilobytes can claim gigabytes."""

_LONG = 512  # pictures from which on a progress bar is worth its line
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Image(Feature):
    """A picture in each row: (B, channels, size, size) uint8.

    The last channel is the *coverage*: 255 where the picture lies, 0 elsewhere. A picture keeps its aspect, is resized
    once (bicubic, antialiased) so that its longer side is ``size``, and is centred on white. A row without a picture
    (null, an empty path, or skipped) is 0 in every channel, so that its coverage tells it from a black picture.
    EXIF rotation is applied, and of an animation the first frame is taken.

    Raises:
        ValueError: a size below 1, an unknown mode or choice.
    """

    size: int = 64
    """Height and width in pixels."""
    mode: Literal["RGB", "RGBA", "L"] = "RGB"
    """Colour with transparency laid on white, colour with its transparency, or grey."""
    root: str | None = None
    """Folder that relative paths start from; the working folder by default."""
    on_error: Literal["error", "skip"] = "error"
    """Whether a picture that cannot be read is an error, or counts as missing (their number is logged)."""

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UserError(f"{self._label}: size must be at least 1 pixel, found {self.size}")
        if self.mode not in ("RGB", "RGBA", "L"):
            raise UserError(f"{self._label}: mode must be RGB, RGBA or L; found {self.mode!r}")
        if self.on_error not in ("error", "skip"):
            raise UserError(f"{self._label}: on_error must be error or skip; found {self.on_error!r}")

    @property
    def _label(self) -> str:
        return f"Image feature {self.name!r}"

    @property
    def channels(self) -> int:
        """Channels of the encoded picture: its colours, then the coverage."""
        return len(self.mode) + 1

    def encode(self, column: pl.Series) -> Tensor:
        """(B,) paths or bytes of picture files -> (B, channels, size, size) uint8.

        Raises:
            ValueError: a picture that cannot be read (unless it may be skipped), a column of another type, no such
                root folder.
        """
        pictures = self._pictures(column)
        encoded = np.zeros((len(pictures), self.channels, self.size, self.size), dtype=np.uint8)
        problems = self._read_all(pictures, encoded)
        if problems:
            _LOG.warning(
                "%s: %d of %d pictures cannot be read and count as missing; first: %s",
                *(self._label, len(problems), len(pictures), problems[0]),
            )
        return torch.from_numpy(encoded)

    def _pictures(self, column: pl.Series) -> list[Picture]:
        if column.dtype == pl.Binary:
            return [content or None for content in column.to_list()]
        if column.dtype not in (pl.String, pl.Null):
            raise UserError(
                f"{self._label}: column {self.source_column!r} must hold paths (strings) or the bytes of picture "
                f"files, found {column.dtype}"
            )
        root = Path(self.root or "").expanduser()
        if self.root is not None and not root.is_dir():
            raise UserError(f"{self._label}: root {self.root!r} is not a folder")
        return [root / path if path else None for path in column.to_list()]

    def _read_all(self, pictures: Sequence[Picture], encoded: Pixels) -> list[str]:
        """Fill ``encoded``; what could not be read is returned where that may be skipped."""

        def read(row: int) -> str | None:
            try:
                encode_picture(pictures[row], self.mode, encoded[row])
            except Exception as error:  # a damaged file makes Pillow raise nearly anything
                return f"{_describe(pictures[row])} in row {row} (counted from 0): {_reason(error)}"
            return None

        problems = []
        quiet = len(pictures) < _LONG
        with _pool() as pool:
            results = pool.map(read, range(len(pictures)))
            for problem in track(results, f"pictures of {self.name}", len(pictures), transient=True, disable=quiet):
                if problem is not None and self.on_error == "error":
                    raise UserError(
                        f"{self._label}: cannot read {problem}; mend it, set it to null (no picture), or let "
                        "`on_error: skip` count such pictures as missing"
                    )
                problems += [problem] if problem is not None else []
        return problems


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Threads, as Pillow decodes and resizes without the GIL; what they have not begun is dropped on an error."""
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # MAX_PIXELS is stricter
            yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def encode_picture(source: Picture, mode: str, out: Pixels) -> None:
    """Decode one picture into ``out`` (channels, size, size), which is zero; None leaves it so.

    Raises:
        Exception: whatever Pillow raises for a file that is damaged, missing or no picture.
        ValueError: more than :data:`MAX_PIXELS`, or values without a known range.
    """
    if source is None:
        return
    size = out.shape[-1]
    picture = _shrunk(source, size)
    height, width = picture.height, picture.width
    top, left = (size - height) // 2, (size - width) // 2
    canvas = PIL.Image.new("RGBA", (size, size), (255, 255, 255, 0))
    canvas.paste(picture, (left, top))
    if mode != "RGBA":
        canvas = PIL.Image.alpha_composite(PIL.Image.new("RGBA", canvas.size, "white"), canvas).convert(mode)
    out[:-1] = np.asarray(canvas).reshape(size, size, -1).transpose(2, 0, 1)
    out[-1, top : top + height, left : left + width] = 255


def _shrunk(source: Path | bytes, size: int) -> PIL.Image.Image:
    """The picture as RGBA, its longer side ``size`` pixels long."""
    with PIL.Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
        if file.width * file.height > MAX_PIXELS:
            raise UserError(f"{file.width:,} × {file.height:,} pixels, at most {MAX_PIXELS:,} are possible")
        file.draft(None, (2 * size, 2 * size))  # JPEG only: decode at a fraction of the resolution, at least this large
        upright = PIL.ImageOps.exif_transpose(file)
        if upright.mode.startswith("I"):  # 16 bits of grey, which convert() would clip at 255
            upright = PIL.Image.fromarray((np.asarray(upright) >> 8).clip(0, 255).astype(np.uint8))
        if upright.mode == "F":
            raise UserError("its pixels are floats, whose range is unknown; convert it to 8 bits")
        # CMYK and others have no direct way to RGBA; palettes and grey with alpha must not lose theirs on the way
        direct = upright.mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
        picture = (upright if direct else upright.convert("RGB")).convert("RGBA")
    scale = size / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), PIL.Image.Resampling.BICUBIC)


def _describe(picture: Picture) -> str:
    return f"the {len(picture):,} bytes" if isinstance(picture, bytes) else f"'{picture}'"


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PIL.Image.DecompressionBombError):
        return f"more than {MAX_PIXELS:,} pixels"
    if isinstance(error, PIL.UnidentifiedImageError):
        return "no picture in a format that Pillow knows, or one of 0 pixels"
    return str(error) or type(error).__name__
