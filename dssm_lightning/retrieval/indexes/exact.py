"""Search through all vectors, in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dssm_lightning.retrieval.indexes.base import VECTORS, Index
from dssm_lightning.retrieval.indexes.binary_codes import BinaryCodes
from dssm_lightning.retrieval.indexes.group_search import best_of, search_rows
from dssm_lightning.retrieval.indexes.index_files import INDEX, Manifest, read_array
from dssm_lightning.retrieval.indexes.row_stores import FloatRows, Floats, Int8Rows, Places, RowStore
from dssm_lightning.utils.errors import UserError, require_choice, require_whole

PRECISIONS = ("float32", "float16", "int8", "binary")
"""What a number of a vector takes: 4 bytes, 2, 1, and one bit."""
RESCORES = PRECISIONS[:3]
"""The precisions in which the best rows can be scored again."""
_ALL_AGAIN = 8  # times as many vectors as are scored again: of so few, all are scored with more precision


class Exact(Index):
    """Scores every vector; with float32, the answers are exact.

    With less precision, the vectors take 1/2, 1/4 or 1/32 of the memory, and answers are nearly exact. Give
    ``rescore`` to score the best ``oversampling · k`` vectors again with more precision. Binary codes are always
    scored again. They compare directions: they suit vectors of about the same length.

    float32 is fastest for many queries at a time; binary is fastest for one at a time.

    Args:
        precision: of the vectors that are all scored: ``float32``, ``float16``, ``int8`` or ``binary``.
        rescore: the precision in which the best are scored again: ``float32``, ``float16`` or ``int8``. None: ``int8``
            after ``binary``, else nothing is scored again.
        oversampling: how many times k vectors are scored again. Of at most 8 times as many vectors, as under a narrow
            filter, all are scored in ``rescore``.

    Raises:
        UserError: an unknown precision, or an oversampling below 1.

    Example:
        >>> vectors = np.random.default_rng(0).normal(size=(2000, 128))
        >>> index = Exact(precision="binary").build(vectors)
        >>> index.search(vectors[[7, 9]], k=1).rows.tolist()
        [[7], [9]]
    """

    engine: ClassVar[str] = "exact"

    def __init__(self, precision: str = "float32", rescore: str | None = None, oversampling: int = 40) -> None:
        super().__init__()
        require_choice("Exact", "precision", precision, PRECISIONS)
        if rescore is not None:
            require_choice("Exact", "rescore", rescore, RESCORES)
        require_whole("Exact", "oversampling", oversampling)
        self.precision, self.oversampling = precision, oversampling
        self.rescore = "int8" if rescore is None and precision == "binary" else rescore
        self._stores: dict[str, RowStore] = {}
        self._bits: BinaryCodes | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments with which the index was made."""
        return {"precision": self.precision, "rescore": self.rescore, "oversampling": self.oversampling}

    @property
    def exact_scores(self) -> bool:
        """Whether scores are inner products of the vectors as they were given, and not of less precise ones."""
        return (self.rescore or self.precision) == "float32"

    def num_bytes(self) -> int:
        """Return the memory that the index takes; arrays that are mapped from files count as well."""
        held = sum(store.num_bytes for store in self._stores.values())
        return held + (0 if self._bits is None else self._bits.words.nbytes + self._bits.rotation.nbytes)

    def _precisions(self) -> list[str]:
        return [each for each in dict.fromkeys([self.precision, self.rescore]) if each in RESCORES and each]

    def _build(self, vectors: Floats) -> None:
        stores = {precision: _store(precision, vectors) for precision in self._precisions()}
        self._bits = BinaryCodes.of(vectors) if self.precision == "binary" else None
        self._stores = stores

    def _search(self, queries: Floats, k: int, places: Places | None) -> tuple[Floats, Places]:
        if self.rescore is None or self.rescore == self.precision:
            return search_rows(self._stores[self.precision], queries, k, places)
        count = len(self._stores[self.rescore]) if places is None else len(places)
        most = min(count, k * self.oversampling)
        if count <= _ALL_AGAIN * most:  # about as fast, and finds more
            return search_rows(self._stores[self.rescore], queries, k, places)
        if self._bits is not None:
            words = self._bits.words_of(queries)
            near = [self._bits.nearest(word, most, places) for word in words]
        else:
            near = list(np.sort(search_rows(self._stores[self.precision], queries, most, places)[1], axis=1))
        scores, found = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        for row, own in enumerate(near):
            scores[row], found[row] = best_of(self._stores[self.rescore], queries[row], own, k)
        return scores, found

    def _write(self, folder: Path, with_vectors: bool) -> None:
        for precision, store in self._stores.items():
            if isinstance(store, Int8Rows):
                np.save(folder / "int8.npy", store.codes)
                np.save(folder / "int8_scales.npy", store.scales)
            elif isinstance(store, FloatRows) and (precision != "float32" or with_vectors):
                np.save(folder / (VECTORS if precision == "float32" else "float16.npy"), store.values)
        if self._bits is not None:
            np.save(folder / "bits.npy", self._bits.words)
            np.save(folder / "rotation.npy", self._bits.rotation)

    def _read(self, folder: Path, manifest: Manifest, vectors: Floats | None) -> None:
        shape = (manifest.count, manifest.width)
        for precision in self._precisions():
            if precision == "int8":
                scales = read_array(folder, manifest, "int8_scales.npy", shape[:1], np.float32)
                self._stores[precision] = Int8Rows(read_array(folder, manifest, "int8.npy", shape, np.int8), scales)
            elif precision == "float32":
                self._stores[precision] = FloatRows(read_vectors(folder, manifest) if vectors is None else vectors)
            else:
                self._stores[precision] = FloatRows(read_array(folder, manifest, "float16.npy", shape, np.float16))
        if self.precision == "binary":
            words = read_array(folder, manifest, "bits.npy", (-(-shape[1] // 64), shape[0]), np.uint64)
            rotation = read_array(folder, manifest, "rotation.npy", (shape[1], shape[1]), np.float32)
            self._bits = BinaryCodes(words, rotation)


def read_vectors(folder: Path, manifest: Manifest) -> Floats:
    """Map the vectors of a saved index into memory.

    Raises:
        UserError: the index was saved without them, or the file is damaged.
    """
    if VECTORS not in manifest.files:
        raise UserError(f"{folder} was saved without its vectors, as {INDEX} says: give them, load(folder, vectors)")
    return read_array(folder, manifest, VECTORS, (manifest.count, manifest.width), np.float32)


def _store(precision: str, vectors: Floats) -> RowStore:
    if precision == "int8":
        return Int8Rows.of(vectors)
    if precision == "float16":
        with np.errstate(over="ignore"):
            halves = vectors.astype(np.float16)
        if not np.isfinite(halves).all():
            raise UserError("Exact: precision is 'float16', but a number of the vectors is greater than 65,504")
        return FloatRows(halves)
    return FloatRows(vectors)
