"""From raw tables to a cache: check, split, fit, encode. One process does it; all map the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from dssm_lightning.batch import Ragged
from dssm_lightning.data import cache
from dssm_lightning.data.interactions import FOLDS, TRAIN, Interactions
from dssm_lightning.data.sources import Source
from dssm_lightning.data.splits import Split
from dssm_lightning.data.tables import Keys, Tables, collapse
from dssm_lightning.features import Categorical, Feature, History
from dssm_lightning.schema import Schema, Schemas


@dataclass(frozen=True)
class Recipe:
    """What the cache depends on."""

    source: Source
    query: Schema
    candidate: Schema
    split: Split
    negatives_column: str | None
    """Interaction column that lists candidate ids as an event's own negatives."""

    def fingerprint(self, schemas: Schemas) -> str:
        """The cache's name when these schemas (fitted or not) are what is asked for."""
        split = f"{type(self.split).__name__}{sorted(vars(self.split).items())}"
        return cache.fingerprint(self.source.fingerprint(), schemas.to_json(), split, str(self.negatives_column))


def prepare(recipe: Recipe, cache_dir: Path, fitted: Schemas | None = None) -> Path:
    """Make sure that the encoded data lie in a folder of ``cache_dir``, and name it.

    Args:
        recipe: what to encode.
        cache_dir: where caches lie.
        fitted: the schemas of a checkpoint; None = fit new ones (only ``fit`` fits).
    """
    folder = cache_dir / recipe.fingerprint(Schemas(recipe.query, recipe.candidate))
    if fitted is not None and not (cache.is_complete(folder) and cache.saved_schemas(folder) == fitted):
        folder = cache_dir / recipe.fingerprint(fitted)
    with cache.lock(folder):
        if not cache.is_complete(folder):
            _encode(recipe, folder, fitted)
    return folder


def _encode(recipe: Recipe, folder: Path, fitted: Schemas | None) -> None:
    query_features = Schema(tuple(f for f in recipe.query if not isinstance(f, History)))
    raw = recipe.source.tables().resolve(
        [feature.source_column for feature in query_features], [f.source_column for f in recipe.candidate]
    )
    frame, repeated = collapse(raw.interactions, raw.keys)
    tables = Tables(frame, raw.queries, raw.candidates, raw.keys, raw.display)
    interactions = _interactions(tables, recipe.split, recipe.negatives_column)
    event = Schema(tuple(f for f in query_features if f.source_column not in tables.queries.columns))
    schemas = fitted or _fit(recipe, tables, interactions)
    prepared = cache.Prepared(
        schemas=schemas,
        query={},
        event={},
        candidate={},
        interactions=interactions,
        queries=_without_pictures(tables.queries),
        candidates=_without_pictures(tables.candidates),
        display=list(tables.display),
        report={"repeated interactions dropped": repeated, **_fold_sizes(interactions)},
    )
    own = [f.name for f in query_features if f.name not in event.names]
    encoded = {
        "query": (Schema(tuple(schemas.query[name] for name in own)), tables.queries),
        "event": (Schema(tuple(schemas.query[name] for name in event.names)), tables.interactions),
        "candidate": (schemas.candidate, tables.candidates),
    }
    cache.write(folder, prepared, encoded)


def _without_pictures(table: pl.DataFrame) -> pl.DataFrame:
    return table.select(name for name, dtype in table.schema.items() if dtype != pl.Binary)


def _fold_sizes(interactions: Interactions) -> dict[str, int]:
    return {f"{name} interactions": int((interactions.fold == fold).sum()) for fold, name in enumerate(FOLDS)}


# -- rows -----------------------------------------------------------------------------------------------------------


def _interactions(tables: Tables, split: Split, negatives_column: str | None) -> Interactions:
    keys, frame = tables.keys, tables.interactions
    fold = torch.from_numpy(np.asarray(split.assign(tables), dtype=np.int8))
    interactions = Interactions(
        query=_positions(frame[keys.query_id], tables.queries[keys.query_id]),
        candidate=_positions(frame[keys.candidate_id], tables.candidates[keys.candidate_id]),
        fold=fold,
        label=_floats(frame, keys.label),
        weight=_floats(frame, keys.weight),
        time=_times(frame, keys),
        negatives=None if negatives_column is None else _explicit_negatives(tables, negatives_column),
    )
    if len(interactions.rows(TRAIN, label=1)) == 0:
        raise ValueError(
            f"no positive is left to train on: {len(frame):,} interactions, {int((fold == TRAIN).sum()):,} of them in "
            f"the training fold, none with {keys.label or 'a label'} = 1; look at the split and the labels"
        )
    return interactions


def _positions(values: pl.Series, ids: pl.Series) -> Tensor:
    """The row of each value among the ids, all of which are there (the tables are checked)."""
    rows = pl.DataFrame({"id": ids, "row": np.arange(len(ids), dtype=np.int64)})
    found = pl.DataFrame({"id": values}).join(rows, on="id", how="left", maintain_order="left")["row"]
    assert found.null_count() == 0
    return torch.from_numpy(found.to_numpy().copy())


def _floats(frame: pl.DataFrame, column: str | None) -> Tensor | None:
    return None if column is None else torch.from_numpy(frame[column].cast(pl.Float32).to_numpy().copy())


def _times(frame: pl.DataFrame, keys: Keys) -> Tensor | None:
    if keys.time is None:
        return None
    column = frame[keys.time]
    seconds = column.dt.epoch("us") / 1e6 if column.dtype.is_temporal() else column
    return torch.from_numpy(seconds.cast(pl.Float64).to_numpy().copy())


def _explicit_negatives(tables: Tables, column: str) -> Ragged:
    if column not in tables.interactions.columns:
        raise ValueError(
            f"negatives column {column!r}: no such column; interactions has {', '.join(tables.interactions.columns)}"
        )
    lists = tables.interactions[column]
    if not isinstance(lists.dtype, pl.List):
        raise ValueError(f"negatives column {column!r} must hold lists of candidate ids, found {lists.dtype}")
    ids = tables.candidates[tables.keys.candidate_id]
    flat = lists.fill_null([]).explode(empty_as_null=False).cast(ids.dtype)
    unknown = flat.filter(~flat.is_in(ids.implode()))
    if len(unknown):
        raise ValueError(
            f"negatives column {column!r} names {len(unknown):,} candidates that the corpus does not have, "
            f"first {unknown.head(3).to_list()}"
        )
    lengths = torch.from_numpy(lists.list.len().fill_null(0).cast(pl.Int64).to_numpy().copy())
    return Ragged(_positions(flat, ids), torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]))


# -- fitting --------------------------------------------------------------------------------------------------------


def _fit(recipe: Recipe, tables: Tables, interactions: Interactions) -> Schemas:
    """Query features learn from training rows, candidate features from the corpus.

    A candidate's id is the exception: an id without a training interaction has nothing to teach and shares the
    unknown row, so that what a test item is cannot be told from what it is called.
    """
    train = interactions.rows(TRAIN).numpy()
    query_of_train = interactions.query[train].numpy()
    trained = np.unique(interactions.candidate[interactions.rows(TRAIN, label=1)].numpy())

    def candidate_column(feature: Feature) -> pl.Series:
        column = tables.candidates[feature.source_column]
        is_id = isinstance(feature, Categorical) and feature.source_column == tables.keys.candidate_id
        return column[trained] if is_id else column

    def query_column(feature: Feature) -> pl.Series:
        if feature.source_column in tables.queries.columns:
            return tables.queries[feature.source_column][query_of_train]
        return tables.interactions[feature.source_column][train]

    candidate = _fit_side(recipe.candidate, candidate_column)
    bound = Schema(tuple(_bind(f, candidate) if isinstance(f, History) else f for f in recipe.query))
    return Schemas(_fit_side(bound, query_column), candidate)


def _fit_side(schema: Schema, column_of: Callable[[Feature], pl.Series]) -> Schema:
    return Schema(tuple(f if isinstance(f, History) else f.fit(column_of(f)) for f in schema))


def _bind(history: History, candidate: Schema) -> History:
    if history.of_candidates:
        if history.of in candidate.names:
            raise ValueError(
                f"query feature {history.name!r}: `of: {history.of}` means whole candidates, and a candidate feature "
                "has that name, too; give the feature another name, and the column's as its `column`"
            )
        return history
    if history.of not in candidate.names:
        raise ValueError(
            f"query feature {history.name!r}: `of` names {history.of!r}, which is no candidate feature; "
            f"there are {candidate.names} (or candidate, for whole candidates as their tower embeds them)"
        )
    return history.bind(candidate[history.of])
