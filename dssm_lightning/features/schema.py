"""The ordered features of one side, and of both: fitted once, saved with the model, equal or refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl
from torch import nn

from dssm_lightning.features.base import Feature, feature_from_dict
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Features


@dataclass(frozen=True)
class Schema:
    """The features of one side, in the order in which their encodings are fused."""

    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        names = [feature.name for feature in self.features]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise UserError(f"feature names {repeated} occur more than once; give each its own name, and `column`")
        taken = [name for name in names if hasattr(nn.ModuleDict, name) or not re.fullmatch(r"[\w -]+", name)]
        if taken:  # encoders live in a ModuleDict, encodings in files
            raise UserError(
                f"feature names {taken} cannot be used (letters, digits, _ and - only, no method of a torch module); "
                "give another name, and the column's name as `column`"
            )

    def __iter__(self) -> Iterator[Feature]:
        return iter(self.features)

    def __getitem__(self, name: str) -> Feature:
        for feature in self.features:
            if feature.name == name:
                return feature
        raise KeyError(f"no feature {name!r}; there are {self.names}")

    @property
    def names(self) -> list[str]:
        """Names of the features, in order."""
        return [feature.name for feature in self.features]

    @property
    def text_columns(self) -> list[str]:
        """The columns of texts that the features read, each once."""
        return list(dict.fromkeys(feature.source_column for feature in self.features if feature.reads_text))

    def encode(self, table: pl.DataFrame) -> Features:
        """The raw columns that the features read, encoded: one column (B, …) for each feature."""
        return {feature.name: feature.encode(table[feature.source_column]) for feature in self.features}

    def to_list(self) -> list[dict[str, Any]]:
        """Plain values for JSON."""
        return [feature.to_dict() for feature in self.features]


@dataclass(frozen=True)
class Schemas:
    """Both sides, always in this order."""

    query: Schema
    candidate: Schema

    def to_json(self) -> str:
        """One string from which :meth:`from_json` makes equal schemas."""
        return self._json

    @cached_property
    def _json(self) -> str:  # of vocabularies that may be large, for each checkpoint
        return json.dumps({"version": 1, "query": self.query.to_list(), "candidate": self.candidate.to_list()})

    @classmethod
    def from_json(cls, text: str) -> Schemas:
        """The schemas that :meth:`to_json` wrote."""
        values = json.loads(text)
        sides = [Schema(tuple(map(feature_from_dict, values[side]))) for side in ("query", "candidate")]
        return cls(*sides)

    def difference(self, other: Schemas) -> str | None:
        """What differs from ``other``, for an error message; None if nothing does."""
        lines = []
        for side in ("query", "candidate"):
            mine, theirs = getattr(self, side), getattr(other, side)
            if mine.names != theirs.names:
                lines.append(f"{side} features {mine.names} against {theirs.names}")
                continue
            for a, b in zip(mine, theirs, strict=True):
                lines += [f"{side} feature {a.name!r}: {text}" for text in changes(a.to_dict(), b.to_dict())]
        return "; ".join(lines) or None


def changes(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """What differs between two features as plain values, for a message."""
    if a["kind"] != b["kind"]:
        return [f"{a['kind']} against {b['kind']}"]
    return [f"{key} {_short(a[key])} against {_short(b[key])}" for key in a if a[key] != b[key]]


def _short(value: Any) -> str:
    if isinstance(value, list | str) and len(value) > 60:
        return f"({len(value):,} entries)" if isinstance(value, list) else f"{value[:40]}… ({len(value):,} letters)"
    return repr(value)
