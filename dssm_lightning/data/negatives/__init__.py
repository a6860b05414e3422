"""Candidates drawn to be a batch's negatives beside those that it has anyway.

A draw is a function of the counter and, where negatives are mined, of the pools in the checkpoint. Nothing is learnt
from validation or test rows. A row's own positives may be drawn: what a query is known to like is masked when the batch
is scored.
"""

from dssm_lightning.data.negatives.base import NegativeSampler
from dssm_lightning.data.negatives.from_data import FromColumn, FromShown, ObservedOnly
from dssm_lightning.data.negatives.from_distribution import LogUniform, Popularity, Uniform
from dssm_lightning.data.negatives.hard import Hard
from dssm_lightning.data.negatives.mixed import Mixed
from dssm_lightning.data.negatives.same_attribute import SameAttribute

__all__ = [
    "FromColumn",
    "FromShown",
    "Hard",
    "LogUniform",
    "Mixed",
    "NegativeSampler",
    "ObservedOnly",
    "Popularity",
    "SameAttribute",
    "Uniform",
]
