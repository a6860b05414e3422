"""What is asked of a bundle: the works that a batcher runs."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from dssm_lightning.retrieval.hits import Hit
from dssm_lightning.retrieval.raw_encoder import require_finite
from dssm_lightning.retrieval.towers import Side
from dssm_lightning.serving.answers import json_bytes
from dssm_lightning.serving.errors import refusing_values
from dssm_lightning.serving.jobs import Outcome
from dssm_lightning.serving.served_bundle import ServedBundle


@dataclass(frozen=True)
class SearchWork:
    """Searches; the result of a query is the JSON of the fields of its answer.

    Attributes:
        bundle: what is searched.
        k: number of answers.
        filter: on the candidates' columns.
        exclude: ids, as texts.
        exclude_history: leave out what is in the queries' own histories.
        hybrid: true = the bundle's own blend with BM25; a number = the weight of BM25's list.
        diversity: 0 = the best scores; up to 1, answers that differ more from each other.
        explain: tell what the model reads of each query.
        are_read: whether the items are records, and not yet the values of a request.
    """

    bundle: ServedBundle
    k: int = 10
    filter: str | None = None
    exclude: tuple[str, ...] = ()
    exclude_history: bool = False
    hybrid: float | bool | None = None
    diversity: float = 0.0
    explain: bool = False
    are_read: bool = True

    kind: ClassVar[str] = "search"
    joins: ClassVar[bool] = True

    @property
    def costs_like(self) -> Hashable:
        """Searches of about as many answers and exclusions."""
        own = self.k.bit_length(), len(self.exclude).bit_length(), self.exclude_history, self.explain, self.are_read
        return self.kind, self.bundle.number, *own, self.filter is None, self.hybrid is None, self.diversity > 0

    @property
    def is_light(self) -> bool:
        """Whether it reads no more of the corpus than a plain search."""
        return self.are_read and self.filter is None and self.hybrid is None and not (self.diversity or self.explain)

    def run(self, items: Sequence[Any]) -> Outcome:
        """Search."""
        with refusing_values():
            records: list[Any] = list(items) if self.are_read else [self.bundle.queries.read(item) for item in items]
            found, seconds = self._search(records)
            answers = [self._answer(record, hits) for record, hits in zip(records, found, strict=True)]
        return answers, seconds

    def _search(self, records: list[Any]) -> tuple[list[list[Hit]], dict[str, float]]:
        retriever, started = self.bundle.retriever, time.perf_counter()
        options: dict[str, Any] = {"exclude": self.exclude, "filter": self.filter, "diversity": self.diversity}
        if self.exclude_history or self.hybrid is not None:
            options |= {"exclude_history": self.exclude_history, "hybrid": self.hybrid}
            hits = retriever.search_all(records, self.k, **options)
            return hits, {"search": time.perf_counter() - started}
        embedded = retriever.encode_query(records)
        encoded = time.perf_counter()
        hits = retriever.search_vectors(embedded, self.k, **options)
        return hits, {"encode": encoded - started, "search": time.perf_counter() - encoded}

    def _answer(self, record: Mapping[str, Any], hits: Sequence[Hit]) -> bytes:
        truncated = self.bundle.truncations("query", record)
        fields = b'"hits":' + self.bundle.hits.of(hits) + b',"truncated":' + json_bytes(truncated)
        if self.explain:
            fields += b',"reading":' + json_bytes(self.bundle.readings("query", record))
        return fields


@dataclass(frozen=True)
class EncodeWork:
    """Embeddings of queries or candidates; the result of an item is its embedding, and what was cut off."""

    bundle: ServedBundle
    side: Side
    are_read: bool = True

    kind: ClassVar[str] = "encode"
    joins: ClassVar[bool] = True

    @property
    def costs_like(self) -> Hashable:
        """Embeddings of the same side."""
        return self.kind, self.bundle.number, self.side, self.are_read

    @property
    def is_light(self) -> bool:
        """Whether the records are read, and therefore small."""
        return self.are_read

    def run(self, items: Sequence[Any]) -> Outcome:
        """Embed."""
        bundle, started = self.bundle, time.perf_counter()
        reader = bundle.reader(self.side)
        with refusing_values():
            records: list[Any] = list(items) if self.are_read else [reader.read(item) for item in items]
            embed = bundle.retriever.encode_query if self.side == "query" else bundle.retriever.encode_candidate
            rows = embed(records)
            results = [(row, bundle.truncations(self.side, each)) for row, each in zip(rows, records, strict=True)]
        return results, {"encode": time.perf_counter() - started}


@dataclass(frozen=True)
class SimilarWork:
    """Candidates that are similar to one; the item is its id, and the result the JSON of the hits."""

    bundle: ServedBundle
    k: int
    filter: str | None
    exclude: tuple[str, ...]

    kind: ClassVar[str] = "similar"
    joins: ClassVar[bool] = False
    is_light: ClassVar[bool] = False

    @property
    def costs_like(self) -> Hashable:
        """Searches with or without a filter."""
        return self.kind, self.bundle.number, self.filter is None

    def run(self, items: Sequence[Any]) -> Outcome:
        """Search."""
        bundle, started = self.bundle, time.perf_counter()
        with refusing_values():
            options: dict[str, Any] = {"exclude": self.exclude, "filter": self.filter}
            found = [bundle.retriever.similar(item, self.k, **options) for item in items]
            results = [bundle.hits.of(hits) for hits in found]
        return results, {"search": time.perf_counter() - started}


@dataclass(frozen=True)
class ScoreWork:
    """Scores of a query with candidates; the item is a query and its candidates."""

    bundle: ServedBundle

    kind: ClassVar[str] = "score"
    joins: ClassVar[bool] = False
    is_light: ClassVar[bool] = False

    @property
    def costs_like(self) -> Hashable:
        """Scores of the same bundle."""
        return self.kind, self.bundle.number

    def run(self, items: Sequence[Any]) -> Outcome:
        """Score."""
        bundle, started = self.bundle, time.perf_counter()
        results = []
        with refusing_values():
            for query, candidates in items:
                record = bundle.queries.read(query)
                others: list[Any] = [bundle.candidates.read(each) for each in candidates]
                cut = [bundle.truncations("candidate", each) for each in others]
                scores = bundle.retriever.score(record, others)
                require_finite(np.array(scores)[:, None], others, "the score of candidate")
                results.append((scores, bundle.truncations("query", record), cut))
        return results, {"score": time.perf_counter() - started}


@dataclass(frozen=True)
class CandidatesWork:
    """Candidates by the words of a text; the item is the text, and the result the JSON of the hits."""

    bundle: ServedBundle
    k: int

    kind: ClassVar[str] = "candidates"
    joins: ClassVar[bool] = False
    is_light: ClassVar[bool] = False

    @property
    def costs_like(self) -> Hashable:
        """Look-ups in the same bundle."""
        return self.kind, self.bundle.number

    def run(self, items: Sequence[Any]) -> Outcome:
        """Look them up."""
        started = time.perf_counter()
        with refusing_values():
            found = [self.bundle.retriever.find(item, self.k) for item in items]
            results = [self.bundle.hits.of(hits, scored=False) for hits in found]
        return results, {"find": time.perf_counter() - started}
