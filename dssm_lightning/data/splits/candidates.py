"""Whole candidates at random."""

from __future__ import annotations

import numpy as np

from dssm_lightning.data.splits.base import Split
from dssm_lightning.data.splits.ordering import FoldArray, assign_folds, codes, part_size, shuffled
from dssm_lightning.data.tables.tables import Tables


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
        fold = assign_folds(shuffled(N, self.seed), part_size(N, self.test), part_size(N, self.validation))  # (N,)
        return np.asarray(fold[ids])
