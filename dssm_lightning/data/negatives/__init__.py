"""Samplers of negatives: candidates that are drawn for a batch, in addition to the rows' own candidates.

A draw depends on the counter only, and, if negatives are mined, on the pools in the checkpoint. Samplers learn nothing
from validation or test rows. A sampler may draw a positive of the row's query: known positives are masked when the
batch is scored.
"""

from dssm_lightning.data.negatives.base import NegativeSampler, SamplerTables
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
    "SamplerTables",
    "Uniform",
]
