"""Convert raw columns of any type to numbers: each value is a number, a date, a time of day or a duration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.base import Feature
from dssm_lightning.features.iso_dates import parse_dates
from dssm_lightning.features.raw_columns import at, by_value
from dssm_lightning.features.raw_values import DATES, DURATIONS, NUMBERS, TIMES, number_of, plain, shown, text_of
from dssm_lightning.utils.errors import UserError

if TYPE_CHECKING:
    import polars as pl

Floats: TypeAlias = NDArray[np.float64]

KINDS = (NUMBERS, DATES, TIMES, DURATIONS)
_EXAMPLES = {
    NUMBERS: "numbers, such as 12, 1.5 or 1e3",
    DATES: "dates of ISO 8601, such as 2024-01-31 or 2024-01-31T10:20:30Z",
    TIMES: "times of day, such as 10:20:30",
    DURATIONS: "durations, or their numbers of seconds",
}
NUMBER_TEXT = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
TIME_TEXT = r"^(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?$"
NUMBER_WORDS = {"true": 1.0, "false": 0.0, "nan": np.nan} | {f"{sign}inf": np.inf for sign in ("", "+", "-")}


class Numbers(NamedTuple):
    """A column as numbers, and what kind each of them is."""

    values: Floats  # (B,) NaN for a missing value
    kinds: NDArray[np.int8]  # (B,) places in ``KINDS``, −1 for a missing value

    @property
    def kind(self) -> str | None:
        """The kind of the first value; None if every value is missing."""
        found = self.kinds[self.kinds >= 0]
        return KINDS[found[0]] if len(found) else None


def read_numbers(feature: Feature, column: pl.Series, kind: str | None = None) -> Numbers:
    """Read numbers, truth values, dates, times of day or durations (B,); a column must hold one of these kinds.

    Texts are read strictly: numbers such as ``12``, ``1.5`` or ``1e3``, ``true`` and ``false``, dates of ISO 8601, and
    times of day. Blanks around a value are ignored. An empty text and ``nan`` are missing values.

    Args:
        feature: the feature that an error names.
        column: (B,) raw values.
        kind: the only kind that is possible, because the feature was fitted on it; None = any.

    Raises:
        UserError: a value that is no number, an infinite number, values of several kinds or of another kind. The
            message names the feature, the column, the value and its row.
    """
    import polars as pl

    dtype = column.dtype
    if dtype == pl.Object:
        found = _read_objects(feature, column)
    elif dtype in (pl.String, pl.Categorical, pl.Enum):
        found = _read_texts(feature, column.cast(pl.String))
    else:
        found = _read_typed(feature, column)
    _require_one_kind(feature, column, found, kind)
    infinite = np.isinf(found.values)
    if infinite.any():
        raise UserError(f"{feature._label}: {how_many(infinite)} are infinite; replace them by null or a number")
    return found


def _read_typed(feature: Feature, column: pl.Series) -> Numbers:
    import polars as pl

    dtype, kind = column.dtype, NUMBERS
    if dtype in (pl.Date, pl.Datetime):
        column, kind = column.dt.epoch("us").cast(pl.Float64) / 1e6, DATES
    elif dtype == pl.Duration:
        column, kind = column.dt.total_microseconds().cast(pl.Float64) / 1e6, DURATIONS
    elif dtype == pl.Time:
        column, kind = column.to_physical().cast(pl.Float64) / 1e9, TIMES
    elif not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        raise UserError(
            f"{feature._label}: column {feature.source_column!r} is of type {dtype}; it must hold numbers, booleans, "
            "dates or durations (for lists or categories, use another class of feature)"
        )
    values: Floats = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return Numbers(values, np.where(np.isnan(values), -1, KINDS.index(kind)).astype(np.int8))


def _read_texts(feature: Feature, column: pl.Series) -> Numbers:
    import polars as pl

    texts = column.str.strip_chars()
    texts = texts.set((texts == "").fill_null(False), None)
    plain_numbers = texts.str.contains(NUMBER_TEXT).fill_null(False)
    numbers = texts.set(~plain_numbers, None).cast(pl.Float64)
    values: Floats = numbers.fill_null(float("nan")).to_numpy(writable=True)
    kinds = np.where(plain_numbers.to_numpy(), KINDS.index(NUMBERS), -1).astype(np.int8)
    rest = np.flatnonzero((~plain_numbers & texts.is_not_null()).to_numpy())
    if len(rest):
        _read_other_texts(feature, texts, rest, values, kinds)
    return Numbers(values, kinds)


def _read_other_texts(
    feature: Feature, texts: pl.Series, rows: NDArray[np.int64], values: Floats, kinds: NDArray[np.int8]
) -> None:
    """Fill in the numbers of the rows (T,) whose texts are not written as plain numbers."""
    import polars as pl

    others = texts[rows]
    words = others.str.to_lowercase().replace_strict(NUMBER_WORDS, default=None, return_dtype=pl.Float64)
    dates = parse_dates(others).dt.epoch("us").cast(pl.Float64) / 1e6
    is_time = others.str.contains(TIME_TEXT)
    clock = others.set(~is_time, None)
    hours, minutes = (clock.str.slice(start, 2).cast(pl.Float64) for start in (0, 3))
    times = hours * 3600.0 + minutes * 60.0 + clock.str.slice(6).replace("", "0").cast(pl.Float64)
    for kind, found in ((NUMBERS, words), (DATES, dates), (TIMES, times)):
        known = found.is_not_null().to_numpy()
        values[rows[known]] = found.to_numpy()[known]
        kinds[rows[known]] = KINDS.index(kind)
    kinds[np.isnan(values)] = -1
    wrong = np.flatnonzero((words.is_null() & dates.is_null() & times.is_null()).to_numpy())
    if len(wrong):
        number = f"{len(wrong):,} of {len(texts):,} values are neither a number nor a date"
        row = int(rows[wrong[0]])
        raise UserError(
            f"{at(feature, texts, texts[row], row)}; {number}; it must hold {_EXAMPLES[NUMBERS]}, or "
            f"{_EXAMPLES[DATES]}; an empty text is a missing value"
        )


def _read_objects(feature: Feature, column: pl.Series) -> Numbers:
    import polars as pl

    found = by_value(feature, column, text_or_number)
    texts = [value if isinstance(value, str) else None for value in found]
    given = [value if isinstance(value, tuple) else None for value in found]
    values = np.array([np.nan if each is None else each[1] for each in given])
    kinds = np.array([-1 if each is None else KINDS.index(each[0]) for each in given], dtype=np.int8)
    if any(text is not None for text in texts):
        read = _read_texts(feature, pl.Series(column.name, texts, dtype=pl.String))
        text = read.kinds >= 0
        values[text], kinds[text] = read.values[text], read.kinds[text]
    return Numbers(values, kinds)


def text_or_number(value: Any) -> tuple[str, float] | str | None:
    """Return a raw value's text, or its kind and number; None for a missing value.

    Raises:
        UserError: the value is neither a text nor a number. The message has only the reason.
    """
    value = plain(value)
    return text_of(value) if value is None or isinstance(value, str) else number_of(value)


def _require_one_kind(feature: Feature, column: pl.Series, found: Numbers, kind: str | None) -> None:
    allowed = {kind, NUMBERS} if kind == DURATIONS else {kind or found.kind}
    wrong = np.flatnonzero(~np.isin(found.kinds, [KINDS.index(each) for each in allowed if each is not None] + [-1]))
    if not len(wrong):
        return
    row = int(wrong[0])
    other = KINDS[found.kinds[row]]
    where = f"column {feature.source_column!r} holds {other} ({shown(column[row])} in row {row}, counted from 0)"
    if kind is not None:
        raise UserError(f"{feature._label}: {where}, but the feature was fitted on {kind}: give {_EXAMPLES[kind]}")
    first = int(np.flatnonzero(found.kinds >= 0)[0])
    raise UserError(
        f"{feature._label}: {where} and {found.kind} ({shown(column[first])} in row {first}); a column "
        "holds one of them"
    )


def how_many(bad: NDArray[np.bool_]) -> str:
    """Describe the number of bad values and their first rows, for an error message."""
    rows = ", ".join(map(str, np.flatnonzero(bad)[:3]))
    return f"{int(bad.sum()):,} of {len(bad):,} values (first rows, counted from 0: {rows})"
