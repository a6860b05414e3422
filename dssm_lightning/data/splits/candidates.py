"""Splits of whole candidates, at random."""

from __future__ import annotations

import numpy as np

from dssm_lightning.data.splits.base import Split
from dssm_lightning.data.splits.ordering import FoldArray, assign_folds, codes, part_size, shuffled
from dssm_lightning.data.tables.tables import Tables


class ColdCandidates(Split):
    """Hold out all interactions of random candidates; the model knows only the attributes of a tested candidate.

    The id of a held-out candidate is the unknown id. With ``rank: held_out`` of the data module, the held-out
    candidates are ranked among themselves, so separating new from old candidates gains nothing.

    Args:
        test: fraction of the candidates with interactions in the test fold.
        validation: fraction of the candidates with interactions in the validation fold.
        seed: seed of the random order.

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.data.sources import Frames
        >>> events = pl.DataFrame({"query_id": range(8), "candidate_id": [5, 6, 7, 8] * 2})
        >>> fold = ColdCandidates(test=0.25, validation=0.0).assign(Frames(events).tables().resolve([], []))
        >>> events.filter(fold == 2)["candidate_id"].n_unique(), int((fold == 2).sum())  # both rows of one candidate
        (1, 2)
    """

    def __init__(self, test: float = 0.1, validation: float = 0.1, seed: int = 42) -> None:
        self._set_fractions(test, validation, seed)
        self.seed = seed

    def _folds(self, tables: Tables) -> FoldArray:
        ids = codes(tables.candidate_rows, tables.candidates[tables.keys.candidate_id])
        N = int(ids.max(initial=-1)) + 1
        fold = assign_folds(shuffled(N, self.seed), part_size(N, self.test), part_size(N, self.validation))  # (N,)
        return np.asarray(fold[ids])
