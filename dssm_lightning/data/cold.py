"""A split by candidate: what is tested was liked by nobody in training."""

from __future__ import annotations

import numpy as np

from dssm_lightning.data.cuts import FoldArray, IntArray, cut, part, shuffled
from dssm_lightning.data.splits import Split
from dssm_lightning.data.tables import Tables


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
        ids: IntArray = tables.interactions[tables.keys.candidate_id].rank("dense").to_numpy().astype(np.int64) - 1
        N = int(ids.max(initial=-1)) + 1  # numbered by ascending id, so that the order of the rows decides nothing
        fold = cut(shuffled(N, self.seed), part(N, self.test), part(N, self.validation))  # (N,)
        return np.asarray(fold[ids])
