"""Copy bundles to and from any file system that fsspec knows; what arrives is what was sent, or nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from dssm_lightning.retrieval.bundle.files import CARD, MANIFEST, Content, names_in, verify_files
from dssm_lightning.retrieval.bundle.manifest import LONGEST, parse_manifest, read_manifest
from dssm_lightning.retrieval.bundle.writing import bundle_folder
from dssm_lightning.utils.errors import UserError

_AT_ONCE = 1 << 22  # bytes


def push(bundle: str | Path, url: str, **options: Any) -> None:
    """Copy a bundle to a file system. The manifest comes last, so that a broken transfer is no bundle.

    Args:
        bundle: the folder, whose checksums are compared first.
        url: such as ``s3://models/emoji``, ``gs://…`` or ``file:///srv/models/emoji``.
        options: options of the file system, such as credentials.

    Raises:
        UserError: a damaged bundle; a file system that is not known, or not installed; it cannot be written.

    Example:
        >>> push("bundle", "s4://models/emoji")
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: bundle: there is no manifest.json, so this is no bundle; `export` \
writes one
    """
    folder = Path(bundle)
    files = read_manifest(folder).files
    verify_files(folder, files)
    system, root = _file_system(url, options)
    names = [name for name in names_in(folder) if name != MANIFEST]
    with _reporting(url, "written"):
        earlier = _files_at(system, root, url)
        if system.exists(f"{root}/{MANIFEST}"):
            system.rm_file(f"{root}/{MANIFEST}")  # an older bundle is none until the new one is complete
        for name in [*names, MANIFEST]:
            system.makedirs(f"{root}/{name}".rpartition("/")[0], exist_ok=True)
            with (folder / name).open("rb") as source, system.open(f"{root}/{name}", "wb") as target:
                while part := source.read(_AT_ONCE):
                    target.write(part)
        for name in earlier.difference(files):
            if system.exists(f"{root}/{name}"):
                system.rm_file(f"{root}/{name}")


def _files_at(system: Any, root: str, url: str) -> set[str]:
    """Return the files of the bundle that is at the URL; none if there is no bundle that can be read."""
    try:
        return set(parse_manifest(_manifest_at(system, root, url), url).files)
    except UserError:
        return set()


def pull(url: str, bundle: str | Path, **options: Any) -> None:
    """Copy a bundle from a file system into a folder, whole or not at all, and compare its checksums.

    No more is read of a file than the manifest says it has.

    Args:
        url: as for :func:`push`.
        bundle: the folder; a bundle in it is replaced.
        options: options of the file system.

    Raises:
        UserError: no bundle is there, or one that is damaged; a file system that is not known, or not installed.
    """
    system, root = _file_system(url, options)
    _pull(system, root, url, _manifest_at(system, root, url), Path(bundle))


def pull_into_cache(url: str, **options: Any) -> Path:
    """Return a local folder with the bundle of a URL, verified; an unchanged bundle is not pulled again.

    The folder lies in ``~/.cache/dssm_lightning/bundles``, or in that of ``XDG_CACHE_HOME``. One that is damaged is
    pulled again. Processes that pull the same bundle wait for each other. Errors as for :func:`pull`.
    """
    system, root = _file_system(url, options)
    content = _manifest_at(system, root, url)
    manifest = parse_manifest(content, f"{url}/{MANIFEST}")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home / "dssm_lightning" / "bundles" / hashlib.sha256(content).hexdigest()[:20]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        try:
            if (folder / MANIFEST).read_bytes() != content:
                raise UserError("damaged")
            verify_files(folder, manifest.files)
        except (UserError, OSError):
            if folder.is_dir():
                shutil.rmtree(folder)
            _pull(system, root, url, content, folder)
    return folder


def _pull(system: Any, root: str, url: str, content: bytes, target: Path) -> None:
    manifest = parse_manifest(content, f"{url}/{MANIFEST}")
    with bundle_folder(target) as folder:
        (folder / MANIFEST).write_bytes(content)
        for name, expected in manifest.files.items():
            _fetch(system, f"{root}/{name}", folder / name, expected, f"{url}/{name}")
        with _reporting(url, "read"):
            card = _read(system, f"{root}/{CARD}", LONGEST) if system.exists(f"{root}/{CARD}") else None
        if card is not None:
            (folder / CARD).write_bytes(card)


@contextmanager
def _reporting(url: str, what: str) -> Iterator[None]:
    """Turn the errors of a file system, which are of any class, into one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise UserError(f"{url} cannot be {what}: {type(error).__name__}: {reason[:200]}") from error


def _file_system(url: str, options: dict[str, Any]) -> tuple[Any, str]:
    try:
        import fsspec

        system, root = fsspec.core.url_to_fs(url, **options)
    except (ValueError, ImportError) as error:  # an unknown protocol, or one whose package is missing
        raise UserError(f"{url}: {error}") from error
    return system, str(root).rstrip("/")


def _manifest_at(system: Any, root: str, url: str) -> bytes:
    with _reporting(url, "read"):
        try:
            content = _read(system, f"{root}/{MANIFEST}", LONGEST)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise UserError(f"{url}: there is no {MANIFEST}, so this is no bundle") from error
    if content is None:
        raise UserError(f"{url}/{MANIFEST} has more than {LONGEST:,} bytes; it is damaged")
    return content


def _read(system: Any, path: str, most: int) -> bytes | None:
    with system.open(path, "rb") as file:
        content: bytes = file.read(most + 1)
    return content if len(content) <= most else None


def _fetch(system: Any, path: str, target: Path, expected: Content, source: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), expected.size
    with target.open("wb") as written, _reporting(source, "copied"):
        try:
            with system.open(path, "rb") as file:
                while left and (part := file.read(min(left, _AT_ONCE))):
                    written.write(part)
                    digest.update(part)
                    left -= len(part)
                longer = bool(file.read(1))
        except FileNotFoundError as error:
            raise UserError(f"{source} is missing; push the bundle again") from error
    if left or longer or digest.hexdigest() != expected.sha256:
        raise UserError(f"{source} is not the file that {MANIFEST} describes; push the bundle again")
