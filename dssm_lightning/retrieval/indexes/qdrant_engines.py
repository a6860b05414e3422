"""What an index of Qdrant asks of it, and Qdrant in this process, by ``qdrant-edge-py``."""

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

AT_ONCE = 2048
"""Points that are sent at once."""
_SHARD, _CORPUS = "edge_config.json", "corpus.txt"  # Qdrant's own file, and the checksum of the vectors


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
        """Use the vectors that are there; refuse those with another number or checksum."""

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
            for start in range(0, len(vectors), AT_ONCE):
                part = enumerate(vectors[start : start + AT_ONCE].tolist(), start)
                shard.update(edge.UpdateOperation.upsert_points([edge.Point(id, vector) for id, vector in part]))
            shard.optimize()
            shard.flush()
            shard.close()
            (temporary / _CORPUS).write_text(f"{corpus_checksum(vectors):08x}\n", encoding="utf-8")
            if self._shard is not None:
                self._shard.close()
                self._shard = None
        self._open(len(vectors))

    def open(self, count: int, corpus: int) -> None:
        """Open the folder."""
        marker = self.folder / _CORPUS
        if not (marker.is_file() and (self.folder / _SHARD).is_file()):
            raise UserError(f"{self.folder} is no folder of Qdrant that this package wrote; build the index again")
        with marker.open(encoding="ascii", errors="replace") as file:
            found = file.read(9)
        if found.strip() != f"{corpus:08x}":
            raise UserError(f"{self.folder} holds the vectors of another corpus; build the index again")
        self._open(count)

    def _open(self, count: int) -> None:
        edge: Any = _edge()
        try:
            shard = edge.EdgeShard.load(str(self.folder))
            found = shard.count(edge.CountRequest(exact=True))
        except Exception as error:  # Qdrant raises nothing narrower
            raise UserError(f"{self.folder}: Qdrant cannot open it: {one_line(error)}") from error
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


def one_line(error: Exception) -> str:
    """Return what an engine says, in one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]
