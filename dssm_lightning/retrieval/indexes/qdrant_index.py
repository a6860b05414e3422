"""Indexes of Qdrant: in this process, or on a server."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dssm_lightning.retrieval.indexes.base import VECTORS, Index
from dssm_lightning.retrieval.indexes.exact import read_vectors
from dssm_lightning.retrieval.indexes.group_search import score_again, search_rows
from dssm_lightning.retrieval.indexes.index_files import Manifest
from dssm_lightning.retrieval.indexes.qdrant_engines import Embedded, Graph, QdrantEngine, padded
from dssm_lightning.retrieval.indexes.qdrant_server import STAND_IN, Server, connect
from dssm_lightning.retrieval.indexes.row_stores import FloatRows, Floats, Places
from dssm_lightning.utils.errors import UserError, require_whole


class Qdrant(Index):
    """A graph of Qdrant, compared by inner products.

    The vectors stay at hand beside it: scores are exact products, and a mask is answered exactly from them.
    :meth:`save` writes the vectors and where Qdrant is; Qdrant's own files stay at ``location``. To load an index on a
    server, name the server again: ``load(folder, location="http://…")``.

    Args:
        location: None, a temporary folder; the path of a folder, which this process reads itself; or the URL of a
            server, ``http://…`` or ``https://…``.
        collection: the name on a server, an alias: ``build`` sends the vectors to a new collection, switches the alias
            to it when all are there, and continues where it stopped if it broke off. A folder has no name.
        ef: how many points a search keeps in view; more find more.
        m: edges of each point.
        ef_construct: how many points are kept in view while the graph is built.

    Raises:
        UserError: a number below 1, or a collection without a name.

    Example:
        >>> angles = np.linspace(0, 3, 500)
        >>> vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> Qdrant().build(vectors).search(vectors[[7]], k=1).rows.tolist()
        [[7]]
    """

    engine: ClassVar[str] = "qdrant"
    package: ClassVar[str] = "qdrant-edge-py"

    def __init__(
        self,
        location: str | None = None,
        collection: str = "vectors",
        ef: int = 128,
        m: int = 16,
        ef_construct: int = 128,
    ) -> None:
        super().__init__()
        for name, value in (("ef", ef), ("m", m), ("ef_construct", ef_construct)):
            require_whole("Qdrant", name, value)
        if not isinstance(collection, str) or not collection:
            raise UserError(f"Qdrant: collection is {collection!r}; it must be a name")
        if location is not None and not isinstance(location, str):
            raise UserError(f"Qdrant: location is {location!r}; it must be a folder or a URL")
        self.location, self.collection, self.ef, self.m, self.ef_construct = location, collection, ef, m, ef_construct
        self._engine: QdrantEngine | None = None
        self._vectors: FloatRows | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments with which the index was made."""
        names = ("location", "collection", "ef", "m", "ef_construct")
        return {name: getattr(self, name) for name in names}

    def num_bytes(self) -> int:
        """Return the size of the vectors and of Qdrant's folder; a server's is not known."""
        return self._stored().num_bytes + (0 if self._engine is None else self._engine.num_bytes())

    def _build(self, vectors: Floats) -> None:
        engine = self._engine or self._connected()
        engine.build(vectors, Graph(self.m, self.ef_construct))
        self._engine, self._vectors = engine, FloatRows(vectors)

    def _search(self, queries: Floats, k: int, places: Places | None) -> tuple[Floats, Places]:
        vectors, engine = self._stored(), self._engine
        if places is not None or engine is None:
            return search_rows(vectors, queries, k, places)
        return score_again(vectors, queries, padded(engine.search(queries, k, max(k, self.ef)), k))

    def _stored(self) -> FloatRows:
        assert self._vectors is not None, "search() checks that the index was built"
        return self._vectors

    @classmethod
    def _from_settings(cls, saved: dict[str, Any], given: dict[str, Any], source: str) -> Qdrant:
        """Refuse a server that only the folder names: whoever wrote it would get to see the queries."""
        index = super()._from_settings(saved, given, source)
        if "location" not in given and "://" in (index.location or ""):
            raise UserError(
                f"{source} names the server {index.location}: to trust it, give it as location={index.location!r}"
            )
        return index

    def _connected(self) -> QdrantEngine:
        if self.location is None:
            folder = tempfile.mkdtemp(prefix="qdrant-")
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            return Embedded(Path(folder, "shard"))
        if self.location == STAND_IN or self.location.startswith(("http://", "https://")):
            return Server(connect(self.location), self.location, self.collection)
        if "://" in self.location:
            raise UserError(f"Qdrant: location is {self.location!r}; it must be a folder, or a URL with http or https")
        return Embedded(Path(self.location))

    def _write(self, folder: Path, with_vectors: bool) -> None:
        if self.location is None:
            raise UserError("Qdrant: a temporary folder cannot be saved; name a folder or a URL as its location")
        if with_vectors:
            np.save(folder / VECTORS, self._stored().values)

    def _read(self, folder: Path, manifest: Manifest, vectors: Floats | None) -> None:
        stored = FloatRows(read_vectors(folder, manifest) if vectors is None else vectors)
        engine = self._connected()
        engine.open(manifest.count, manifest.corpus)
        self._engine, self._vectors = engine, stored
