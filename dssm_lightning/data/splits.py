"""Which interactions train, which validate and which test.

A split has a seed of its own: runs with other seeds are measured on the same rows. Fractions are in [0, 1), of all rows
whatever their label, rounded down; constructors raise ValueError for others, or where nothing is left to train on.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import polars as pl

from dssm_lightning.counter import mix
from dssm_lightning.data.cuts import FoldArray, IntArray, codes, cut, part, places, shuffled
from dssm_lightning.data.interactions import FOLDS, TEST, TRAIN, VALIDATION
from dssm_lightning.data.tables import Tables
from dssm_lightning.features.columns import hash_strings
from dssm_lightning.features.hashing import mix64

Drawn = Literal["rows", "queries"]


class Split:
    """Tables -> a fold for each interaction. A subclass says ``_folds``, and how much of each fold was asked for."""

    test: float = 0.0
    validation: float = 0.0

    def assign(self, tables: Tables) -> FoldArray:
        """(R,) TRAIN, VALIDATION or TEST for each row of ``interactions``, the same at every call.

        Raises:
            ValueError: a column is missing or holds what it must not; training, or a fold that was asked for, is empty.
        """
        fold = self._folds(tables)
        counts = np.bincount(fold, minlength=len(FOLDS))
        for code, asked in ((TRAIN, 1.0), (VALIDATION, self.validation), (TEST, self.test)):
            if asked and not counts[code]:
                found = ", ".join(f"{name} {count}" for name, count in zip(FOLDS, counts, strict=True))
                raise ValueError(
                    f"{type(self).__name__} leaves no {FOLDS[code]} rows ({found}); "
                    "ask for other sizes, or set a size to 0 to do without that fold"
                )
        return fold

    def _folds(self, tables: Tables) -> FoldArray:
        """(R,) the folds, empty ones allowed."""
        raise NotImplementedError

    def _ask(self, test: float, validation: float) -> None:
        """Sets both fractions, or raises ValueError."""
        for name, value in (("test", test), ("validation", validation)):
            if not 0 <= value < 1:
                raise ValueError(f"{type(self).__name__}: {name} is {value}; it is a fraction in [0, 1)")
        if test + validation >= 1:
            raise ValueError(f"{type(self).__name__}: test {test} + validation {validation} leave nothing to train on")
        self.test, self.validation = test, validation


class RandomRows(Split):
    """Interactions at random: a query can have rows in every fold.

    Args:
        test: fraction of the rows that test.
        validation: fraction of the same that validates.
        seed: of the draw.
    """

    def __init__(self, test: float = 0.1, validation: float = 0.1, seed: int = 42) -> None:
        self._ask(test, validation)
        self.seed = seed

    def _folds(self, tables: Tables) -> FoldArray:
        R = len(tables.interactions)
        return cut(shuffled(R, self.seed), part(R, self.test), part(R, self.validation))


class RandomQueries(Split):
    """Whole queries at random: what is tested was never seen as a query.

    Args:
        test: fraction of the queries that may be held out, to test.
        validation: fraction of the same that validates.
        seed: of the draw.
        among: which queries may be held out, as {column: value}, all of which must hold (values compare as text); the
            others train. A column of ``queries``, or of ``interactions``: there it must hold in all rows of a query.
    """

    def __init__(
        self, test: float = 0.1, validation: float = 0.1, seed: int = 42, among: dict[str, str] | None = None
    ) -> None:
        self._ask(test, validation)
        self.seed, self.among = seed, among or {}

    def _folds(self, tables: Tables) -> FoldArray:
        query = _query_codes(tables)
        eligible = _eligible(self, tables, query, self.among)
        E = len(eligible)
        fold = np.full(query.max(initial=-1) + 1, TRAIN, np.int8)
        fold[eligible] = cut(shuffled(E, self.seed), part(E, self.test), part(E, self.validation))
        return fold[query]


class HashedQueries(Split):
    """Whole queries, each in the fold that a hash of it names: where it falls depends on nothing else in the data.

    A query that is tested today is tested in a part of these data, and when they have grown. Queries that have one
    value in ``column`` (a text that is asked in several languages) are held out together.

    Args:
        test: fraction of the queries that may be held out, to test, as expected: which they are is left to the hash.
        validation: fraction of the same that validates.
        seed: of the hash.
        column: what is hashed: a column of ``queries``, or of ``interactions``; None = the query's id.
        among: as in :class:`RandomQueries`; it must hold in all rows of a value.
    """

    def __init__(
        self,
        test: float = 0.1,
        validation: float = 0.1,
        seed: int = 42,
        column: str | None = None,
        among: dict[str, str] | None = None,
    ) -> None:
        self._ask(test, validation)
        self.seed, self.column, self.among = seed, column, among or {}

    def _folds(self, tables: Tables) -> FoldArray:
        name = self.column or tables.keys.query_id
        values = _column(self, tables, name).cast(pl.String)
        if missing := values.null_count():
            raise ValueError(f"HashedQueries: column {name!r} is missing in {missing} of {len(values)} rows")
        code: IntArray = values.rank("dense").to_numpy().astype(np.int64) - 1
        share = (mix64(hash_strings(values) ^ np.uint64(mix(self.seed))) >> np.uint64(11)) * 2.0**-53  # (R,) in [0, 1)
        fold = np.where(share < self.test, TEST, np.where(share < self.test + self.validation, VALIDATION, TRAIN))
        fold[~np.isin(code, _eligible(self, tables, code, self.among))] = TRAIN
        return fold.astype(np.int8)


class PerQuery(Split):
    """A part of each query's interactions at random: 8:1:1 by default.

    Rounds as RecBole does: a part of less than one row is one row, as long as a second one is left to train on; test
    comes first. A query with two rows trains on one and tests one, a query with a single row trains.

    Args:
        test: fraction of each query's rows that test.
        validation: fraction of the same that validates.
        seed: of the draw.
    """

    def __init__(self, test: float = 0.1, validation: float = 0.1, seed: int = 42) -> None:
        self._ask(test, validation)
        self.seed = seed

    def _folds(self, tables: Tables) -> FoldArray:
        query = _query_codes(tables)
        fold = np.empty(len(query), np.int8)
        for rows, place, size in places(query, shuffled(len(query), self.seed)):
            test, validation = part(size, self.test), part(size, self.validation)
            if self.test:
                test += (test == 0) & (size - validation > 1)
            if self.validation:
                validation += (validation == 0) & (size - test > 1)
            fold[rows] = cut(place, test, validation)
        return fold


class LeaveLastN(Split):
    """The last interactions of each query by time test, those before them validate ("leave one out" with 1 and 1).

    Equal times keep the order of the rows. A query always keeps its first row to train on: with two rows it has one to
    test and none to validate.

    Args:
        test: rows of each query that test.
        validation: rows of each query that validate.
    """

    def __init__(self, test: int = 1, validation: int = 1) -> None:
        for name, value in (("test", test), ("validation", validation)):
            if value < 0:
                raise ValueError(f"LeaveLastN: {name} is {value}; it is a number of rows of each query, 0 or more")
        self.test, self.validation = test, validation

    def _folds(self, tables: Tables) -> FoldArray:
        order = _time(self, tables).rank("ordinal").to_numpy().astype(np.int64) - 1
        fold = np.empty(len(order), np.int8)
        for rows, place, size in places(_query_codes(tables), order):
            test = np.minimum(int(self.test), size - 1)
            validation = np.minimum(int(self.validation), size - 1 - test)
            fold[rows] = cut(size - 1 - place, test, validation)
        return fold


class ByTime(Split):
    """The latest interactions of all test, those before them validate: nothing from after a cut is trained on.

    Equal times never straddle a cut: all of them go to the later fold, which can make it larger than asked for.

    Args:
        test: fraction of the rows that test.
        validation: fraction of the same that validates.
    """

    def __init__(self, test: float = 0.1, validation: float = 0.1) -> None:
        self._ask(test, validation)

    def _folds(self, tables: Tables) -> FoldArray:
        time = _time(self, tables).to_physical().to_numpy()
        R = len(time)
        test, validation = int(part(R, self.test)), int(part(R, self.validation))
        cuts = {code: R - size for code, size in ((VALIDATION, test + validation), (TEST, test)) if size}
        ordered = np.partition(time, np.array(list(cuts.values()), np.int64))
        fold = np.full(R, TRAIN, np.int8)
        for code, place in cuts.items():
            fold[time >= ordered[place]] = code  # fewer rows than were asked for are of a strictly later time
        return fold


class PublishedFold(Split):
    """The folds that a column names, as the authors of a data set made them.

    Args:
        column: of ``interactions`` or of ``queries``, with the values "train", "test" and, perhaps, "validation".
        validation: fraction of the training rows (or queries) that validate instead, for a column that names no
            validation rows itself.
        by: what is drawn for validation: "rows", or whole "queries".
        seed: of that draw.
    """

    def __init__(self, column: str, validation: float = 0.0, by: Drawn = "rows", seed: int = 42) -> None:
        self._ask(0.0, validation)
        if by not in get_args(Drawn):
            raise ValueError(f"PublishedFold: by is {by!r}; possible: rows, queries")
        self.column, self.by, self.seed = column, by, seed

    def _folds(self, tables: Tables) -> FoldArray:
        column = _column(self, tables, self.column).cast(pl.String)
        found = set(column.unique())
        if not found <= set(FOLDS) or "train" not in found or len(found) < 2:
            raise ValueError(
                f"PublishedFold: column {self.column!r} has {_examples(column)}; "
                "its values must be 'train' and 'test', and may be 'validation'"
            )
        if self.validation and "validation" in found:
            raise ValueError(f"PublishedFold: column {self.column!r} has validation rows already; set validation to 0")
        codes = {name: code for code, name in enumerate(FOLDS)}
        fold: FoldArray = column.replace_strict(codes, return_dtype=pl.Int8).to_numpy().copy()
        rows = np.flatnonzero(fold == TRAIN)
        # Numbers what is drawn: the training rows themselves, or their queries.
        drawn = np.unique(rows if self.by == "rows" else _query_codes(tables)[rows], return_inverse=True)[1]
        n = int(drawn.max()) + 1
        fold[rows[shuffled(n, self.seed)[drawn] < part(n, self.validation)]] = VALIDATION
        return fold


def _column(split: Split, tables: Tables, name: str) -> pl.Series:
    """(R,) a column of the interactions, or of their queries."""
    key, queries = tables.keys.query_id, tables.queries
    if name in tables.interactions.columns:
        return tables.interactions[name]
    if name in queries.columns:
        ids, values = queries[key], queries[name]
        found: pl.Series = tables.interactions[key].replace_strict(ids, values, default=None, return_dtype=values.dtype)
        return found
    raise ValueError(
        f"{type(split).__name__}: no column {name!r}; interactions has {', '.join(tables.interactions.columns)}; "
        f"queries has {', '.join(queries.columns)}"
    )


def _eligible(split: Split, tables: Tables, code: IntArray, among: dict[str, str]) -> IntArray:
    """Which of the codes (R,) have the values that are asked for in all of their rows."""
    eligible: IntArray = np.unique(code)
    for name, value in among.items():
        column = _column(split, tables, name).cast(pl.String)
        eligible = np.setdiff1d(eligible, code[column.ne_missing(str(value)).to_numpy()])
        if not len(eligible):
            raise ValueError(
                f"{type(split).__name__}: among leaves no query at {name!r} = {value!r}; the column has "
                f"{_examples(column)}"
            )
    return eligible


def _examples(column: pl.Series) -> str:
    """The first distinct values of a column, for a message."""
    values = column.unique().sort()
    return ", ".join(map(repr, values.head(10))) + (f" and {len(values) - 10} others" if len(values) > 10 else "")


def _time(split: Split, tables: Tables) -> pl.Series:
    """(R,) the column that orders the interactions, without a gap."""
    name, columns = tables.keys.time, tables.interactions.columns
    if name is None or name not in columns:
        found = "keys.time names no column" if name is None else f"there is no column {name!r}"
        raise ValueError(f"{type(split).__name__} needs a time, but {found}; interactions has {', '.join(columns)}")
    time = tables.interactions[name]
    missing = (time.fill_nan(None) if time.dtype.is_float() else time).null_count()
    if missing:
        raise ValueError(f"{type(split).__name__}: time column {name!r} is missing in {missing} of {len(time)} rows")
    return time


def _query_codes(tables: Tables) -> IntArray:
    """(R,) queries numbered by ascending id."""
    return codes(tables.query_rows, tables.queries[tables.keys.query_id])


class ColdCandidates(Split):
    """All interactions of some candidates at random: a candidate is known by its attributes alone when it is tested.

    Its id is then the unknown one. With ``rank: held_out`` of the data module the held-out candidates are ranked among
    themselves, so that nothing is gained by telling new candidates from old ones.

    Args:
        test: fraction of the candidates that have an interaction, to test.
        validation: fraction of the same that validates.
        seed: of the draw.
    """

    def __init__(self, test: float = 0.1, validation: float = 0.1, seed: int = 42) -> None:
        self._ask(test, validation)
        self.seed = seed

    def _folds(self, tables: Tables) -> FoldArray:
        ids = codes(tables.candidate_rows, tables.candidates[tables.keys.candidate_id])
        N = int(ids.max(initial=-1)) + 1
        fold = cut(shuffled(N, self.seed), part(N, self.test), part(N, self.validation))  # (N,)
        return np.asarray(fold[ids])
