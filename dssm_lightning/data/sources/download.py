"""Download an archive, check it, and unpack it atomically."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from filelock import FileLock
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from dssm_lightning.utils.atomic_files import atomic_folder
from dssm_lightning.utils.console import console
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.folders import make_folder
from dssm_lightning.utils.logger import log_info

SILENCE_S = 60
"""Seconds without a byte after which the download fails."""
CHUNK = 1 << 16


def obtain(folder: Path, url: str, md5: str) -> None:
    """Make sure that a folder exists: unpack it from the .zip file beside it, or download that file first.

    Concurrent processes wait for the first one. The folder is unpacked under another name, flushed to the disk and then
    renamed, so it is always complete. A complete folder is never written to.

    Args:
        folder: the top folder of the archive, e.g. ``data/ml-100k``.
        url: URL of the archive.
        md5: published checksum of the archive, hexadecimal.

    Raises:
        ConnectionError: no network, or no answer from the server. The message says where to put the archive.
        UserError: the archive has another checksum, or no such folder; a file stands in the folder's place.
    """
    if folder.is_dir():  # without the lock, for which the parent must be writable
        return
    make_folder(folder.parent, "the folder of the data")
    if os.path.lexists(folder):
        raise UserError(f"{folder.absolute()} is no folder, and the archive is unpacked there: remove it")
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if folder.is_dir():
            return
        archive = folder.parent / f"{folder.name}.zip"
        if archive.is_file():
            _check(archive, md5, f"{archive.absolute()}")
            _unpack(archive, folder)
            return
        part = archive.with_name(f".{archive.name}.part")
        try:
            _download(url, part, folder)
            _check(part, md5, f"the download from {url}")
            _unpack(part, folder)
        finally:
            part.unlink(missing_ok=True)


def _download(url: str, part: Path, folder: Path) -> None:
    log_info(f"downloading {url}")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    try:
        bar = Progress(*columns, disable=not console().is_terminal)
        with urlopen(url, timeout=SILENCE_S) as answer, part.open("wb") as file, bar as progress:
            size = answer.headers.get("Content-Length")
            task = progress.add_task(folder.name, total=None if size is None else int(size))
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                progress.advance(task, len(chunk))
    except (OSError, HTTPException) as error:  # URLError and timeouts are OSErrors
        raise ConnectionError(
            f"{url} could not be downloaded ({error}). Put the archive at {folder.absolute()}.zip, or its contents "
            f"into {folder.absolute()}, or set `root` or DSSM_DATA to the folder that contains {folder.name}"
        ) from error


def _check(archive: Path, md5: str, what: str) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with archive.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != md5:
        raise UserError(
            f"{what} is not the published archive, or it is incomplete: its MD5 is {digest.hexdigest()}, the published "
            f"one {md5}; delete the file, if it exists, and try again"
        )


def _unpack(archive: Path, folder: Path) -> None:
    with atomic_folder(folder) as temporary:
        everything = temporary / ".archive"
        try:
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(everything)
        except (zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise UserError(f"the archive {archive.absolute()} cannot be unpacked ({error}); delete it") from error
        top = everything / folder.name
        if not top.is_dir():
            raise UserError(f"the archive {archive.absolute()} has no folder {folder.name}")
        for path in top.iterdir():
            path.rename(temporary / path.name)
        shutil.rmtree(everything)
