"""Which interactions train, which validate and which test.

A split has a seed of its own: runs with other seeds are measured on the same rows. Fractions are in [0, 1), of all rows
whatever their label, rounded down; constructors raise ValueError for others, or where nothing is left to train on.
"""

from dssm_lightning.data.splits.base import Split
from dssm_lightning.data.splits.by_time import ByTime, LeaveLastN
from dssm_lightning.data.splits.candidates import ColdCandidates
from dssm_lightning.data.splits.published import PublishedFold
from dssm_lightning.data.splits.queries import HashedQueries, RandomQueries
from dssm_lightning.data.splits.rows import PerQuery, RandomRows

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
]
