"""The ordered features of the query and the candidate: fitted once, saved with the model, compared before use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dssm_lightning.features.base import Feature, feature_from_dict
from dssm_lightning.features.module_names import is_module_name
from dssm_lightning.features.readings import Reading, Truncation
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged_arrays import Arrays

if TYPE_CHECKING:
    import polars as pl

    from dssm_lightning.utils.ragged import Features

VERSION = 1
"""Version of the string that :meth:`Schemas.to_json` returns."""


@dataclass(frozen=True)
class Schema:
    """The features of the query or the candidate, in the order in which their encodings are fused.

    Raises:
        UserError: two features have the same name, or a name cannot be used.

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.features import Categorical, Numeric
        >>> schema = Schema((Numeric(name="age", mean=30.0, std=10.0), Categorical(name="city", vocabulary=("Bonn",))))
        >>> encoded = schema.encode(pl.DataFrame({"age": [20, 50], "city": ["Bonn", "Rome"]}))
        >>> {name: column.tolist() for name, column in encoded.items()}
        {'age': [[-1.0], [2.0]], 'city': [1, 0]}
        >>> {name: column.tolist() for name, column in schema.encode_values([{"age": 20}]).items()}
        {'age': [[-1.0]], 'city': [0]}
    """

    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        names = [feature.name for feature in self.features]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise UserError(
                f"feature names {repeated} occur more than once; give each feature its own name, and set `column` to "
                "the name of the column"
            )
        taken = [name for name in names if is_module_name(name) or not re.fullmatch(r"[\w -]+", name)]
        if taken:  # a feature's name is a key of a ModuleDict and part of file names
            raise UserError(
                f"feature names {taken} cannot be used: a name has only letters, digits, blanks, _ and -, and is not a "
                "method of a torch module; give another name, and set `column` to the name of the column"
            )

    def __iter__(self) -> Iterator[Feature]:
        return iter(self.features)

    def __getitem__(self, name: str) -> Feature:
        for feature in self.features:
            if feature.name == name:
                return feature
        raise KeyError(f"no feature {name!r}; the features are {self.names}")

    @property
    def names(self) -> list[str]:
        """Names of the features, in order."""
        return [feature.name for feature in self.features]

    @property
    def text_columns(self) -> list[str]:
        """Names of the text columns that the features read, without duplicates."""
        return list(dict.fromkeys(feature.source_column for feature in self.features if feature.reads_text))

    def encode(self, table: pl.DataFrame) -> Features:
        """Encode a table of raw columns as tensors: one column (B, …) for each feature."""
        return {feature.name: feature.encode(table[feature.source_column]) for feature in self.features}

    def encode_array(self, table: pl.DataFrame) -> Arrays:
        """Encode a table of raw columns as arrays: one column (B, …) for each feature."""
        return {feature.name: feature._encode_column(table[feature.source_column]) for feature in self.features}

    def encode_values(self, records: Sequence[Mapping[str, Any]]) -> Arrays:
        """Encode B records of raw values by column name as arrays: one column (B, …) for each feature.

        A few records need neither torch nor Polars. An absent column is a missing value.

        Raises:
            UserError: a feature refuses a value.
        """
        columns = {feature.source_column for feature in self.features}
        values = {column: [record.get(column) for record in records] for column in columns}
        return {feature.name: feature.encode_values(values[feature.source_column]) for feature in self.features}

    def read(self, record: Mapping[str, Any]) -> list[Reading]:
        """Return what the raw values of a record become in each feature. An absent column is a missing value.

        Raises:
            UserError: a feature refuses a value.
        """
        return [feature.read(record.get(feature.source_column)) for feature in self.features]

    def truncations(self, record: Mapping[str, Any]) -> list[Truncation]:
        """Return what the features cut off the raw values of a record, within microseconds.

        Example:
            >>> from dssm_lightning.features import Words
            >>> schema = Schema((Words(name="title", vocabulary=("red",), max_length=2),))
            >>> [str(each) for each in schema.truncations({"title": "red and green"})]
            ["feature 'title' reads 2 of 3 words of column 'title'"]
        """
        return [cut for each in self.features for cut in each.truncations(record.get(each.source_column))]

    def to_list(self) -> list[dict[str, Any]]:
        """Return plain values for JSON."""
        return [feature.to_dict() for feature in self.features]


@dataclass(frozen=True)
class Schemas:
    """The schema of the query and the schema of the candidate.

    Example:
        >>> from dssm_lightning.features import Categorical
        >>> small, large = (Categorical(name="user", num_buckets=size) for size in (100, 200))
        >>> item = Schema((Categorical(name="item", num_buckets=50),))
        >>> schemas = Schemas(query=Schema((small,)), candidate=item)
        >>> schemas.difference(Schemas(query=Schema((large,)), candidate=item))
        "query feature 'user': num_buckets 100 against 200"
        >>> Schemas.from_json(schemas.to_json()) == schemas
        True
    """

    query: Schema
    candidate: Schema

    def to_json(self) -> str:
        """Return a string from which :meth:`from_json` makes equal schemas."""
        return self._json

    @cached_property
    def _json(self) -> str:  # cached: every checkpoint contains it, and vocabularies may be large
        return json.dumps({"version": VERSION, "query": self.query.to_list(), "candidate": self.candidate.to_list()})

    @classmethod
    def from_json(cls, text: str) -> Schemas:
        """Make the schemas from a string that :meth:`to_json` returned.

        Raises:
            UserError: the string is damaged, or from a later release.
        """
        try:
            values = json.loads(text)
            version = values["version"]
            if version != VERSION:
                raise UserError(f"schemas of version {version!r} are of another release; this one reads {VERSION}")
            sides = [Schema(tuple(map(feature_from_dict, values[side]))) for side in ("query", "candidate")]
        except UserError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"schemas are damaged: {type(error).__name__}: {error}") from error
        return cls(*sides)

    def difference(self, other: Schemas) -> str | None:
        """Describe the differences to ``other`` for an error message; None if there are none."""
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
    """Describe the differences between two features, given as plain values, for an error message."""
    if a["kind"] != b["kind"]:
        return [f"{a['kind']} against {b['kind']}"]
    a, b = _comparable(a), _comparable(b)
    return [f"{key} {_short(a[key])} against {_short(b.get(key))}" for key in a if a[key] != b.get(key)]


def _comparable(value: Any) -> Any:
    """Return a feature's plain values without those that a schema of release 0.1.0 does not have."""
    if not isinstance(value, dict):
        return value
    values = {key: _comparable(entry) for key, entry in value.items() if key != "holds"}
    if "dates" in values:
        values["dates"] = None if values["dates"] == "polars" else values["dates"]
    return values


def _short(value: Any) -> str:
    if isinstance(value, list | str) and len(value) > 60:
        return f"({len(value):,} entries)" if isinstance(value, list) else f"{value[:40]}… ({len(value):,} characters)"
    return repr(value)
