"""What every split is: folds for the interactions, checked."""

from __future__ import annotations

import numpy as np

from dssm_lightning.data.interactions import FOLDS, TEST, TRAIN, VALIDATION
from dssm_lightning.data.splits.ordering import FoldArray
from dssm_lightning.data.tables.tables import Tables
from dssm_lightning.utils.errors import UserError


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
                raise UserError(
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
                raise UserError(f"{type(self).__name__}: {name} is {value}; it is a fraction in [0, 1)")
        if test + validation >= 1:
            raise UserError(f"{type(self).__name__}: test {test} + validation {validation} leave nothing to train on")
        self.test, self.validation = test, validation
