"""Indexes of FAISS: graphs, inverted lists, quantised vectors."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dssm_lightning.retrieval.indexes.base import VECTORS, Index
from dssm_lightning.retrieval.indexes.checks import require_engine
from dssm_lightning.retrieval.indexes.exact import read_vectors
from dssm_lightning.retrieval.indexes.filter_threshold import shares_that_keep_recall
from dssm_lightning.retrieval.indexes.group_search import score_again, search_rows
from dssm_lightning.retrieval.indexes.index_files import Manifest
from dssm_lightning.retrieval.indexes.row_stores import FloatRows, Floats, Places
from dssm_lightning.utils.errors import UserError, is_number

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULTS = {"efConstruction": 128, "efSearch": 128, "nprobe": 16}
"""FAISS' own defaults find much less. Of these, each index takes those that it has."""
_FILE = "index.faiss"


class Faiss(Index):
    """An index of FAISS by its factory string, compared by inner products.

    The vectors stay at hand beside the index: scores are exact products, also where FAISS found the rows by quantised
    vectors. A mask that leaves few vectors is answered exactly from them, because a graph loses recall under a filter.
    Above the share ``exact_below``, FAISS itself skips the other vectors. An index whose kind takes no mask always
    answers masks exactly.

    FAISS uses as many threads as it is set to (``OMP_NUM_THREADS``). A graph that is built by several threads may
    differ a little each time; with one thread it is the same.

    Args:
        factory: a factory string of FAISS, such as ``HNSW32``, ``IVF1024,Flat``, ``IVF1024,SQ8``, ``Flat``.
        parameters: of building and searching, such as ``{"efSearch": 64}`` or ``{"nprobe": 8}``; others are
            :data:`DEFAULTS`.
        exact_below: a mask that leaves a smaller share of the vectors is answered exactly. None: the share is measured
            when the index is built: above it, the recall of 10 is at least .99.

    Raises:
        UserError: parameters that are no numbers, or a share outside 0 … 1.

    Example:
        >>> angles = np.linspace(0, 3, 500)
        >>> vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> index = Faiss("HNSW16", {"efSearch": 32}).build(vectors)
        >>> index.search(vectors[[7]], k=1).rows.tolist()
        [[7]]
    """

    engine: ClassVar[str] = "faiss"
    package: ClassVar[str] = "faiss-cpu"

    def __init__(
        self,
        factory: str = "HNSW32",
        parameters: Mapping[str, float] | None = None,
        exact_below: float | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(factory, str) or not isinstance(parameters, Mapping | None):
            raise UserError(
                f"Faiss: factory is {factory!r} and parameters {parameters!r}; they must be a text and names"
            )
        self.factory, self.parameters, self.exact_below = factory, dict(parameters or {}), exact_below
        for name, value in self.parameters.items():
            if not is_number(value):
                raise UserError(f"Faiss: parameter {name} is {value!r}; it must be a number")
        if exact_below is not None and not (is_number(exact_below) and 0 <= exact_below <= 1):
            raise UserError(f"Faiss: exact_below is {exact_below!r}; it must be a share from 0 to 1")
        self._index: Any = None
        self._vectors: FloatRows | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments with which the index was made."""
        return {"factory": self.factory, "parameters": self.parameters, "exact_below": self.exact_below}

    def set_parameters(self, **parameters: float) -> None:
        """Search with other parameters from now on, such as ``efSearch=64``; the index is not built again.

        The share below which masks are answered exactly is measured again, unless it was given.

        Raises:
            UserError: no index was built, or it has no such parameter.
        """
        if self._index is None:
            raise UserError("Faiss: there is nothing to set parameters of; build or load the index first")
        _set_parameters(self._index, self.factory, parameters)
        self.parameters |= parameters
        self._measure_masks()

    def require_possible(self, width: int) -> None:
        """Refuse settings that FAISS refuses, before there are vectors.

        Raises:
            UserError: an unknown factory string or parameter; FAISS is not installed.
        """
        self._empty(width)

    def num_bytes(self) -> int:
        """Return the size of FAISS' index, as a file, and of the vectors beside it."""
        faiss, sizes = _faiss(), [0]
        faiss.write_index(self._index, faiss.PyCallbackIOWriter(lambda part: sizes.append(len(part))))
        return sum(sizes) + self._stored().num_bytes

    def _build(self, vectors: Floats) -> None:
        index = self._empty(vectors.shape[1])
        try:
            if not index.is_trained:
                index.train(vectors)
            index.add(vectors)
        except RuntimeError as error:
            raise UserError(
                f"Faiss: {self.factory!r} cannot hold {len(vectors):,} vectors of width {vectors.shape[1]}: "
                f"{_last_line(error)}"
            ) from error
        self._index, self._vectors = index, FloatRows(vectors)
        self._measure_masks()

    def _measure_masks(self) -> None:
        if self.exact_below is None:
            self.measured["exact_below"] = shares_that_keep_recall(self._stored().values, self._search_masked)

    def _empty(self, width: int) -> Any:
        faiss = _faiss()
        try:
            index = faiss.index_factory(width, self.factory, faiss.METRIC_INNER_PRODUCT)
        except RuntimeError as error:
            raise UserError(f"Faiss: FAISS knows no index {self.factory!r}: {_last_line(error)}") from error
        _set_parameters(index, self.factory, self.parameters)
        return index

    def _search(self, queries: Floats, k: int, places: Places | None) -> tuple[Floats, Places]:
        vectors, parameters = self._stored(), None
        if places is not None:
            least = self.measured.get("exact_below", 1.0) if self.exact_below is None else self.exact_below
            parameters = None if len(places) < least * len(vectors) else self._masked_parameters(places)
            if parameters is None:
                return search_rows(vectors, queries, k, places)
        return score_again(vectors, queries, self._index.search(queries, k, params=parameters)[1], places)

    def _search_masked(self, queries: Floats, k: int, places: Places) -> Places:
        """Return what FAISS finds under a mask, (Q, k); −1 where it found less."""
        parameters = self._masked_parameters(places)
        if parameters is None:
            return np.full((len(queries), k), -1, np.int64)
        found: Places = self._index.search(queries, k, params=parameters)[1]
        return found

    def _masked_parameters(self, places: Places) -> Any:
        """Return FAISS' search parameters that allow these places only; None if this kind of index takes no mask."""
        faiss, index = _faiss(), self._index
        mask = np.zeros(index.ntotal, bool)
        mask[places] = True
        selector = faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        if isinstance(index, faiss.IndexHNSW):
            return faiss.SearchParametersHNSW(sel=selector, efSearch=index.hnsw.efSearch)
        if isinstance(index, faiss.IndexIVF):
            return faiss.SearchParametersIVF(sel=selector, nprobe=index.nprobe)
        return faiss.SearchParameters(sel=selector) if isinstance(index, faiss.IndexFlat) else None

    def _stored(self) -> FloatRows:
        assert self._vectors is not None, "search() checks that the index was built"
        return self._vectors

    def _write(self, folder: Path, with_vectors: bool) -> None:
        _faiss().write_index(self._index, str(folder / _FILE))
        if with_vectors:
            np.save(folder / VECTORS, self._stored().values)

    def _read(self, folder: Path, manifest: Manifest, vectors: Floats | None) -> None:
        faiss, path = _faiss(), folder / _FILE
        stored = FloatRows(read_vectors(folder, manifest) if vectors is None else vectors)
        if _FILE not in manifest.files:
            raise UserError(f"{path} is missing; build the index again")
        try:
            with _limited_to(path.stat().st_size):
                index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise UserError(f"{path} is damaged: {_last_line(error)}; build the index again") from error
        found, expected = (index.ntotal, index.d), (manifest.count, manifest.width)
        if found != expected or index.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise UserError(f"{path} is not the index that index.json describes; build the index again")
        _set_parameters(index, self.factory, self.parameters)
        self._index, self._vectors = index, stored
        if self.parameters != manifest.settings.get("parameters"):
            self._measure_masks()


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise require_engine("faiss", "faiss", error) from error
    return faiss


def _set_parameters(index: Any, factory: str, parameters: Mapping[str, float]) -> None:
    space = _faiss().ParameterSpace()
    for name, value in {**DEFAULTS, **parameters}.items():
        try:
            space.set_index_parameter(index, name, value)
        except RuntimeError as error:
            if name in parameters:
                raise UserError(f"Faiss: an index {factory!r} has no parameter {name!r}") from error


@contextmanager
def _limited_to(size: int) -> Iterator[None]:
    """Let FAISS allocate no array that is larger than the file that it reads."""
    faiss = _faiss()
    if not hasattr(faiss, "set_deserialization_vector_byte_limit"):  # before 1.14
        yield
        return
    before = faiss.get_deserialization_vector_byte_limit()
    faiss.set_deserialization_vector_byte_limit(size)
    try:
        yield
    finally:
        faiss.set_deserialization_vector_byte_limit(before)


def _last_line(error: Exception) -> str:
    """Return what FAISS says, without the place in its sources."""
    return str(error).strip().rpartition("\n")[2].rpartition("Error: ")[2][:200]
