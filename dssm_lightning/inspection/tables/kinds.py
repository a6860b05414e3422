"""The kind of a column, from its values and its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from dssm_lightning.inspection.profile import ColumnProfile, Kind
from dssm_lightning.inspection.tables import texts as text_values
from dssm_lightning.inspection.tables import words
from dssm_lightning.inspection.tables.picture_columns import TRIED, Pictures, pictures_of
from dssm_lightning.inspection.tables.time_formats import Times, temporal, times_of, times_of_numbers

MISSING = {
    *("NA", "N/A", "n/a", "na", "#N/A", "<NA>", "null", "NULL", "Null", "None", "none", "nan", "NaN", "NAN"),
    *("-", "--", "\\N", "?", "nil", "unknown", "missing"),
}
"""Texts that stand for a missing value in columns of numbers and times."""
_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_VECTOR = r"^[\[(]?\s*[+-]?[\d.]+(?:[eE][+-]?\d+)?(?:[,;\s]+[+-]?[\d.]+(?:[eE][+-]?\d+)?)+\s*[\])]?$"
_LIST = r"^\[\s*(?:'[^']*'|\"[^\"]*\")?(?:\s*,\s*(?:'[^']*'|\"[^\"]*\"))*\s*\]$"
EXAMPLES, SHOWN = 3, 40


@dataclass(frozen=True)
class Column:
    """A column of a table: what was found, and the values by which parts are found.

    Example:
        >>> column = column_of(pl.Series("year", ["1995", "NA", "2003"]))
        >>> column.profile.kind, column.profile.least, column.missing
        ('number', 1995.0, ('NA',))
    """

    profile: ColumnProfile
    values: pl.Series
    """Numbers, seconds since 1970, or the values themselves; null = missing."""
    missing: tuple[str, ...] = ()
    """Texts that stand for a missing value."""
    dtype: str | None = None
    """The type for `Files(dtypes=…)`; None = as read."""
    note: str = ""


def column_of(column: pl.Series, folders: Sequence[Path] = (), written: bool = True) -> Column:
    """Return what is known of a column.

    Args:
        column: (n,) values; in a text file all of them are text.
        folders: folders in which the paths of pictures may begin.
        written: whether the values are those of a delimited text.
    """
    dtype = column.dtype
    base = ColumnProfile(name=column.name, kind="empty", rows=len(column), missing=column.null_count())
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return _of_texts(column.cast(pl.String).str.strip_chars(), base, folders, written)
    if base.missing == len(column):
        return Column(base, column)
    base = replace(base, examples=_examples(column))
    if isinstance(dtype, pl.List | pl.Array):
        return _of_lists(column, base)
    if dtype == pl.Binary:
        pictures = pictures_of(column, folders)
        kind = replace(base, kind="category", distinct=column.n_unique())
        return _of_pictures(column, base, pictures) if pictures else Column(kind, column, note="bytes, no pictures")
    if isinstance(dtype, pl.Struct) or dtype in (pl.Duration, pl.Time, pl.Object):
        note = f"{dtype.base_type()} values are not read"
        return Column(base, column, note=note)
    if (times := temporal(column)) is not None:
        return _of_times(times, base, column.drop_nulls().n_unique())
    if dtype == pl.Boolean:
        return _of_truths(column.cast(pl.Int8).cast(pl.Float64), base)
    return _of_numbers(column, base, written=False)


def _examples(column: pl.Series) -> list[str]:
    few = column.drop_nulls().unique(maintain_order=True).head(EXAMPLES) if not column.dtype.is_nested() else column[:2]
    shown = [f"{len(each):,} bytes" if isinstance(each, bytes) else str(each) for each in few.to_list()]
    return [text if len(text) <= SHOWN else f"{text[:SHOWN]}…" for text in shown]


# -- texts -------------------------------------------------------------------------------------------------------------


def _of_texts(texts: pl.Series, base: ColumnProfile, folders: Sequence[Path], written: bool) -> Column:
    texts = texts.set((texts == "").fill_null(False), None)
    base = replace(base, missing=texts.null_count(), distinct=texts.drop_nulls().n_unique(), examples=_examples(texts))
    if base.missing == base.rows:
        return Column(base, texts)
    if texts.drop_nulls().is_in(list(MISSING)).all():
        return Column(replace(base, missing=base.rows), texts, missing=tuple(texts.drop_nulls().unique().sort()))
    found = _of_values(texts, base, written)
    if found is not None:
        return found
    if (pictures := pictures_of(texts, folders)) is not None:
        return _of_pictures(texts, base, pictures)
    filled = texts.drop_nulls()
    if filled.str.contains(_VECTOR).all() and (parts := _vector(filled)) is not None:
        return Column(replace(base, kind="vector", longest=parts), texts, dtype="vector")
    if filled.str.contains(_LIST).all():
        entries = texts.str.count_matches(",", literal=True) + 1
        return Column(_with_lengths(replace(base, kind="categories"), entries), texts, dtype="list")
    return _of_words(texts, base)


def _of_values(texts: pl.Series, base: ColumnProfile, written: bool) -> Column | None:
    """Return numbers, truth values or times; a few texts that are none may stand for missing values."""
    lowered = texts.str.to_lowercase()
    if lowered.drop_nulls().is_in(["true", "false"]).all():
        return _of_truths((lowered == "true").cast(pl.Float64), base)
    strange = texts.filter(~texts.str.contains(_NUMBER).fill_null(True))
    words_of_missing = tuple(strange.filter(strange.is_in(list(MISSING))).unique().sort())
    rest = texts.set(texts.is_in(list(words_of_missing)).fill_null(False), None) if words_of_missing else texts
    if rest.null_count() == len(rest):
        return None
    base = replace(base, missing=rest.null_count(), distinct=rest.drop_nulls().n_unique(), examples=_examples(rest))
    found: Column | None = None
    if rest.str.contains(_NUMBER).fill_null(True).all():
        found = _of_numbers(rest, base, written)
    elif (times := times_of(rest)) is not None:
        found = _of_times(times, base, base.distinct)
    return None if found is None else replace(found, missing=words_of_missing)


def _vector(filled: pl.Series) -> int | None:
    lengths = filled.str.count_matches(r"[^\s,;\[\]()]+")
    same = lengths.n_unique() == 1 and (filled.str.contains(r"[.\[]").all() or int(lengths[0]) >= 8)
    return int(lengths[0]) if same else None


def _of_words(texts: pl.Series, base: ColumnProfile) -> Column:
    counted = text_values.word_counts(texts)
    separator = text_values.separator_of(texts, base.name)
    note = ""
    if texts.drop_nulls().str.contains(r"^[+-]?\d+,\d+$").all():
        note = "numbers with a decimal comma are read as categories: write a point"
    elif base.distinct == 1 and not base.missing and base.rows > 1:
        return Column(replace(base, kind="constant"), texts)
    elif separator is not None:
        entries = texts.str.count_matches(separator, literal=True) + 1
        return Column(_with_lengths(replace(base, kind="categories", separator=separator), entries), texts)
    elif text_values.is_text(texts, base.name, base.distinct, counted):
        base = replace(base, kind="text", language=text_values.script_of(texts))
        return Column(_with_lengths(base, counted), texts)
    return Column(replace(base, kind="category"), texts, note=note)


def _with_lengths(base: ColumnProfile, lengths: pl.Series) -> ColumnProfile:
    mean: Any = lengths.mean()
    longest: Any = lengths.max()
    return replace(base, mean_words=round(float(mean or 0), 2), longest=int(longest or 0))


# -- other values ------------------------------------------------------------------------------------------------------


def _of_numbers(column: pl.Series, base: ColumnProfile, written: bool) -> Column:
    numbers = column.cast(pl.Float64, strict=False).fill_nan(None)
    base = replace(base, missing=numbers.null_count(), distinct=numbers.drop_nulls().n_unique())
    if base.distinct == 0:
        return Column(base, numbers)
    least, greatest = float(str(numbers.min())), float(str(numbers.max()))
    whole = bool((numbers.drop_nulls() % 1 == 0).all())
    base = replace(base, least=least, greatest=greatest, is_whole=whole)
    if base.distinct == 1 and not base.missing and base.rows > 1:
        return Column(replace(base, kind="constant"), column)
    if column.dtype == pl.String and column.str.contains(r"^0\d+$").any():
        return Column(replace(base, kind="category", least=None, greatest=None), column)
    times = times_of_numbers(numbers, base.name, written) if whole else None
    if times is not None:
        return _of_times(times, base, base.distinct)
    if {least, greatest} == {0.0, 1.0} and base.distinct == 2 and not words.is_key(base.name):
        return Column(replace(base, kind="truth"), numbers)
    is_code = whole and (words.is_key(base.name) or words.has_word(base.name, {"zip", "zipcode", "postal", "postcode"}))
    return Column(replace(base, kind="category" if is_code else "number"), numbers)


def _of_truths(truths: pl.Series, base: ColumnProfile) -> Column:
    distinct = truths.drop_nulls().n_unique()
    kind = "constant" if distinct == 1 and not base.missing and base.rows > 1 else "truth"
    least, greatest = float(str(truths.min())), float(str(truths.max()))
    found = replace(base, distinct=distinct, least=least, greatest=greatest, is_whole=True)
    return Column(replace(found, kind="truth") if kind == "truth" else replace(found, kind="constant"), truths)


def _of_times(times: Times, base: ColumnProfile, distinct: int) -> Column:
    seconds = times.seconds
    found = replace(base, kind="time", missing=seconds.null_count(), distinct=distinct, time_format=times.time_format)
    limits = (float(str(seconds.min())), float(str(seconds.max())))
    return Column(replace(found, least=limits[0], greatest=limits[1]), seconds, note=times.note)


def _of_pictures(column: pl.Series, base: ColumnProfile, pictures: Pictures) -> Column:
    tried = min(TRIED, base.distinct or base.rows)
    readable = pictures.unreadable < tried
    kind: Kind = "picture" if readable else "category"  # a feature of pictures would refuse them
    found = replace(base, kind=kind, unreadable=pictures.unreadable, root=pictures.root)
    found = replace(found, distinct=column.drop_nulls().n_unique())
    note = pictures.note or (f"{pictures.unreadable} pictures cannot be decoded" if pictures.unreadable else "")
    return Column(found, column, dtype=pictures.dtype if readable else None, note=note)


def _of_lists(column: pl.Series, base: ColumnProfile) -> Column:
    lists = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
    lengths = lists.list.len()
    inner = lists.explode().dtype
    base = replace(base, missing=int((lengths.fill_null(0) == 0).sum()))
    filled = lengths.filter(lengths > 0)
    if not len(filled):
        return Column(base, lists)
    if inner.is_numeric() and filled.n_unique() == 1 and (inner.is_float() or isinstance(column.dtype, pl.Array)):
        return Column(replace(base, kind="vector", longest=int(filled[0]), distinct=lists.n_unique()), lists)
    if inner.is_nested():
        return Column(base, lists, note="lists of lists or objects are not read")
    distinct = lists.explode().drop_nulls().n_unique()
    return Column(_with_lengths(replace(base, kind="categories", distinct=distinct), lengths), lists)
