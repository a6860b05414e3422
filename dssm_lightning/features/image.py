"""Pictures that are read, decoded and resized once, and stored as bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dssm_lightning.features.base import Feature
from dssm_lightning.features.raw_columns import by_value
from dssm_lightning.features.raw_values import is_unicode, plain
from dssm_lightning.features.readings import Reading, ReadValue, reading_of
from dssm_lightning.utils.errors import UserError, require_at_least, require_choice
from dssm_lightning.utils.logger import LOGGER
from dssm_lightning.utils.progress import track

if TYPE_CHECKING:
    import polars as pl

    from dssm_lightning.features.picture_files import Picture, Pixels

LARGEST = 4096
"""Pixels along a side of the encoded picture: a file may describe the feature."""
_LONG = 512  # number of pictures from which progress is shown


@dataclass(frozen=True, kw_only=True)
class Image(Feature):
    """A picture in each row: (B, channels, size, size) uint8.

    A picture is resized once (bicubic, antialiased) so that its longer side is ``size``, keeps its aspect ratio, and is
    centred on white. The last channel is the *coverage*: 255 inside the picture, 0 outside. A row without a picture
    (null, an empty path, or skipped) is 0 in every channel; its coverage distinguishes it from a black picture. EXIF
    rotation is applied. Of an animation, the first frame is used. Only regular files are read. Pictures of more than 64
    million pixels are refused by their header, and pictures that are decoded at the same time have no more together.

    Raises:
        UserError: ``size`` is below 1, or ``mode`` or ``on_error`` is unknown.

    Example:
        >>> import io, PIL.Image, polars as pl
        >>> file = io.BytesIO()
        >>> PIL.Image.new("L", (4, 2), 100).save(file, "PNG")
        >>> pixels = Image(name="poster", size=4, mode="L").encode(pl.Series([file.getvalue(), None]))
        >>> pixels.shape, pixels[0, 1, :, 0].tolist()  # a picture of 4 × 2 pixels covers the middle rows
        (torch.Size([2, 2, 4, 4]), [0, 255, 255, 0])
    """

    size: int = 64
    """Height and width in pixels."""
    mode: Literal["RGB", "RGBA", "L"] = "RGB"
    """"RGB": colour, with transparent pixels on white. "RGBA": colour and transparency. "L": grey."""
    root: str | None = None
    """Folder of relative paths; the working folder by default."""
    on_error: Literal["error", "skip"] = "error"
    """Treatment of a picture that cannot be read. "error": raise an error. "skip": treat it as missing, and log the
    number of such pictures."""

    def __post_init__(self) -> None:
        require_at_least(self._label, "size", self.size)
        if self.size > LARGEST:
            raise UserError(f"{self._label}: size is {self.size}; it must be at most {LARGEST}")
        require_choice(self._label, "mode", self.mode, ("RGB", "RGBA", "L"))
        require_choice(self._label, "on_error", self.on_error, ("error", "skip"))

    @property
    def channels(self) -> int:
        """Number of channels of the encoded picture: its colours, then the coverage."""
        return len(self.mode) + 1

    def encode_array(self, column: pl.Series) -> Pixels:
        """Encode paths or bytes of picture files (B,) as (B, channels, size, size) uint8.

        Raises:
            UserError: a picture cannot be read (with ``on_error="error"``), the column has another type, or the root
                folder does not exist.
        """
        return self._encoded(self._pictures(column))

    def _encode_few(self, values: Sequence[Any]) -> Pixels | None:
        root = self._folder(any(isinstance(value, str) for value in values))
        pictures = [picture_of(value, root) for value in values]
        valid = all(is_unicode(str(picture)) for picture in pictures if isinstance(picture, Path))
        return self._encoded(pictures) if valid else None

    def read(self, value: Any) -> Reading:
        """Return the size of the picture; a picture that is skipped, since it cannot be read, is unknown."""
        from dssm_lightning.features.picture_files import header_of

        encoded = self.encode_values([value])
        picture = picture_of(value, self._folder(isinstance(value, str)))
        if picture is None:
            return reading_of(self, "pixels", [])
        if not np.asarray(encoded)[0, -1].any():  # no pixel is covered: it was skipped
            return reading_of(self, "pixels", [ReadValue(describe_picture(picture), False)], kept=0)
        width, height = header_of(picture)
        return reading_of(self, "pixels", [ReadValue(f"{width:,} × {height:,}", True)], kept=width * height)

    def _encoded(self, pictures: Sequence[Picture]) -> Pixels:
        encoded = np.zeros((len(pictures), self.channels, self.size, self.size), dtype=np.uint8)
        problems = self._read_all(pictures, encoded)
        if problems:
            LOGGER.warning(
                "%s: %d of %d pictures cannot be read and are treated as missing; first: %s",
                *(self._label, len(problems), len(pictures), problems[0]),
            )
        return encoded

    def _pictures(self, column: pl.Series) -> list[Picture]:
        import polars as pl

        if column.dtype not in (pl.Binary, pl.String, pl.Null, pl.Object):
            raise UserError(
                f"{self._label}: column {self.source_column!r} holds {column.dtype}; it must hold paths (strings) or "
                "the bytes of picture files"
            )
        root = self._folder(column.dtype not in (pl.Binary, pl.Null))
        return by_value(self, column, lambda value: picture_of(value, root))

    def _folder(self, has_paths: bool) -> Path:
        """Return the folder of relative paths; who gives pictures as bytes, such as a server, need not have it."""
        root = Path(self.root or "").expanduser()
        if has_paths and self.root is not None and not root.is_dir():
            raise UserError(f"{self._label}: root is {self.root!r}; it must be an existing folder")
        return root

    def _read_all(self, pictures: Sequence[Picture], encoded: Pixels) -> list[str]:
        """Fill ``encoded``; return a description of each picture that is skipped because it cannot be read."""

        from dssm_lightning.features.picture_files import encode_picture, reason

        def read(row: int) -> str | None:
            try:
                encode_picture(pictures[row], self.mode, encoded[row])
            except Exception as error:  # Pillow raises many kinds of errors for damaged files
                return f"{describe_picture(pictures[row])} in row {row} (counted from 0): {reason(error)}"
            return None

        problems = []
        with picture_threads(len(pictures)) as pool:
            results = (map if pool is None else pool.map)(read, range(len(pictures)))
            for problem in track(results, f"pictures of {self.name}", len(pictures), least=_LONG):
                if problem is None:
                    continue
                if self.on_error == "error":
                    raise UserError(
                        f"{self._label}: cannot read {problem}; repair the file, set it to null (no picture), or set "
                        "`on_error: skip` to treat such pictures as missing"
                    )
                problems.append(problem)
        return problems


def picture_of(value: Any, root: Path) -> Picture:
    """Return the picture file of a raw value: its bytes, its path, or None if there is none.

    Raises:
        UserError: neither a path nor bytes. The message has only the reason.
    """
    value = plain(value)
    if not isinstance(value, str | bytes | None):
        raise UserError("it must be a path (a string) or the bytes of a picture file")
    return value or None if isinstance(value, bytes) or not value else root / value


@contextmanager
def picture_threads(pictures: int) -> Iterator[ThreadPoolExecutor | None]:
    """Yield a pool of threads, because Pillow decodes and resizes without the GIL; cancel pending work on an error.

    One picture needs none.
    """
    if pictures <= 1:
        yield None
        return
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)  # and wait for the pictures that are being read


def describe_picture(picture: Picture) -> str:
    """Return a picture file for a message."""
    return f"the {len(picture):,} bytes" if isinstance(picture, bytes) else f"'{picture}'"
