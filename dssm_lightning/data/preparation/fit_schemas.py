"""Fit the features of both sides: on training rows, on the corpus, and on each other."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import torch

from dssm_lightning.data.interactions import TRAIN, Interactions
from dssm_lightning.data.tables.tables import Tables
from dssm_lightning.features import Categorical, Feature, History, LikedBy
from dssm_lightning.features.categories import Categories
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.features.text.shared_vocabulary import take_vocabulary
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.memory_mapped import gathered


def fit_schemas(declared: Schemas, tables: Tables, interactions: Interactions) -> Schemas:
    """Fit query features on training rows and candidate features on the corpus.

    A candidate's id is the exception: an id without a training interaction shares the unknown row, since training
    teaches nothing about it.

    Args:
        declared: the features of both sides, not fitted.
        tables: the raw tables.
        interactions: the rows with their folds.

    Raises:
        UserError: a column that a feature cannot take; a history or ``LikedBy`` of a feature that does not exist.
    """
    train = interactions.rows(TRAIN)

    def candidate_column(feature: Feature) -> pl.Series:
        column = tables.candidates[feature.source_column]
        if _learns_only_a_type(feature):
            return column.head(0)
        if isinstance(feature, Categorical) and feature.source_column == tables.keys.candidate_id:
            liked = gathered(interactions.candidate, interactions.rows(TRAIN, label=1))
            column = column.filter((torch.bincount(liked, minlength=len(column)) > 0).numpy())
        return column

    def query_column(feature: Feature) -> pl.Series:
        if _learns_only_a_type(feature):
            table = tables.queries if feature.source_column in tables.queries.columns else tables.interactions
            return table[feature.source_column].head(0)
        if feature.source_column in tables.queries.columns:
            return tables.queries[feature.source_column][gathered(interactions.query, train).numpy()]
        return tables.interactions[feature.source_column][train.numpy()]

    candidate = _fit_side(declared.candidate, candidate_column)
    bound = Schema(
        tuple(_bind(f, candidate) if isinstance(f, History) else take_vocabulary(f, candidate) for f in declared.query)
    )
    query = _fit_side(bound, query_column)
    return Schemas(query, Schema(tuple(_bind_query(f, query) if isinstance(f, LikedBy) else f for f in candidate)))


def _fit_side(schema: Schema, column_of: Callable[[Feature], pl.Series]) -> Schema:
    return Schema(tuple(f if isinstance(f, History | LikedBy) else f.fit(column_of(f)) for f in schema))


def _learns_only_a_type(feature: Feature) -> bool:
    """Return whether a feature learns the type of its column, dates or not, but nothing of the rows, which are many."""
    return isinstance(feature, Categories) and feature.is_fitted


def _bind(history: History, candidate: Schema) -> History:
    if history.of_candidates:
        if history.of in candidate.names:
            raise UserError(
                f"query feature {history.name!r}: `of: {history.of}` means whole candidates, and a candidate feature "
                "has that name, too; give the feature another name, and the column's as its `column`"
            )
        if any(isinstance(feature, LikedBy) for feature in candidate):
            raise UserError(
                f"query feature {history.name!r} is a history of whole candidates, whose features cannot include "
                "LikedBy: leave out LikedBy, or name a feature as `of`"
            )
        return history
    if history.of not in candidate.names:
        raise UserError(
            f"query feature {history.name!r}: `of` names {history.of!r}, which is no candidate feature; "
            f"there are {candidate.names} (or candidate, for whole candidates as their tower embeds them)"
        )
    return history.bind(candidate[history.of])


def _bind_query(feature: LikedBy, query: Schema) -> LikedBy:
    if feature.of not in query.names:
        raise UserError(
            f"candidate feature {feature.name!r}: `of` names {feature.of!r}, which is no query feature; there are "
            f"{query.names}"
        )
    return feature.bind(query[feature.of])
