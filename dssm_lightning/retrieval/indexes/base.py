"""What every index does: it is built of vectors, searched, saved and loaded."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dssm_lightning.retrieval.indexes.checks import checked_places, checked_rows, checked_vectors, require_k
from dssm_lightning.retrieval.indexes.index_files import (
    INDEX,
    Manifest,
    corpus_checksum,
    installed,
    read_array,
    read_manifest,
    require_corpus,
    require_replaceable,
    write_manifest,
)
from dssm_lightning.retrieval.indexes.row_stores import Floats, Places
from dssm_lightning.utils.atomic_files import atomic_folder
from dssm_lightning.utils.errors import UserError

AnyIndex = TypeVar("AnyIndex", bound="Index")
VECTORS, ROWS = "vectors.npy", "rows.npy"


class Found(NamedTuple):
    """The answers of a search, best first.

    Example:
        >>> found = Found(np.array([[0.9, 0.8]]), np.array([[4, 2]]))
        >>> found.rows[0].tolist()
        [4, 2]
    """

    scores: Floats  # (Q, k) inner products
    rows: NDArray[np.int64]  # (Q, k)


class Index(ABC):
    """Finds the rows of a corpus with the greatest inner products.

    A subclass answers exactly or approximately. Every index answers in the same form, refuses the same mistakes, and
    gives the same answer to the same question. Searches may run in several threads at once.

    Attributes:
        count: N, the number of vectors; 0 before :meth:`build`.
        width: D of the vectors.

    Example:
        >>> from dssm_lightning.retrieval.indexes import Exact
        >>> index = Exact().build(np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32))
        >>> index.search([[0, 2]], k=2).rows.tolist()
        [[1, 2]]
        >>> index.search([[0, 2]], k=2, allowed=np.array([True, False, True])).rows.tolist()
        [[2, 0]]
    """

    engine: ClassVar[str]
    """The name in ``index.json``."""
    package: ClassVar[str] = "numpy"
    """The package that does the work; its version is noted."""

    def __init__(self) -> None:
        self.count = self.width = 0
        self.measured: dict[str, Any] = {}
        self._rows: NDArray[np.int64] | None = None
        self._corpus: int | None = None

    def build(self: AnyIndex, vectors: ArrayLike, rows: ArrayLike | None = None) -> AnyIndex:
        """Index vectors, in place of those that were indexed before.

        Args:
            vectors: (N, D) numbers. A contiguous float32 array is not copied where the engine needs the vectors, also
                if it is mapped from a file: do not change it afterwards.
            rows: (N,) ascending whole numbers, by which answers name the vectors; None numbers them 0 … N − 1.

        Returns:
            the index itself.

        Raises:
            UserError: vectors that are no table of finite numbers; rows that do not ascend; an engine that is not
                installed, or cannot hold these vectors.
        """
        checked = checked_vectors(vectors, "vectors")
        numbers = None if rows is None else checked_rows(rows, len(checked))
        self.measured = {}
        start = time.process_time()
        self._build(checked)
        self.measured["build_seconds"] = round(time.process_time() - start, 3)
        (self.count, self.width), self._rows, self._corpus = checked.shape, numbers, corpus_checksum(checked)
        return self

    def search(self, queries: ArrayLike, k: int, allowed: ArrayLike | None = None) -> Found:
        """Find the k rows with the greatest inner product for each query, best first.

        Of equal scores the lower row comes first.

        Args:
            queries: (Q, D) numbers.
            k: the number of rows for each query.
            allowed: (N,) truth values: which vectors may be found. A filter gives such a mask:
                :func:`~dssm_lightning.retrieval.filters.parse_filter`.

        Raises:
            UserError: no index was built; queries of another width, or with numbers that are not finite; k that is
                not from 1 to the number of vectors, or of allowed vectors; a mask of another length or type.
        """
        if not self.count:
            raise UserError(f"{type(self).__name__}: there is nothing to search; build or load the index first")
        checked = checked_vectors(queries, "queries", empty=True)
        if checked.shape[1] != self.width:
            raise UserError(f"queries are {checked.shape[1]} wide; the vectors of the index are {self.width} wide")
        places = None if allowed is None else checked_places(allowed, self.count)
        require_k(k, self.count, self.count if places is None else len(places))
        if not len(checked):
            return Found(np.empty((0, k), np.float32), np.empty((0, k), np.int64))
        with np.errstate(over="ignore", invalid="ignore"):
            scores, found = self._search(
                checked, int(k), None if places is None or len(places) == self.count else places
            )
        if not np.isfinite(scores).all():
            raise UserError("a score is not finite: numbers of the queries or the vectors are too great for float32")
        return Found(scores, found if self._rows is None else np.asarray(self._rows[found]))

    def save(self, folder: str | Path, with_vectors: bool = True) -> None:
        """Write the index to a folder, atomically; an existing folder is replaced.

        Args:
            folder: the folder.
            with_vectors: also write the vectors (N, D), if the engine needs them. Without them, give them to
                :meth:`load`.

        Raises:
            UserError: no index was built; the folder holds something else than an index.
            OSError: the folder cannot be written.
        """
        if self._corpus is None:
            raise UserError(f"{type(self).__name__}: there is nothing to save; build the index first")
        require_replaceable(Path(folder), INDEX)
        with atomic_folder(Path(folder)) as temporary:
            self._write(temporary, with_vectors)
            if self._rows is not None:
                np.save(temporary / ROWS, self._rows)
            versions = installed("dssm-lightning", "numpy", self.package)
            write_manifest(
                temporary,
                Manifest(self.engine, self.settings, self.count, self.width, self._corpus, self.measured, versions),
            )

    @property
    def checksum(self) -> int:
        """The CRC-32 of the vectors of which the index was built; 0 before it."""
        return self._corpus or 0

    def same_vectors(self, other: Index) -> bool:
        """Return whether two indexes were built of the same vectors."""
        mine, its = ((each.count, each.width, each._corpus) for each in (self, other))
        return self._corpus is not None and mine == its

    @property
    def build_seconds(self) -> float:
        """The processor time that building took, in seconds; 0 before it."""
        return float(self.measured.get("build_seconds", 0.0))

    @classmethod
    def load(
        cls: type[AnyIndex], folder: str | Path, vectors: ArrayLike | None = None, verify: bool = True, **settings: Any
    ) -> AnyIndex:
        """Open a saved index; its arrays are mapped from their files.

        Args:
            folder: the folder.
            vectors: the vectors of which the index was built: they are compared by a checksum, and used in place of
                those in the folder.
            verify: read the files and the vectors once, to compare their checksums. False: only sizes, shapes and
                types are compared; choose it if you have verified them yourself.
            settings: arguments of the class, in place of those in the folder.

        Raises:
            UserError: a damaged, changed or newer folder; another engine; an index of other vectors.
        """
        path = Path(folder)
        manifest = read_manifest(path, verify)
        if manifest.engine != cls.engine:
            raise UserError(
                f"{path} is an index of the engine {manifest.engine!r}, and {cls.__name__} reads {cls.engine!r}"
            )
        index = cls._from_settings(manifest.settings, settings, str(path))
        given = None if vectors is None else checked_vectors(vectors, "vectors", finite=verify)
        if given is not None:
            require_corpus(manifest, given, str(path), verify)
        index.measured = manifest.measured
        index._read(path, manifest, given)
        index._rows = _read_rows(path, manifest)
        index.count, index.width, index._corpus = manifest.count, manifest.width, manifest.corpus
        return index

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The arguments with which the index was made."""

    @property
    def exact_scores(self) -> bool:
        """Whether scores are inner products of the vectors as they were given."""
        return True

    @abstractmethod
    def num_bytes(self) -> int:
        """Return the memory that the index takes, or its files."""

    @classmethod
    def _from_settings(cls: type[AnyIndex], saved: dict[str, Any], given: dict[str, Any], source: str) -> AnyIndex:
        try:
            return cls(**{**saved, **given})
        except TypeError as error:
            raise UserError(f"{source}: {cls.__name__} has not all of the settings {sorted(saved | given)}") from error

    @abstractmethod
    def _build(self, vectors: Floats) -> None:
        """Index vectors."""

    @abstractmethod
    def _search(self, queries: Floats, k: int, places: Places | None) -> tuple[Floats, Places]:
        """Return scores and places (Q, k); ``places``: ascending, those that may be found; None = all."""

    @abstractmethod
    def _write(self, folder: Path, with_vectors: bool) -> None:
        """Write the engine's files."""

    @abstractmethod
    def _read(self, folder: Path, manifest: Manifest, vectors: Floats | None) -> None:
        """Read the engine's files; ``vectors``: given by the caller, and checked."""


def _read_rows(folder: Path, manifest: Manifest) -> NDArray[np.int64] | None:
    if ROWS not in manifest.files:
        return None
    rows = read_array(folder, manifest, ROWS, (manifest.count,), np.int64)
    return checked_rows(np.array(rows), manifest.count)
