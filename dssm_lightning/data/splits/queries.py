"""Whole queries, at random or by their hashes."""

from __future__ import annotations

import numpy as np
import polars as pl

from dssm_lightning.data.interactions import TEST, TRAIN, VALIDATION
from dssm_lightning.data.splits.base import Split
from dssm_lightning.data.splits.columns import column_of, examples, query_codes
from dssm_lightning.data.splits.ordering import FoldArray, IntArray, assign_folds, part_size, shuffled
from dssm_lightning.data.tables.tables import Tables
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.hashing import hash_strings, mix64_
from dssm_lightning.utils.seeding import mix


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
        query = query_codes(tables)
        eligible = _eligible(self, tables, query, self.among)
        E = len(eligible)
        fold = np.full(query.max(initial=-1) + 1, TRAIN, np.int8)
        fold[eligible] = assign_folds(shuffled(E, self.seed), part_size(E, self.test), part_size(E, self.validation))
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
        values = column_of(self, tables, name).cast(pl.String)
        if missing := values.null_count():
            raise UserError(f"HashedQueries: column {name!r} is missing in {missing} of {len(values)} rows")
        code: IntArray = values.rank("dense").to_numpy().astype(np.int64) - 1
        share = (mix64_(hash_strings(values) ^ np.uint64(mix(self.seed))) >> np.uint64(11)) * 2.0**-53  # (R,) in [0, 1)
        fold = np.where(share < self.test, TEST, np.where(share < self.test + self.validation, VALIDATION, TRAIN))
        fold[~np.isin(code, _eligible(self, tables, code, self.among))] = TRAIN
        return fold.astype(np.int8)


def _eligible(split: Split, tables: Tables, code: IntArray, among: dict[str, str]) -> IntArray:
    """Which of the codes (R,) have the values that are asked for in all of their rows."""
    eligible: IntArray = np.unique(code)
    for name, value in among.items():
        column = column_of(split, tables, name).cast(pl.String)
        eligible = np.setdiff1d(eligible, code[column.ne_missing(str(value)).to_numpy()])
        if not len(eligible):
            raise UserError(
                f"{type(split).__name__}: among leaves no query at {name!r} = {value!r}; the column has "
                f"{examples(column)}"
            )
    return eligible
