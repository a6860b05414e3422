"""The base class of all features, and how features are saved as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from dssm_lightning.features.readings import Reading, Truncation, plain_values, reading_of
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged_arrays import ArrayColumn

if TYPE_CHECKING:
    import polars as pl

    from dssm_lightning.utils.ragged import Column

FEW = 64
"""Up to this number, raw values are encoded one by one, without Polars: a column costs as much as this many of them."""
FEW_ENTRIES = 256
"""The same number for the entries of lists, such as histories."""

FeatureT = TypeVar("FeatureT", bound="Feature")


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A declared column of the query or the candidate; the base class of all features.

    A feature has no weights. ``fit`` returns a copy with the fields that are learnt from data (a vocabulary, a mean,
    bucket boundaries); fields that the user set are kept. A fitted feature encodes any column of raw values, seen or
    unseen. Two features are equal exactly if they encode all values equally.

    Subclasses are frozen dataclasses with keyword-only fields that implement :meth:`encode_array`, and :meth:`fit` if
    they learn something. They may implement ``_encode_few`` to serve single queries faster. A class that overrides
    :meth:`encode` alone is served by it.

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.features import Numeric, feature_from_dict
        >>> feature = Numeric(name="age").fit(pl.Series([20, 40]))
        >>> feature.encode(pl.Series([30, 50])).tolist()
        [[0.0], [2.0]]
        >>> feature_from_dict(feature.to_dict()) == feature
        True
    """

    reads_text: ClassVar[bool] = False
    """Whether the column holds texts, which TF-IDF and BM25 can also search."""

    name: str
    """Name of the feature, and of its column unless ``column`` is set."""
    column: str | None = None
    """Name of the column, if it differs from the feature's name, for example because two features read one column."""

    @property
    def source_column(self) -> str:
        """Name of the column that the feature reads."""
        return self.name if self.column is None else self.column

    @property
    def _label(self) -> str:
        """Name of the feature in error messages."""
        return f"{type(self).__name__} feature {self.name!r}"

    @property
    def is_fitted(self) -> bool:
        """Whether the feature can encode."""
        return True

    def fit(self: FeatureT, column: pl.Series) -> FeatureT:
        """Return a copy with the fields that are learnt from ``column`` (raw values); by default, nothing is learnt."""
        return self

    def encode_array(self, column: pl.Series) -> ArrayColumn:
        """Encode raw values (B,) as an array (B, …) or a :class:`~dssm_lightning.utils.ragged_arrays.RaggedArray`.

        Raises:
            UserError: a value cannot be encoded. The message names the feature, the value and the row.
        """
        if type(self).encode is Feature.encode:
            raise NotImplementedError
        return self._by_encode(column)

    def encode(self, column: pl.Series) -> Column:
        """Encode raw values (B,) as a CPU tensor (B, …) or a :class:`~dssm_lightning.utils.ragged.Ragged` of B rows.

        The tensors share the memory of the arrays of :meth:`encode_array`.

        Raises:
            UserError: as for :meth:`encode_array`.
        """
        from dssm_lightning.utils.array_columns import as_tensors

        return as_tensors(self.encode_array(column))

    def encode_values(self, values: Sequence[Any]) -> ArrayColumn:
        """Encode raw values (B,) as a query has them. A few of them need neither torch nor Polars.

        The result, the errors and the warnings are those of :meth:`encode_array` for the column of these values.

        Raises:
            UserError: as for :meth:`encode_array`; also a text that is not valid Unicode.

        Example:
            >>> from dssm_lightning.features import Numeric
            >>> Numeric(name="age", mean=30.0, std=10.0).encode_values(["50"])
            array([[2.]], dtype=float32)
        """
        found = self._few(values) if len(values) <= FEW else None
        if found is not None:
            return found
        from dssm_lightning.features.value_columns import raw_column

        return self._encode_column(raw_column(values, self.source_column))

    @property
    def needs_value(self) -> bool:
        """Whether a missing value is refused. Neither torch nor Polars is loaded to tell."""
        if _way(type(self)) == "_encode_few":
            return self._few([None]) is None
        try:
            self.encode_values([None])
        except UserError:
            return True
        return False

    def _encode_few(self, values: Sequence[Any]) -> ArrayColumn | None:
        """Encode raw values (B,) in plain Python, without Polars.

        Returns None, or raises a UserError, if a value is refused, or needs the rules of whole columns.
        """
        return None

    def _few(self, values: Sequence[Any]) -> ArrayColumn | None:
        if _way(type(self)) != "_encode_few":
            return None
        try:
            return self._encode_few(values)
        except UserError:  # the rules of whole columns know the row
            return None

    def _encode_entries(self, entries: Sequence[Any]) -> ArrayColumn | None:
        """Encode the entries (T,) of a few lists as :meth:`_encode_few` does; None for very many."""
        return self._few(entries) if len(entries) <= FEW_ENTRIES else None

    def _encode_column(self, column: pl.Series) -> ArrayColumn:
        """Encode by :meth:`encode_array`, or by the :meth:`encode` of a subclass that overrides it alone."""
        return self._by_encode(column) if _way(type(self)) == "encode" else self.encode_array(column)

    def _by_encode(self, column: pl.Series) -> ArrayColumn:
        from dssm_lightning.utils.array_columns import as_arrays

        return as_arrays(self.encode(column))

    # -- what a value becomes ------------------------------------------------------------------------------------------

    def read(self, value: Any) -> Reading:
        """Return what a raw value becomes: which of its parts are known, and what is cut off.

        Raises:
            UserError: as for :meth:`encode_values`.

        Example:
            >>> from dssm_lightning.features import Categorical
            >>> Categorical(name="city", vocabulary=("Bonn",)).read("Rome").values
            [ReadValue(text='Rome', known=False)]
        """
        self.encode_values([value])
        return reading_of(self, "values", plain_values(value), truncations=self.truncations(value))

    def truncations(self, value: Any) -> list[Truncation]:
        """Return what the feature cuts off a raw value, within microseconds; by default, nothing.

        A value that the feature refuses has no truncation.
        """
        return []

    @classmethod
    def completed(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Add to saved values what an earlier release, which did not save it, would have saved; by default, nothing."""
        return values

    def to_dict(self) -> dict[str, Any]:
        """Return plain values from which :func:`feature_from_dict` makes an equal feature."""
        values = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        return {"kind": type(self).__name__, **values}


def _way(kind: type[Feature]) -> Literal["_encode_few", "encode_array", "encode"]:
    """Return the most specific way to encode: a class that overrides another method than its base is served by it."""
    ways: tuple[Literal["_encode_few", "encode_array", "encode"], ...] = ("_encode_few", "encode_array", "encode")
    return next(way for each in kind.__mro__ for way in ways if way in vars(each))


def _plain(value: Any) -> Any:
    if isinstance(value, Feature):
        return value.to_dict()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def has_ids(feature: Feature) -> bool:
    """Return whether a feature encodes ids of an embedding table, which need not be fitted yet."""
    return hasattr(type(feature), "cardinality")


def table_rows(feature: Feature | None) -> int:
    """Return the number of rows of the embedding table of a fitted feature of ids."""
    rows = getattr(feature, "cardinality", None)
    assert isinstance(rows, int)
    return rows


def _kinds(root: type[Feature]) -> dict[str, type[Feature]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found.update(_kinds(child))
    return found


def feature_from_dict(values: dict[str, Any]) -> Feature:
    """Make the feature that :meth:`Feature.to_dict` described.

    An earlier release may have saved a field that no longer exists. Such a field is ignored if its value is None.

    Raises:
        UserError: no class of that name is defined (import the module of your own class first), or the class does not
            have a saved field.
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
            f"feature {values.get('name')!r}: {kind} has no field {', '.join(unknown)} in this release; the feature "
            "was saved by another release"
        )
    return kinds[kind](**kinds[kind].completed({key: _frozen(value) for key, value in given.items()}))


def _frozen(value: Any) -> Any:
    if isinstance(value, dict) and "kind" in value:
        return feature_from_dict(value)
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
