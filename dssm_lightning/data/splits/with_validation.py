"""The split of a final model: validation rows are trained on as well."""

from __future__ import annotations

import numpy as np

from dssm_lightning.data.interactions import TRAIN, VALIDATION
from dssm_lightning.data.splits.base import Split
from dssm_lightning.data.splits.ordering import FoldArray
from dssm_lightning.data.tables.tables import Tables


class WithValidation(Split):
    """Train on the training and the validation rows of another split; its test rows stay held out.

    ``fit --refit`` trains with this split, for the number of epochs that validation has chosen.

    Args:
        split: the split whose validation rows are trained on.

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.data.sources import Frames
        >>> from dssm_lightning.data.splits import PerQuery
        >>> events = pl.DataFrame({"query_id": [1] * 10, "candidate_id": list(range(10))})
        >>> tables = Frames(events).tables().resolve([], [])
        >>> held_out = PerQuery(test=0.2, validation=0.3)
        >>> np.bincount(held_out.assign(tables)).tolist(), np.bincount(WithValidation(held_out).assign(tables)).tolist()
        ([5, 3, 2], [8, 0, 2])
    """

    def __init__(self, split: Split) -> None:
        self.split = split
        self.test = split.test
        self.trains_on_later_rows, self.leaves_rows_out = split.trains_on_later_rows, split.leaves_rows_out

    @property
    def column_of_folds(self) -> str | None:
        """That of the split."""
        return self.split.column_of_folds

    def _folds(self, tables: Tables) -> FoldArray:
        folds = self.split.assign(tables)
        return np.where(folds == VALIDATION, TRAIN, folds).astype(folds.dtype)
