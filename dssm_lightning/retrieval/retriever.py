"""Answers to raw queries: the candidates of an embedded corpus that score highest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import polars as pl
import torch
from torch import Tensor

from dssm_lightning.features import Categorical, Feature, History
from dssm_lightning.features.raw_values import shown
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.features.value_columns import raw_column
from dssm_lightning.models.scorers import Scorer
from dssm_lightning.retrieval.exact_search import exact_top_k, require_whole_k
from dssm_lightning.retrieval.hybrid import Hybrid
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column, Features
from dssm_lightning.utils.suggestions import did_you_mean

RawValues = Mapping[str, Any] | str
"""Values by column name, or a bare text, which is the value of the only column that a side reads."""


class Hit(NamedTuple):
    """One answer of a search.

    Example:
        >>> hit = Hit(id="c7", score=0.5, display={"title": "Copy a file"})
        >>> hit.display["title"]
        'Copy a file'
    """

    id: Any  # of the candidate
    score: float
    display: dict[str, Any]  # the candidate's values of the display columns


class Retriever:
    """Answers raw queries from an embedded corpus, with plain torch: Lightning is not needed.

    Args:
        schemas: the fitted features of both sides.
        encode_query: query features (B, …) -> embeddings (B, D).
        encode_candidate: candidate features (C, …) -> embeddings (C, D).
        scorer: compares embeddings of both sides.
        corpus: (N, D) the embeddings of all candidates.
        candidates: N rows: ids in the first column, then the columns that can be shown.
        display: the columns to show beside an answer.
        hybrid: fuses the model's scores with those of BM25; None = the model's scores alone.

    Example:
        >>> from dssm_lightning.features import Vector
        >>> from dssm_lightning.models.scorers import Dot
        >>> side = Schema((Vector(name="direction", length=2),))
        >>> animals = pl.DataFrame({"id": ["a", "b"], "name": ["ant", "bee"]})
        >>> encode = lambda features: features["direction"]
        >>> retriever = Retriever(Schemas(side, side), encode, encode, Dot(1.0), torch.eye(2), animals, ["name"])
        >>> retriever.search({"direction": [0.0, 0.5]}, k=1)
        [Hit(id='b', score=0.5, display={'name': 'bee'})]
    """

    def __init__(
        self,
        schemas: Schemas,
        encode_query: Callable[[Features], Tensor],
        encode_candidate: Callable[[Features], Tensor],
        scorer: Scorer,
        corpus: Tensor,
        candidates: pl.DataFrame,
        display: Sequence[str],
        hybrid: Hybrid | None = None,
    ) -> None:
        self.schemas, self.scorer, self.corpus, self.candidates = schemas, scorer, corpus, candidates
        self.encoders = {"query": encode_query, "candidate": encode_candidate}
        self.display, self.hybrid = list(display), hybrid

    @torch.inference_mode()
    def search(self, query: RawValues, k: int = 10, exclude_history: bool = False) -> list[Hit]:
        """Return the k candidates that score highest, best first.

        Args:
            query: its raw values. An omitted column is unknown, like an id that training never saw.
            k: number of answers.
            exclude_history: leave out the candidates in the query's history, as an evaluation masks seen candidates.

        Raises:
            UserError: an unknown column; a value that a feature refuses; k that is not a whole number, or is larger
                than the searched corpus; no history of candidates to leave out; scores that are not finite.
        """
        require_whole_k(k)
        excluded = self._history_rows(query) if exclude_history else []
        total, left = len(self.candidates), len(self.candidates) - len(excluded)
        if not 1 <= k <= left:
            out = f", {len(excluded):,} of them in the history" if excluded else ""
            raise UserError(f"k is {k}; the corpus has {total:,} candidates{out}: choose a k from 1 to {left:,}")
        scores = self.scorer(self.embed("query", [query]), self.corpus)  # (1, N)
        _require_finite(scores, [query])
        if self.hybrid is not None:
            scores = self.hybrid.fuse(scores, _table("query", self.schemas.query, [query]))
        scores = scores[0]
        scores[excluded] = -torch.inf
        best = torch.topk(scores, k)
        return self._hits(best.values, best.indices)

    @torch.inference_mode()
    def search_all(self, queries: Sequence[RawValues], k: int = 10) -> list[list[Hit]]:
        """Return the hits of many queries, several times as fast as one :meth:`search` after the other.

        Raises:
            UserError: as for :meth:`search`.
        """
        require_whole_k(k)
        if not queries:
            return []
        if self.hybrid is not None or not self.scorer.indexable or len(self.scorer.vectors(self.corpus[:1])) > 1:
            return [self.search(query, k) for query in queries]  # no single inner product orders the candidates
        query = self.embed("query", queries)
        rows = exact_top_k(query, self.corpus, k)[1]
        scores, order = self.scorer.pairs(query, self.corpus, rows).sort(dim=1, descending=True, stable=True)
        _require_finite(scores, queries)
        return [self._hits(*best) for best in zip(scores, rows.gather(1, order), strict=True)]

    def _hits(self, scores: Tensor, rows: Tensor) -> list[Hit]:
        found = self.candidates[rows.cpu().numpy()]
        shown = found.select(self.display).to_dicts() if self.display else [{}] * len(rows)
        return [Hit(*hit) for hit in zip(found.to_series(0).to_list(), scores.tolist(), shown, strict=True)]

    def _history_rows(self, query: RawValues) -> list[int]:
        """Return the corpus rows of a query's histories, without their ``max_length``."""
        schema, ids = self.schemas.query, self.candidates.to_series(0)
        found = [f for f in schema if isinstance(f, History) and _names_candidates(f, ids.name)]
        if not found:
            raise UserError(
                f"exclude_history: no query feature is a history of {ids.name!r}; query features are {schema.names}"
            )
        table = _table("query", schema, [query])
        rows = [replace(f, max_length=None).encode_rows(table[f.source_column], ids).values for f in found]
        distinct: list[int] = torch.unique(torch.cat(rows)).tolist()
        return distinct

    @torch.inference_mode()
    def embed(self, side: str, values: Sequence[RawValues]) -> Tensor:
        """Return the embeddings (B, D) of raw values of a side, ``query`` or ``candidate``.

        Each embedding depends on its own values alone.

        Raises:
            UserError: an unknown column, a value that a feature refuses, or an embedding that is not finite.
        """
        schema: Schema = getattr(self.schemas, side)
        table = _table(side, schema, values)
        features = {feature.name: self._encode(feature, table[feature.source_column]) for feature in schema}
        embeddings = self.encoders[side](features)
        _require_finite(embeddings, values, f"the embedding of {side}")
        return embeddings

    def _encode(self, feature: Feature, column: pl.Series) -> Column:
        if isinstance(feature, History) and feature.of_candidates:
            return feature.encode_rows(column, self.candidates.to_series(0))._replace(items=self.corpus)
        return feature.encode(column)

    @torch.inference_mode()
    def similarity(self, query: Tensor, candidate: Tensor) -> Tensor:
        """(Q, D), (C, D) -> (Q, C): the unscaled inner products that an index ranks by.

        A scorer that no index can serve gives its scores instead.
        """
        if self.scorer.indexable:
            return (self.scorer.vectors(query) @ self.scorer.vectors(candidate).mT).amax(0)
        similarity: Tensor = self.scorer(query, candidate)
        return similarity


def _names_candidates(history: History, key: str) -> bool:
    """Return whether the entries are whole candidates or their ids, and not values of an attribute."""
    item = history.item
    by_id = isinstance(item, Categorical) and item.source_column == key and item.prefix is None
    return item is None or by_id


def _require_finite(numbers: Tensor, values: Sequence[RawValues], what: str = "a score of query") -> None:
    """Refuse rows (B, …) of the values (B,) with NaN or infinity, which an extreme value of a number leads to."""
    wrong = (~torch.isfinite(numbers).flatten(1).all(1)).nonzero()
    if len(wrong):
        value = values[int(wrong[0])]
        raise UserError(
            f"{what} {shown(value)} is not finite: a number in it may be far outside the fitted range, or the model's "
            "weights are not finite"
        )


def _table(side: str, schema: Schema, values: Sequence[RawValues]) -> pl.DataFrame:
    columns = list(dict.fromkeys(feature.source_column for feature in schema))
    records = [_record(side, columns, value) for value in values]
    return pl.DataFrame({column: raw_column([r.get(column) for r in records], column) for column in columns})


def _record(side: str, columns: list[str], value: RawValues) -> Mapping[str, Any]:
    if isinstance(value, str):
        if len(columns) > 1:
            raise UserError(
                f"{side} {shown(value)} is a bare text, but the model reads the columns {columns}: give an object of "
                "columns"
            )
        return {columns[0]: value}
    if not isinstance(value, Mapping):
        raise UserError(f"{side} {shown(value)} is neither a text nor an object of the columns {columns}")
    for name in value:
        if name not in columns:
            hint = did_you_mean(str(name), columns)
            raise UserError(f"{side} column {shown(name)} is unknown; the model reads {columns}{hint}")
    if not value:
        raise UserError(f"the {side} {dict(value)} is empty; give at least one of the columns {columns}")
    return value
