"""Small pictures for people to look at, made of picture files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import PIL.features
import PIL.Image

from dssm_lightning.features.image import describe_picture, picture_of, picture_threads
from dssm_lightning.features.picture_files import Picture, reason, shrunk
from dssm_lightning.utils.logger import log_info
from dssm_lightning.utils.progress import track

SIDE = 160
"""The longer side of a small picture, in pixels; a smaller picture keeps its size."""
_QUALITY, _EFFORT = 80, 4
_LONG = 512  # number of pictures from which progress is shown
_AT_ONCE = 1024
"""Picture files that are in memory at once."""


def small_picture(source: Path | bytes, side: int = SIDE) -> bytes:
    """Return a small picture as a WebP file, or as a PNG file if Pillow cannot write WebP. Transparency is kept.

    The same picture has the same bytes wherever Pillow and its libraries are the same.

    Raises:
        Exception: any error that Pillow raises for a file that is damaged, missing or not a picture.
        UserError: as for :func:`~dssm_lightning.features.picture_files.encode_picture`.

    Example:
        >>> file = io.BytesIO()
        >>> PIL.Image.new("RGBA", (640, 320)).save(file, "PNG")
        >>> PIL.Image.open(io.BytesIO(small_picture(file.getvalue()))).size
        (160, 80)
    """
    picture = shrunk(source, side, enlarge=False)
    picture.info.clear()  # such as a colour profile, which would be written
    file = io.BytesIO()
    if PIL.features.check("webp"):
        picture.save(file, "WEBP", quality=_QUALITY, method=_EFFORT)
    else:
        picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def small_pictures(values: Sequence[Any], root: Path, column: str) -> list[bytes | None]:
    """Return the small pictures of a column (N,); None for a missing picture, and for one that cannot be read.

    Args:
        values: (N,) paths or bytes of picture files, or None.
        root: the folder of relative paths.
        column: its name, for the log, which counts the pictures that cannot be read.
    """

    with picture_threads(len(values)) as pool:
        results = _results(values, root, map if pool is None else pool.map)
        found = list(track(results, f"small pictures of {column}", len(values), least=_LONG))
    problems = [each for each in found if isinstance(each, str)]
    if problems:
        log_info(
            f"column {column!r}: {len(problems):,} of {len(values):,} candidates have a picture that cannot be read, "
            f"and none in the bundle; first: {problems[0]}"
        )
    return [None if isinstance(each, str) else each for each in found]


def _results(values: Sequence[Any], root: Path, mapped: Callable[..., Iterable[Any]]) -> Iterator[bytes | str | None]:
    """Yield each small picture, None if there is none, or as text why it cannot be read."""

    def read(value: Any) -> bytes | str | None:
        picture: Picture = None
        try:
            picture = picture_of(value, root)
            return None if picture is None else small_picture(picture)
        except Exception as error:  # Pillow raises many kinds of errors for damaged files
            return f"{'' if picture is None else describe_picture(picture) + ': '}{reason(error)}"

    for start in range(0, len(values), _AT_ONCE):  # a column of a table is not copied at once
        yield from mapped(read, list(values[start : start + _AT_ONCE]))
