"""The base class of all splits, which checks the folds."""

from __future__ import annotations

import numpy as np

from dssm_lightning.data.interactions import FOLDS, TEST, TRAIN, VALIDATION
from dssm_lightning.data.splits.ordering import FoldArray
from dssm_lightning.data.tables.tables import Tables
from dssm_lightning.utils.errors import UserError, is_whole, require_fraction


class Split:
    """Assign a fold to each interaction. A subclass implements ``_folds`` and sets ``test`` and ``validation``.

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.data.sources import Frames
        >>> class FirstRows(Split):
        ...     test = 0.5
        ...
        ...     def _folds(self, tables):
        ...         rows = np.arange(len(tables.interactions))
        ...         return np.where(rows < len(rows) / 2, TEST, TRAIN).astype(np.int8)
        >>> events = pl.DataFrame({"query_id": [1, 1, 2, 2], "candidate_id": [7, 8, 7, 9]})
        >>> FirstRows().assign(Frames(events).tables().resolve([], [])).tolist()
        [2, 2, 0, 0]
    """

    test: float = 0.0
    """Requested size of the test fold; 0 = the fold may be empty."""
    validation: float = 0.0
    """Requested size of the validation fold; 0 = the fold may be empty."""
    trains_on_later_rows = False
    """Whether the held-out rows are the last of their queries, while other queries train on later ones."""
    leaves_rows_out = False
    """Whether some rows get no fold. They are removed before repeated pairs are, as if they did not exist."""

    def __repr__(self) -> str:
        """Return the class and its settings, of which the name of a cache is made."""
        return f"{type(self).__name__}{sorted(vars(self).items())}"

    @property
    def column_of_folds(self) -> str | None:
        """The column of the data that names the fold of each row; None = the split chooses the folds itself."""
        return None

    def assign(self, tables: Tables) -> FoldArray:
        """Return TRAIN, VALIDATION, TEST or LEFT_OUT for each row of ``interactions``, (R,) int8, always the same.

        Raises:
            UserError: a column is missing or has invalid values; the training fold or a requested fold is empty.
        """
        fold = self._folds(tables)
        counts = np.bincount(fold, minlength=len(FOLDS))
        for code, requested in ((TRAIN, 1.0), (VALIDATION, self.validation), (TEST, self.test)):
            if requested and not counts[code]:
                found = ", ".join(f"{name} {count}" for name, count in zip(FOLDS, counts, strict=False))
                raise UserError(
                    f"{type(self).__name__} leaves no {FOLDS[code]} rows ({found}); "
                    "choose other sizes, or set the size of a fold to 0 to leave it empty"
                )
        return fold

    def _folds(self, tables: Tables) -> FoldArray:
        """Return the folds (R,); a fold may be empty."""
        raise NotImplementedError

    def _set_fractions(self, test: float, validation: float, seed: int = 0) -> None:
        """Check and set both fractions; the seed is only checked: any whole number is one."""
        name = type(self).__name__
        if not is_whole(seed):
            raise UserError(f"{name}: seed is {seed!r}; it must be a whole number")
        if test is None or validation is None:
            raise UserError(f"{name}: test is {test}, validation is {validation}; both must be fractions in [0, 1)")
        require_fraction(name, "test", test)
        require_fraction(name, "validation", validation)
        if test + validation >= 1:
            raise UserError(f"{name}: test {test} + validation {validation} leave no rows for training")
        self.test, self.validation = test, validation
