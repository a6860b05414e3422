"""Qdrant's server, by ``qdrant-client``."""

from __future__ import annotations

from typing import Any

from dssm_lightning.retrieval.indexes.checks import require_engine
from dssm_lightning.retrieval.indexes.index_files import corpus_checksum
from dssm_lightning.retrieval.indexes.qdrant_engines import AT_ONCE, Graph, QdrantEngine, one_line
from dssm_lightning.retrieval.indexes.row_stores import Floats
from dssm_lightning.utils.errors import UserError

STAND_IN = ":memory:"
"""A location: a small stand-in for a server in this process, for tests."""


class Server(QdrantEngine):
    """A collection of a server.

    The vectors are sent to a collection whose name has their checksum. A build that broke off continues where it
    stopped. When all vectors are there, the alias, which is the name that users know, is switched to it in one step.
    """

    def __init__(self, client: Any, location: str, collection: str) -> None:
        self.client, self.location, self.collection = client, location, collection
        self._name = ""  # the collection that is searched

    def build(self, vectors: Floats, graph: Graph) -> None:
        """Send the vectors, switch the alias, and remove the collection that it named before."""
        from qdrant_client import models

        content = f"{corpus_checksum(vectors):08x}-{len(vectors)}x{vectors.shape[1]}"
        name = f"{self.collection}-{content}-m{graph.m}-ef{graph.ef_construct}"
        with self._errors("the build continues where it stopped when it is run again"):
            if not self.client.collection_exists(name):
                hnsw = models.HnswConfigDiff(m=graph.m, ef_construct=graph.ef_construct)
                params = models.VectorParams(size=vectors.shape[1], distance=models.Distance.DOT, hnsw_config=hnsw)
                self.client.create_collection(name, vectors_config=params)
            there = self.client.count(name, exact=True).count
            for start in range(there // AT_ONCE * AT_ONCE, len(vectors), AT_ONCE):
                part = vectors[start : start + AT_ONCE].tolist()
                ids: list[Any] = list(range(start, start + len(part)))
                self.client.upsert(name, models.Batch(ids=ids, vectors=part), wait=True)
            self._require_count(name, len(vectors))
            self._switch(name)
        self._name = name

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
        self._name = target

    def search(self, queries: Floats, k: int, ef: int) -> list[list[int]]:
        """Send the queries in one request.

        They go to the collection itself: the alias may name the vectors of another corpus meanwhile.
        """
        from qdrant_client import models

        parameters = None if self.location == STAND_IN else models.SearchParams(hnsw_ef=ef)
        requests = [models.QueryRequest(query=query, limit=k, params=parameters) for query in queries.tolist()]
        with self._errors("is the server running? If other vectors took the place of these, load the index again"):
            answers = self.client.query_batch_points(self._name, requests=requests)
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
            raise UserError(f"Qdrant at {self.location}: {one_line(error)} ({self.remedy})") from error


def connect(url: str) -> Any:
    """Return a client of the server at a URL, or of :data:`STAND_IN`."""
    try:
        from qdrant_client import QdrantClient
    except ImportError as error:
        raise require_engine("qdrant_client", "qdrant", error) from error
    if url == STAND_IN:
        return QdrantClient(url)
    return QdrantClient(url=url, timeout=60, check_compatibility=False)
