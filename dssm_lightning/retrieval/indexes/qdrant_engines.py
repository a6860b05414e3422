"""Qdrant in this process, by ``qdrant-edge-py``, and Qdrant's server, by ``qdrant-client``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dssm_lightning.retrieval.indexes.checks import require_engine
from dssm_lightning.retrieval.indexes.index_files import corpus_checksum, require_replaceable
from dssm_lightning.retrieval.indexes.row_stores import Floats, Places
from dssm_lightning.utils.atomic_files import atomic_folder
from dssm_lightning.utils.errors import UserError

STAND_IN = ":memory:"
"""A location: a small stand-in for a server in this process, for tests."""
_AT_ONCE = 2048  # points sent at once
_SHARD = "edge_config.json"


class Graph(NamedTuple):
    """How Qdrant builds its graph.

    Example:
        >>> Graph(m=16, ef_construct=128).m
        16
    """

    m: int  # edges of a point
    ef_construct: int


class QdrantEngine(ABC):
    """Holds points with the ids 0 … N − 1."""

    @abstractmethod
    def build(self, vectors: Floats, graph: Graph) -> None:
        """Hold these vectors in place of others; until all are there, the others are searched."""

    @abstractmethod
    def open(self, count: int, corpus: int) -> None:
        """Use the vectors that are there."""

    @abstractmethod
    def search(self, queries: Floats, k: int, ef: int) -> list[list[int]]:
        """Return the ids of the best points of each query, at most k."""

    @abstractmethod
    def num_bytes(self) -> int:
        """Return the size of the files; 0 if it is not known."""


class Embedded(QdrantEngine):
    """A folder that this process reads itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shard: Any = None

    def build(self, vectors: Floats, graph: Graph) -> None:
        """Write the folder under a temporary name, then rename it."""
        edge: Any = _edge()
        require_replaceable(self.folder, _SHARD)
        hnsw = edge.HnswIndexConfig(m=graph.m, ef_construct=graph.ef_construct, full_scan_threshold=10)
        config = edge.EdgeConfig(
            vectors=edge.EdgeVectorParams(size=vectors.shape[1], distance=edge.Distance.Dot, hnsw_config=hnsw),
            optimizers=edge.EdgeOptimizersConfig(indexing_threshold=1),  # in KB: else few vectors get no graph
            wal_enabled=False,  # a write-ahead log would lock the folder; it is written once, and flushed
        )
        with atomic_folder(self.folder) as temporary:
            shard = edge.EdgeShard.create(str(temporary), config)
            for start in range(0, len(vectors), _AT_ONCE):
                part = enumerate(vectors[start : start + _AT_ONCE].tolist(), start)
                shard.update(edge.UpdateOperation.upsert_points([edge.Point(id, vector) for id, vector in part]))
            shard.optimize()
            shard.flush()
            shard.close()
            if self._shard is not None:
                self._shard.close()
                self._shard = None
        self._open(len(vectors))

    def open(self, count: int, corpus: int) -> None:
        """Open the folder."""
        if not (self.folder / _SHARD).is_file():
            raise UserError(f"{self.folder} is no folder of Qdrant; build the index again")
        self._open(count)

    def _open(self, count: int) -> None:
        edge: Any = _edge()
        try:
            shard = edge.EdgeShard.load(str(self.folder))
            found = shard.count(edge.CountRequest(exact=True))
        except Exception as error:  # Qdrant raises nothing narrower
            raise UserError(f"{self.folder}: Qdrant cannot open it: {_one_line(error)}") from error
        if found != count:
            shard.close()
            raise UserError(f"{self.folder} holds {found:,} points instead of {count:,}; build the index again")
        self._shard = shard

    def search(self, queries: Floats, k: int, ef: int) -> list[list[int]]:
        """Search the folder."""
        edge: Any = _edge()
        parameters = edge.SearchParams(hnsw_ef=ef)
        requests = [
            edge.QueryRequest(limit=k, query=edge.Query.Nearest(query), params=parameters) for query in queries.tolist()
        ]
        return [[point.id for point in self._shard.query(request)] for request in requests]

    def num_bytes(self) -> int:
        """Return the size of the files of the folder."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


class Server(QdrantEngine):
    """A collection of a server.

    The vectors are sent to a collection whose name ends with their checksum. A build that broke off continues where it
    stopped. When all vectors are there, the alias, which is the name that users know, is switched to it in one step.
    """

    def __init__(self, client: Any, location: str, collection: str) -> None:
        self.client, self.location, self.collection = client, location, collection

    def build(self, vectors: Floats, graph: Graph) -> None:
        """Send the vectors, switch the alias, and remove the collection that it named before."""
        from qdrant_client import models

        name = f"{self.collection}-{corpus_checksum(vectors):08x}-{len(vectors)}x{vectors.shape[1]}"
        with self._errors("the build continues where it stopped when it is run again"):
            if not self.client.collection_exists(name):
                hnsw = models.HnswConfigDiff(m=graph.m, ef_construct=graph.ef_construct)
                params = models.VectorParams(size=vectors.shape[1], distance=models.Distance.DOT, hnsw_config=hnsw)
                self.client.create_collection(name, vectors_config=params)
            there = self.client.count(name, exact=True).count
            for start in range(there // _AT_ONCE * _AT_ONCE, len(vectors), _AT_ONCE):
                part = vectors[start : start + _AT_ONCE].tolist()
                ids: list[Any] = list(range(start, start + len(part)))
                self.client.upsert(name, models.Batch(ids=ids, vectors=part), wait=True)
            self._require_count(name, len(vectors))
            self._switch(name)

    def _switch(self, name: str) -> None:
        from qdrant_client import models

        before = self._target()
        if before is None and self.client.collection_exists(self.collection):
            raise UserError(
                f"Qdrant at {self.location}: {self.collection!r} is a collection, not an alias; choose another name"
            )
        steps: list[Any] = []
        if before is not None:
            steps.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self.collection)))
        create = models.CreateAlias(collection_name=name, alias_name=self.collection)
        self.client.update_collection_aliases([*steps, models.CreateAliasOperation(create_alias=create)])
        if before not in (None, name):
            self.client.delete_collection(before)

    def _target(self) -> str | None:
        aliases = self.client.get_aliases().aliases
        return next((each.collection_name for each in aliases if each.alias_name == self.collection), None)

    def open(self, count: int, corpus: int) -> None:
        """Check that the alias names the collection of these vectors."""
        with self._errors("is the server running?"):
            target = self._target()
            if target is None or not target.startswith(f"{self.collection}-{corpus:08x}-{count}x"):
                raise UserError(
                    f"Qdrant at {self.location}: {self.collection!r} does not hold these vectors; build the index again"
                )
            self._require_count(target, count)

    def search(self, queries: Floats, k: int, ef: int) -> list[list[int]]:
        """Send the queries in one request."""
        from qdrant_client import models

        parameters = None if self.location == STAND_IN else models.SearchParams(hnsw_ef=ef)
        requests = [models.QueryRequest(query=query, limit=k, params=parameters) for query in queries.tolist()]
        with self._errors("is the server running?"):
            answers = self.client.query_batch_points(self.collection, requests=requests)
        return [[point.id for point in answer.points] for answer in answers]

    def num_bytes(self) -> int:
        """Return 0: the server does not tell."""
        return 0

    def _require_count(self, name: str, count: int) -> None:
        found = self.client.count(name, exact=True).count
        if found != count:
            raise UserError(
                f"Qdrant at {self.location}: {name!r} holds {found:,} points instead of {count:,}; delete it"
            )

    def _errors(self, remedy: str) -> _ServerErrors:
        return _ServerErrors(self.location, remedy)


class _ServerErrors:
    """Turns errors of the connection and of the server into one line."""

    def __init__(self, location: str, remedy: str) -> None:
        self.location, self.remedy = location, remedy

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and type(error).__module__.partition(".")[0] in ("qdrant_client", "httpx"):
            raise UserError(f"Qdrant at {self.location}: {_one_line(error)} ({self.remedy})") from error


def connect(url: str) -> Any:
    """Return a client of the server at a URL, or of :data:`STAND_IN`."""
    try:
        from qdrant_client import QdrantClient
    except ImportError as error:
        raise require_engine("qdrant_client", "qdrant", error) from error
    if url == STAND_IN:
        return QdrantClient(url)
    return QdrantClient(url=url, timeout=60, check_compatibility=False)


def padded(found: list[list[int]], k: int) -> Places:
    """Return ids (Q, k), with −1 where fewer were found.

    Example:
        >>> padded([[3, 1], [2]], 2).tolist()
        [[3, 1], [2, -1]]
    """
    ids = np.full((len(found), k), -1, np.int64)
    for row, own in enumerate(found):
        ids[row, : len(own)] = own
    return ids


def _edge() -> Any:
    try:
        import qdrant_edge
    except ImportError as error:
        raise require_engine("qdrant_edge", "qdrant", error) from error
    return qdrant_edge


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
