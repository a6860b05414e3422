"""Splits of the interactions into the training, validation and test folds.

A split has its own seed, so runs with different seeds are evaluated on the same rows. Fractions lie in [0, 1), count
all rows whatever their label, and are rounded down. Constructors raise UserError for other fractions, and if no row
would be left for training.
"""

from dssm_lightning.data.splits.base import Split
from dssm_lightning.data.splits.by_time import ByTime, LeaveLastN
from dssm_lightning.data.splits.candidates import ColdCandidates
from dssm_lightning.data.splits.published import PublishedFold
from dssm_lightning.data.splits.queries import HashedQueries, RandomQueries
from dssm_lightning.data.splits.rows import PerQuery, RandomRows
from dssm_lightning.data.splits.with_validation import WithValidation

__all__ = [
    "ByTime",
    "ColdCandidates",
    "HashedQueries",
    "LeaveLastN",
    "PerQuery",
    "PublishedFold",
    "RandomQueries",
    "RandomRows",
    "Split",
    "WithValidation",
]
