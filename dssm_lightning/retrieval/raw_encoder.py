"""From raw values to embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dssm_lightning.features.base import Feature
from dssm_lightning.features.history import History
from dssm_lightning.features.raw_values import shown
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.retrieval.candidate_rows import CandidateRows
from dssm_lightning.retrieval.raw_records import RawValues, columns_of, needed_columns, record_of
from dssm_lightning.retrieval.towers import Floats, Side, Towers
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.optional_packages import naming_packages
from dssm_lightning.utils.ragged_arrays import ArrayColumn, Arrays, RaggedArray, parts_of

BATCH = 1024
"""Rows that are encoded at once."""
VALUES = 1 << 16
"""Values of a list or text that a tower reads at once, each row counted as the longest one; a row is never split."""
Record = Mapping[str, Any]


class RawEncoder:
    """Embeds raw queries and candidates with the features and the towers of a model.

    Args:
        schemas: the fitted features of both sides.
        towers: the model.
    """

    def __init__(self, schemas: Schemas, towers: Towers) -> None:
        self.schemas, self.towers = schemas, towers
        self.columns: dict[Side, list[str]] = {
            "query": columns_of(schemas.query),
            "candidate": columns_of(schemas.candidate),
        }

    def schema(self, side: Side) -> Schema:
        """Return the features of a side."""
        return self.schemas.query if side == "query" else self.schemas.candidate

    def records(self, side: Side, values: Sequence[RawValues]) -> list[Record]:
        """Return the values by column name of each query or candidate. Errors as for :func:`record_of`."""
        return [record_of(side, value, self.columns[side]) for value in values]

    def embed(self, side: Side, records: Sequence[Record], rows: CandidateRows, embeddings: Floats) -> Floats:
        """Return the embeddings (B, D) of records; each depends on its own values alone.

        Args:
            side: "query" or "candidate".
            records: values by column name; an absent column is a missing value.
            rows: the candidates that a history may name.
            embeddings: (N, D) of these candidates.

        Raises:
            UserError: a value that a feature refuses, or an embedding that is not finite.
        """
        parts = []
        for start in range(0, len(records), BATCH):
            part = records[start : start + BATCH]
            features = self._features(side, part, rows, embeddings)
            encoded = [self.towers.encode(side, each) for each in parts_of(features, len(part), VALUES)]
            parts.append(encoded[0] if len(encoded) == 1 else np.concatenate(encoded))
            require_finite(parts[-1], part, f"the embedding of {side}")
        return np.concatenate(parts) if parts else np.empty((0, embeddings.shape[1]), np.float32)

    def _features(self, side: Side, records: Sequence[Record], rows: CandidateRows, embeddings: Floats) -> Arrays:
        features: Arrays = {}
        for feature in self.schema(side):
            values = [record.get(feature.source_column) for record in records]
            try:
                with naming_packages(f"{feature._label} of {len(values):,} rows"):
                    features[feature.name] = _encoded(feature, values, rows, embeddings)
            except UserError as error:
                given = self._given_without(side, feature, records)
                if given is None:
                    raise
                raise self._with_needed(side, feature, given, error) from error
        return features

    def _given_without(self, side: Side, feature: Feature, records: Sequence[Record]) -> list[str] | None:
        """Return the columns of the first record without the one that a feature needs; None if that is not missing."""
        given = next((list(record) for record in records if feature.source_column not in record), None)
        if given is None or feature.source_column not in needed_columns(self.schema(side)):
            return None
        return given

    def _with_needed(self, side: Side, feature: Feature, given: list[str], error: UserError) -> UserError:
        """Return the error with the list of what is needed, for a value that was not given at all."""
        return UserError(
            f"the {side} gives {given}, but not {feature.source_column!r}, which the model needs; needed are "
            f"{needed_columns(self.schema(side))} of the columns {self.columns[side]} ({error})"
        )


def _encoded(feature: Feature, values: list[Any], rows: CandidateRows, embeddings: Floats) -> ArrayColumn:
    if not isinstance(feature, History) or not feature.of_candidates:
        return feature.encode_values(values)
    history = feature.encode_ids(values, rows.find)
    distinct, places = np.unique(history.values, return_inverse=True)
    items = embeddings[distinct] if len(distinct) else embeddings[:1]  # a program needs at least one
    return RaggedArray(places.astype(np.int64), history.offsets, history.age, items)


def require_finite(numbers: Floats, values: Sequence[Any], what: str) -> None:
    """Refuse rows (B, …) of the values (B,) with NaN or infinity, which an extreme value of a number leads to.

    Raises:
        UserError: such a row; the message has its value.
    """
    if np.isfinite(numbers).all():
        return
    wrong = np.flatnonzero(~np.isfinite(numbers).reshape(len(numbers), -1).all(1))
    value = values[int(wrong[0])]
    raise UserError(
        f"{what} {shown(value)} is not finite: a number in it may be far outside the fitted range, or the model's "
        "weights are not finite"
    )
