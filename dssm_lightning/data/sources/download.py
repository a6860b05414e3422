"""An archive from the net: whole and as published, or not at all."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from filelock import FileLock
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from dssm_lightning.utils.errors import UserError

SILENCE_S = 60
"""Seconds without a byte after which a server counts as not reachable."""
CHUNK = 1 << 16


def obtain(folder: Path, url: str, md5: str) -> None:
    """Make sure that a folder is there: unpacked from the archive beside it, which is downloaded unless it lies there.

    Processes that ask at the same time wait for the first one. What appears is complete: it is made under another name
    and renamed.

    Args:
        folder: the folder that the archive holds at its top, e.g. ``data/ml-100k``.
        url: where the archive is.
        md5: the archive's published checksum, hexadecimal.

    Raises:
        ConnectionError: no network, or the server does not answer; the message says which archive to put where.
        ValueError: the archive is not the published one, or holds no such folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
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
            _check(part, md5, f"what {url} sent")
            _unpack(part, folder)
        finally:
            part.unlink(missing_ok=True)


def _download(url: str, part: Path, folder: Path) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    try:
        with urlopen(url, timeout=SILENCE_S) as answer, part.open("wb") as file, Progress(*columns) as progress:
            size = answer.headers.get("Content-Length")
            task = progress.add_task(folder.name, total=None if size is None else int(size))
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                progress.advance(task, len(chunk))
    except (OSError, HTTPException) as error:  # URLError and timeouts are OSErrors
        raise ConnectionError(
            f"{url} could not be downloaded ({error}). Put that archive at {folder.absolute()}.zip, or its contents "
            f"into {folder.absolute()}, or name the folder that holds {folder.name} as `root` or in DSSM_DATA"
        ) from error


def _check(archive: Path, md5: str, what: str) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with archive.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != md5:
        raise UserError(
            f"{what} is not the published archive, or not all of it: its MD5 is {digest.hexdigest()}, published is "
            f"{md5}; remove it, if it lies there, and try again"
        )


def _unpack(archive: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(temporary)
        top = Path(temporary) / folder.name
        if not top.is_dir():
            raise UserError(f"the archive {archive.absolute()} holds no folder {folder.name}")
        top.rename(folder)
