"""Splits of whole queries, at random or by a hash."""

from __future__ import annotations

import numpy as np
import polars as pl

from dssm_lightning.data.interactions import TEST, TRAIN, VALIDATION
from dssm_lightning.data.splits.base import Split
from dssm_lightning.data.splits.columns import column_of, examples, query_codes, texts_of
from dssm_lightning.data.splits.ordering import FoldArray, IntArray, assign_folds, part_size, shuffled
from dssm_lightning.data.tables.tables import Tables
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.hashing import hash_strings, mix64_
from dssm_lightning.utils.seeding import mix


class RandomQueries(Split):
    """Hold out random queries with all of their rows; a tested query was never trained on.

    Args:
        test: fraction of the eligible queries in the test fold.
        validation: fraction of the eligible queries in the validation fold.
        seed: seed of the random order.
        among: the eligible queries, as {column: value}; all conditions must hold, and values are compared as text. The
            other queries are training queries. A column of ``queries`` or of ``interactions``; a condition on the
            interactions must hold in all rows of a query.

    Example:
        >>> from dssm_lightning.data.sources import Frames
        >>> events = pl.DataFrame({"query_id": [1, 1, 2, 2], "candidate_id": [5, 6, 5, 7]})
        >>> split = RandomQueries(test=0.5, validation=0.0)
        >>> split.assign(Frames(events).tables().resolve([], [])).tolist()
        [2, 2, 0, 0]
    """

    def __init__(
        self, test: float = 0.1, validation: float = 0.1, seed: int = 42, among: dict[str, str] | None = None
    ) -> None:
        self._set_fractions(test, validation, seed)
        self.seed, self.among = seed, among or {}

    def _folds(self, tables: Tables) -> FoldArray:
        query = query_codes(tables)
        eligible = _eligible(self, tables, query, self.among)
        E = len(eligible)
        fold = np.full(query.max(initial=-1) + 1, TRAIN, np.int8)
        fold[eligible] = assign_folds(shuffled(E, self.seed), part_size(E, self.test), part_size(E, self.validation))
        return fold[query]


class HashedQueries(Split):
    """Hold out whole queries by a hash, so that the fold of a query does not depend on the other data.

    A query of the test fold stays in the test fold in any part of the data, and when the data grow. Queries with the
    same value of ``column`` (such as a text in several languages) are held out together.

    Args:
        test: expected fraction of the eligible queries in the test fold; the hash decides the exact number.
        validation: expected fraction of the eligible queries in the validation fold.
        seed: seed of the hash.
        column: column of ``queries`` or of ``interactions`` that is hashed; None = the query's id.
        among: as in :class:`RandomQueries`; a condition must hold in all rows with the same value of ``column``.

    Example:
        >>> from dssm_lightning.data.sources import Frames
        >>> events = pl.DataFrame({"query_id": [f"q{number}" for number in range(500)], "candidate_id": [5] * 500})
        >>> split, tables = HashedQueries(test=0.2), Frames(events).tables().resolve([], [])
        >>> half = Frames(events[::2]).tables().resolve([], [])
        >>> bool((split.assign(tables)[::2] == split.assign(half)).all())
        True
    """

    def __init__(
        self,
        test: float = 0.1,
        validation: float = 0.1,
        seed: int = 42,
        column: str | None = None,
        among: dict[str, str] | None = None,
    ) -> None:
        self._set_fractions(test, validation, seed)
        self.seed, self.column, self.among = seed, column, among or {}

    def _folds(self, tables: Tables) -> FoldArray:
        name = self.column or tables.keys.query_id
        values = texts_of(self, tables, name)
        if missing := values.null_count():
            raise UserError(f"HashedQueries: column {name!r} is missing in {missing} of {len(values)} rows")
        code: IntArray = values.rank("dense").to_numpy().astype(np.int64) - 1
        share = (mix64_(hash_strings(values) ^ np.uint64(mix(self.seed))) >> np.uint64(11)) * 2.0**-53  # (R,) in [0, 1)
        fold = np.where(share < self.test, TEST, np.where(share < self.test + self.validation, VALIDATION, TRAIN))
        fold[~np.isin(code, _eligible(self, tables, code, self.among))] = TRAIN
        return fold.astype(np.int8)


def _eligible(split: Split, tables: Tables, code: IntArray, among: dict[str, str]) -> IntArray:
    """Return the codes that satisfy all conditions in all of their rows.

    Args:
        split: the split, for messages.
        tables: R interactions.
        code: (R,) the code of each interaction.
        among: the conditions, {column: value}.
    """
    eligible: IntArray = np.unique(code)
    for name, value in among.items():
        column = texts_of(split, tables, name)
        text = str(value).lower() if column_of(split, tables, name).dtype == pl.Boolean else str(value)
        eligible = np.setdiff1d(eligible, code[column.ne_missing(text).to_numpy()])
        if not len(eligible):
            raise UserError(
                f"{type(split).__name__}: among leaves no query at {name!r} = {value!r}; the column has "
                f"{examples(column)}"
            )
    return eligible
