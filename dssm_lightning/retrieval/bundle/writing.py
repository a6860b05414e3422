"""Write a bundle, whole or not at all."""

from __future__ import annotations

import copy
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from dssm_lightning.retrieval.bundle.files import CARD, MANIFEST, names_in
from dssm_lightning.retrieval.bundle.manifest import CorpusFacts, Manifest, read_manifest, write_manifest
from dssm_lightning.retrieval.bundle.onnx_towers import OnnxTowers
from dssm_lightning.retrieval.bundle.reading import CANDIDATES, CORPUS, EMBEDDINGS, INDEX, TERMS
from dssm_lightning.retrieval.candidate_tables import table_of
from dssm_lightning.retrieval.corpus import Corpus
from dssm_lightning.retrieval.indexes.base import Index
from dssm_lightning.retrieval.indexes.index_files import require_replaceable
from dssm_lightning.utils.atomic_files import atomic_folder
from dssm_lightning.utils.errors import UserError


@contextmanager
def bundle_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder for a bundle's files; at the end it takes the place of ``path``, or nothing changes.

    Raises:
        UserError: as for :func:`require_bundle_or_nothing`; another process writes there.
        OSError: the folder cannot be written, for example because the disk is full.
    """
    from filelock import FileLock, Timeout

    path = path.absolute()
    require_bundle_or_nothing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(
            f"{path}: another process writes a bundle there; wait for its end, or name another folder"
        ) from error
    try:
        with atomic_folder(path) as temporary:
            yield temporary
            for name in names_in(temporary):
                _make_readable(temporary / name)
    finally:
        with suppress(OSError):  # before the release, so that no other process holds a lock that is gone
            Path(lock.lock_file).unlink()
        lock.release()


def require_bundle_or_nothing(path: Path) -> None:
    """Refuse a place for a bundle at which something else would be lost.

    Raises:
        UserError: ``path`` exists and is neither an empty folder nor a bundle, or the bundle's folder has a file that
            is none of the bundle's.
    """
    if path.is_dir() and not any(path.iterdir()):
        return
    if not path.is_symlink() and not path.exists():
        return
    require_replaceable(path, MANIFEST)
    try:
        known = {MANIFEST, CARD, *read_manifest(path).files}
    except UserError as error:
        raise UserError(f"{path} exists and is no bundle, which could be replaced: {error}") from error
    for found in sorted(path.rglob("*")):
        name = found.relative_to(path).as_posix()
        if name not in known and (found.is_symlink() or not found.is_dir()):
            raise UserError(f"{path} has the file {name!r}, which is none of the bundle's and would be lost: move it")


def _make_readable(path: Path) -> None:
    """Let others read a file: a server may be another user, and safetensors makes private files."""
    status = path.stat()
    if status.st_nlink == 1:  # a file that another bundle shares keeps its mode
        path.chmod(stat.S_IMODE(status.st_mode) | 0o644)


def write_corpus(folder: Path, corpus: Corpus, own_vectors: bool) -> None:
    """Write the candidates, their pictures, embeddings and indexes, and the index of words into a bundle's folder.

    Args:
        folder: the folder.
        corpus: the candidates.
        own_vectors: the indexes hold other vectors than the embeddings, which are then written beside them.
    """
    from safetensors.numpy import save_file

    (folder / CORPUS).mkdir(exist_ok=True)
    corpus.rows.save(folder / CORPUS)
    if corpus.pictures is not None:
        corpus.pictures.save(folder / CORPUS)
    save_file({"embeddings": np.ascontiguousarray(corpus.embeddings)}, folder / CORPUS / EMBEDDINGS)
    table_of(corpus.rows, corpus.kinds).write_parquet(folder / CORPUS / CANDIDATES)  # for other tools
    write_indexes(folder, [_reproducible(index) for index in corpus.indexes], own_vectors)
    if corpus.terms is not None:
        (folder / TERMS).mkdir()
        corpus.terms.save(folder / TERMS)


def _reproducible(index: Index) -> Index:
    """Return an index that is saved without the time that building it took: equal bundles have equal bytes."""
    made = copy.copy(index)
    made.measured = {name: value for name, value in index.measured.items() if name != "build_seconds"}
    return made


def write_indexes(folder: Path, indexes: Sequence[Index], own_vectors: bool) -> None:
    """Write the indexes; arguments as for :func:`write_corpus`."""
    if len(indexes) == 1:
        indexes[0].save(folder / INDEX, with_vectors=own_vectors)
        return
    for head, index in enumerate(indexes):
        index.save(folder / INDEX / str(head))


def save_corpus(source: Path, target: Path, corpus: Corpus) -> None:
    """Write a bundle with another corpus of the same model.

    Args:
        source: the bundle of the model.
        target: the new bundle; may be the source.
        corpus: the candidates.

    Raises:
        UserError: as for :func:`bundle_folder`; the source holds another model by now.
    """

    towers = corpus.towers
    assert isinstance(towers, OnnxTowers), "the corpus was loaded from a bundle"

    def change(folder: Path, manifest: Manifest) -> Manifest:
        towers.require_same_programs(manifest)
        write_corpus(folder, corpus, manifest.programs.vectors is not None)
        facts = facts_of(corpus, manifest.corpus.display)
        card = folder / CARD
        if card.is_file():
            text = card.read_text(encoding="utf-8", errors="surrogateescape")
            text = text.replace(manifest.corpus.size, facts.size)
            card.write_text(text, encoding="utf-8", errors="surrogateescape")
        return replace(manifest, corpus=facts)

    rewrite(source, target, change, (CORPUS, INDEX, TERMS))


def facts_of(corpus: Corpus, display: Sequence[str]) -> CorpusFacts:
    """Return what the manifest says of a corpus."""
    count, width = corpus.embeddings.shape
    checksums = [index.checksum for index in corpus.indexes]
    column = None if corpus.pictures is None else corpus.pictures.column
    return CorpusFacts(count, width, corpus.rows.columns[0], corpus.kinds, list(display), checksums, column)


def rewrite(source: Path, target: Path, change: Callable[[Path, Manifest], Manifest], parts: Sequence[str]) -> None:
    """Write a bundle that differs from another one, or from its former self, in some parts.

    Args:
        source: a bundle, which has been verified.
        target: the new bundle; may be the source.
        change: writes the new parts into a folder and returns the manifest.
        parts: names of files and folders that are not taken over from the source.

    Raises:
        UserError: as for :func:`bundle_folder`.
    """
    with bundle_folder(target) as folder:
        manifest = read_manifest(source)  # under the lock of the target, which may be the source
        for name in [*manifest.files, *([CARD] if (source / CARD).is_file() else [])]:
            if name.split("/")[0] not in parts:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                _link_or_copy(source / name, folder / name)
        taken = {name: manifest.files[name] for name in names_in(folder) if name in manifest.files}
        written = write_manifest(folder, replace(change(folder, manifest), files={}))
        for name, content in taken.items():
            if written[name] != content:  # and its new checksum would hide it
                raise UserError(
                    f"{source}: the file {name!r} was changed: its checksum differs; export the bundle again"
                )


def _link_or_copy(source: Path, target: Path) -> None:
    if source.name == CARD:  # which people edit
        shutil.copyfile(source, target)
        return
    try:
        target.hardlink_to(source)  # never changed in place
    except OSError:  # another file system
        shutil.copyfile(source, target)
