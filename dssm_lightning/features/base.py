"""What every feature is: a declared column that is fitted once and then encodes values into tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import polars as pl

from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column

FeatureT = TypeVar("FeatureT", bound="Feature")


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One declared column of one side.

    A feature holds no weights. ``fit`` returns a copy in which everything that the data teaches is filled in
    (a vocabulary, a mean, bucket edges); whatever the user gave is kept. A fitted feature encodes any column of
    raw values, seen or unseen, and is equal to another one exactly if both encode alike.
    """

    reads_text: ClassVar[bool] = False
    """Whether its column holds texts, which TF-IDF and BM25 can search as well."""

    name: str
    """Name of the feature; the column's name too, unless ``column`` says otherwise."""
    column: str | None = None
    """Column that is read, where two features read one column or the name should differ."""

    @property
    def source_column(self) -> str:
        """The column that is read."""
        return self.name if self.column is None else self.column

    @property
    def is_fitted(self) -> bool:
        """Whether the feature can encode."""
        return True

    def fit(self: FeatureT, column: pl.Series) -> FeatureT:
        """A copy with everything filled in that ``column`` (raw values) teaches. Nothing to learn by default."""
        return self

    def encode(self, column: pl.Series) -> Column:
        """Raw values (B,) as a tensor (B, …) or a :class:`~dssm_lightning.utils.ragged.Ragged` of B rows, on the CPU.

        Raises:
            ValueError: a value that cannot be encoded; the message names feature, value and row.
        """
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Plain values from which :func:`feature_from_dict` makes an equal feature."""
        values = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        return {"kind": type(self).__name__, **values}


def _plain(value: Any) -> Any:
    if isinstance(value, Feature):
        return value.to_dict()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _kinds(root: type[Feature]) -> dict[str, type[Feature]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found.update(_kinds(child))
    return found


def feature_from_dict(values: dict[str, Any]) -> Feature:
    """The feature that :meth:`Feature.to_dict` described, perhaps in an earlier release: a field that said nothing
    and is no longer there is passed over.

    Raises:
        ValueError: no class of that name is defined (a user's own class must be imported first), or it has no such
            field.
    """
    kinds = _kinds(Feature)
    kind = values["kind"]
    if kind not in kinds:
        raise UserError(
            f"unknown feature kind {kind!r}; import the module that defines it first (known: {sorted(kinds)})"
        )
    known = {field.name for field in fields(kinds[kind])}
    given = {key: value for key, value in values.items() if key != "kind" and (key in known or value is not None)}
    unknown = sorted(given.keys() - known)
    if unknown:
        raise UserError(
            f"feature {values.get('name')!r}: a {kind} of this release has no {', '.join(unknown)}; it was saved by "
            "another one"
        )
    return kinds[kind](**{key: _frozen(value) for key, value in given.items()})


def _frozen(value: Any) -> Any:
    if isinstance(value, dict) and "kind" in value:
        return feature_from_dict(value)
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
