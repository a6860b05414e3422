"""The folder of a saved index: ``index.json`` names the engine, its settings, the corpus and the files.

Nothing in the folder is executed or unpickled, and nothing is allocated by what ``index.json`` claims alone: sizes are
compared with those of the files first.
"""

from __future__ import annotations

import json
import stat
import zlib
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.retrieval.indexes.row_stores import Floats, parts_of
from dssm_lightning.utils.errors import UserError, is_number, is_whole

INDEX = "index.json"
"""The file that describes the others."""
FORMAT = 1
"""The version of the format; a greater one is refused."""
_LONGEST, _AT_ONCE = 1 << 20, 1 << 22  # bytes: of index.json, read at once
MOST_ROWS, MOST_COLUMNS = 1 << 40, 1 << 16
"""An index of more rows or columns is refused."""


@dataclass(frozen=True)
class Manifest:
    """What ``index.json`` says.

    Example:
        >>> Manifest("exact", {"precision": "int8"}, count=3, width=2, corpus=7).engine
        'exact'
    """

    engine: str
    settings: dict[str, Any]
    count: int  # N
    width: int  # D
    corpus: int  # CRC-32 of the vectors
    measured: dict[str, Any] = field(default_factory=dict)  # what was measured when the index was built
    versions: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[int]] = field(default_factory=dict)  # size and CRC-32 by name
    format: int = FORMAT


def require_replaceable(folder: Path, known: str) -> None:
    """Refuse to replace a folder with other content than an index.

    Args:
        folder: the folder, which need not exist.
        known: a file that every such index has.

    Raises:
        UserError: the path is a file, or a folder that has files but not this one.
    """
    if folder.is_dir() and ((folder / known).is_file() or not any(folder.iterdir())):
        return
    if folder.is_symlink() or folder.exists():
        raise UserError(f"{folder} exists and is no saved index: it has no {known}; name another folder")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``index.json`` with the sizes and checksums of the files that are in the folder."""
    files = {path.name: list(_content(path)) for path in sorted(folder.iterdir()) if path.is_file()}
    text = json.dumps({**asdict(manifest), "files": files}, indent=1)
    (folder / INDEX).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path, verify: bool = True) -> Manifest:
    """Read ``index.json`` and check its types, and that its files are there with their sizes.

    Args:
        folder: the folder.
        verify: also read the files, and compare their checksums.

    Raises:
        UserError: ``index.json`` is missing, damaged or of a newer format; a file is missing, changed or a link.
    """
    path = folder / INDEX
    if not path.is_file():
        raise UserError(f"{folder}: there is no {INDEX}: it is no saved index")
    try:
        if path.stat().st_size > _LONGEST:
            raise ValueError("too long")
        read = json.loads(path.read_text(encoding="utf-8"))
        newer = read["format"] if is_whole(read["format"]) else 0
        if newer > FORMAT:
            raise UserError(f"{path}: format {newer} is of a newer version of this package; this one reads {FORMAT}")
        manifest = Manifest(**read)
        _require_types(manifest)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged or not of a saved index; build the index again") from error
    for name, (size, checksum) in manifest.files.items():
        _require_content(folder / name, size, checksum if verify else None)
    return manifest


def read_array(folder: Path, manifest: Manifest, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Map an array of a saved index into memory, read-only.

    Raises:
        UserError: it is missing, or has another shape or type.
    """
    return map_array(folder / name, shape, dtype, INDEX, listed=name in manifest.files)


def map_array(
    path: Path, shape: tuple[int, ...], dtype: Any, described_in: str, *, listed: bool = True
) -> NDArray[Any]:
    """Map an array of a file into memory, read-only.

    Args:
        path: the file.
        shape: its shape, as another file describes it.
        dtype: its type.
        described_in: the name of the other file, for messages.
        listed: whether the other file names this one; if not, it counts as missing.

    Raises:
        UserError: it is missing, too short or damaged, or has another shape or type.
    """
    size = int(np.prod([float(each) for each in shape])) * np.dtype(dtype).itemsize
    found = _size(path) if listed else None
    if found is None or found < size:
        have = "is missing" if found is None else f"has {found:,} bytes"
        raise UserError(
            f"{path} {have}; {described_in} describes {_times(shape)} of {np.dtype(dtype)}: build the index again"
        )
    try:
        array: NDArray[Any] = np.asarray(np.lib.format.open_memmap(path, mode="r"))  # never unpickles
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise UserError(f"{path} is damaged; build the index again") from error
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise UserError(
            f"{path} holds {_times(array.shape)} of {array.dtype}, and {described_in} describes {_times(shape)} of "
            f"{np.dtype(dtype)}: build the index again"
        )
    return array


def require_corpus(manifest: Manifest, vectors: Floats, source: str, verify: bool = True) -> None:
    """Refuse vectors that are not those of which the index was built.

    Args:
        manifest: of the index.
        vectors: the vectors.
        source: the name of the index, for messages.
        verify: compare their checksum, and not only their number and width.

    Raises:
        UserError: another number, another width, or other numbers.
    """
    if vectors.shape != (manifest.count, manifest.width):
        raise UserError(
            f"{source} is an index of {manifest.count:,} × {manifest.width} vectors, and the corpus has "
            f"{_times(vectors.shape)}: build the index again"
        )
    if verify and corpus_checksum(vectors) != manifest.corpus:
        raise UserError(f"{source} is an index of another corpus, with other vectors: build the index again")


def corpus_checksum(vectors: Floats) -> int:
    """Return the CRC-32 of vectors."""
    checksum = 0
    for _, part in parts_of(vectors):
        checksum = zlib.crc32(part.view(np.uint8).data, checksum)
    return checksum


def installed(*packages: str) -> dict[str, str]:
    """Return the installed version of each package, or ``unknown``.

    Example:
        >>> installed("no-such-package")
        {'no-such-package': 'unknown'}
    """
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def _require_types(manifest: Manifest) -> None:
    texts: list[Any] = [
        manifest.engine,
        *manifest.settings,
        *manifest.measured,
        *manifest.versions,
        *manifest.versions.values(),
    ]
    numbers: list[Any] = [manifest.count, manifest.width, manifest.corpus]
    wrong: list[Any] = [each for each in texts if not isinstance(each, str)]
    wrong += [each for each in manifest.measured.values() if not is_number(each)]
    wrong += [each for each in numbers if not is_whole(each) or each < 0]
    for name, content in manifest.files.items():
        if Path(name).name != name or name in ("", ".", "..", INDEX) or "\\" in name:
            raise ValueError(f"{name!r} is no plain file name")
        size, checksum = content
        wrong += [each for each in (size, checksum) if not is_whole(each) or each < 0]
    if wrong or not 1 <= manifest.count <= MOST_ROWS or not 1 <= manifest.width <= MOST_COLUMNS:
        raise ValueError("wrong types or sizes")


def _require_content(path: Path, size: int, checksum: int | None) -> None:
    if path.is_symlink():
        raise UserError(f"{path} is a link; an index consists of files of its own folder")
    found = _size(path)
    if found is None:
        raise UserError(f"{path} is missing; build the index again")
    if found != size or (checksum is not None and _content(path)[1] != checksum):
        raise UserError(f"{path} has been changed since the index was saved; build the index again")


def _content(path: Path) -> tuple[int, int]:
    size = checksum = 0
    with path.open("rb") as file:
        while part := file.read(_AT_ONCE):
            size, checksum = size + len(part), zlib.crc32(part, checksum)
    return size, checksum


def _size(path: Path) -> int | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(f"{each:,}" for each in shape)
