"""Small pictures of candidates, which are shown beside an answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.image import Image
from dssm_lightning.features.schema import Schema
from dssm_lightning.retrieval.candidate_rows import map_array
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.optional_packages import naming_packages

PICTURES, PICTURE_OFFSETS = "pictures.bin", "picture_offsets.npy"
"""The files: one picture file after the other, and where each begins. Neither is written if there is no picture."""
_PNG, _RIFF, _WEBP = b"\x89PNG\r\n\x1a\n", b"RIFF", b"WEBP"


class CandidatePictures:
    """Small pictures of N candidates, WebP or PNG. Reading them needs no Pillow, and reads one picture of the file.

    An object never changes, so that threads may share it.

    Attributes:
        column: the candidates' column that has the picture files, as bytes or paths.

    Example:
        >>> pictures = CandidatePictures.of("poster", [b"one", None])
        >>> pictures.at(0), pictures.at(1), pictures.count, len(pictures)
        (b'one', None, 1, 2)
    """

    def __init__(self, column: str, data: Any, offsets: NDArray[np.int64]) -> None:
        self.column, self._data, self._offsets = column, data, offsets

    @classmethod
    def of(cls, column: str, pictures: Iterable[bytes | None]) -> CandidatePictures:
        """Return the pictures of N candidates; None for one without."""
        parts = [picture or b"" for picture in pictures]
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        return cls(column, b"".join(parts), offsets)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @property
    def count(self) -> int:
        """Number of candidates that have a picture."""
        return int(np.count_nonzero(np.diff(self._offsets)))

    def at(self, row: int) -> bytes | None:
        """Return the picture of a row; None if it has none."""
        return bytes(self._data[self._offsets[row] : self._offsets[row + 1]]) or None

    # -- other candidates ----------------------------------------------------------------------------------------------

    def with_pictures(self, added: CandidatePictures) -> CandidatePictures:
        """Return these pictures, and the added ones after them."""
        offsets = np.concatenate([self._offsets, self._offsets[-1] + added._offsets[1:]])
        return CandidatePictures(self.column, bytes(self._data) + bytes(added._data), offsets)

    def without(self, rows: Iterable[int]) -> CandidatePictures:
        """Return the pictures of the other rows, in their order."""
        gone = set(rows)
        return CandidatePictures.of(self.column, (self.at(row) for row in range(len(self)) if row not in gone))

    # -- files ---------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the pictures into a folder; nothing if there is none."""
        if self.count:
            (folder / PICTURES).write_bytes(bytes(self._data))
            np.save(folder / PICTURE_OFFSETS, self._offsets)

    @classmethod
    def load(cls, folder: Path, column: str, count: int) -> CandidatePictures:
        """Map the pictures of a folder into memory.

        Raises:
            UserError: a file is missing or damaged, or is of another number of candidates than ``count``.
        """
        offsets = map_array(folder / PICTURE_OFFSETS, np.int64)
        try:
            data = np.memmap(folder / PICTURES, np.uint8, "r")
        except (OSError, ValueError) as error:  # ValueError: an empty file
            raise UserError(f"{folder / PICTURES} is missing or empty; export the bundle again") from error
        if len(offsets) != count + 1:
            raise UserError(f"{folder}: {PICTURE_OFFSETS} has {len(offsets) - 1:,} rows; the manifest says {count:,}")
        if offsets[0] != 0 or offsets[-1] != len(data) or (np.diff(offsets) < 0).any():
            raise UserError(f"{folder}: {PICTURE_OFFSETS} does not fit {PICTURES}; export the bundle again")
        return cls(column, data, offsets)


def media_type(picture: bytes) -> str:
    """Return the media type of a picture for HTTP, by its first bytes.

    Example:
        >>> media_type(b"RIFF....WEBPVP8 ")
        'image/webp'
    """
    if picture.startswith(_PNG):
        return "image/png"
    is_webp = picture.startswith(_RIFF) and picture[8:12] == _WEBP
    return "image/webp" if is_webp else "application/octet-stream"


def make_pictures(schema: Schema, column: str, values: Sequence[Any]) -> CandidatePictures:
    """Return small pictures of raw candidates. A picture that cannot be read is none, and counted in the log.

    Args:
        schema: the candidate's features; a relative path is relative to the ``root`` of the feature that reads it.
        column: the column of the pictures.
        values: (N,) paths or bytes of picture files, or None.

    Raises:
        UserError: Pillow is not installed.
    """
    if not any(value is not None for value in values):
        return CandidatePictures.of(column, [None] * len(values))
    with naming_packages(f"pictures of column {column!r}"):
        from dssm_lightning.features.small_pictures import small_pictures

        return CandidatePictures.of(column, small_pictures(values, root_of(schema, column), column))


def root_of(schema: Schema, column: str) -> Path:
    """Return the folder of the relative paths in a column of pictures."""
    roots = (each.root for each in schema if isinstance(each, Image) and each.source_column == column)
    return Path(next(roots, None) or "").expanduser()
