"""Small interactions and draws from them, for the tests of negative samplers."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.data.interactions import TEST, TRAIN, VALIDATION, Interactions
from dssm_lightning.data.negatives import NegativeSampler, SamplerTables
from dssm_lightning.utils.ragged import Ragged
from dssm_lightning.utils.seeding import Counter

HERE = Counter(seed=1, epoch=2, step=3, process_rank=0)


def make_interactions(
    query: list[int],
    candidate: list[int],
    fold: list[int] | None = None,
    label: list[float] | None = None,
    negatives: list[list[int]] | None = None,
) -> Interactions:
    """Make one interaction for each entry; by default, all of them are training positives."""
    values = torch.tensor([value for row in negatives or [] for value in row], dtype=torch.int64)
    lengths = torch.tensor([len(row) for row in negatives or []], dtype=torch.int64)
    return Interactions(
        query=torch.tensor(query),
        candidate=torch.tensor(candidate),
        fold=torch.tensor([TRAIN] * len(query) if fold is None else fold, dtype=torch.int8),
        label=None if label is None else torch.tensor(label),
        negatives=None if negatives is None else Ragged.from_lengths(values, lengths),
    )


# Candidate 0 is liked four times, 1 once, 2 in test and validation only; 3 is shown and not liked, 4 never occurs.
LIKES = make_interactions(
    query=[0, 1, 2, 3, 0, 0, 1, 2],
    candidate=[0, 0, 0, 0, 1, 2, 2, 3],
    fold=[TRAIN] * 5 + [TEST, VALIDATION, TRAIN],
    label=[1.0] * 7 + [0.0],
)
ROWS = torch.arange(8)


def bound(sampler: NegativeSampler, interactions: Interactions = LIKES, num_candidates: int = 5) -> NegativeSampler:
    """Bind the sampler to the interactions and return it."""
    sampler.bind(SamplerTables(interactions, 4, num_candidates))
    return sampler


def drawn(sampler: NegativeSampler, times: int, rows: Tensor = ROWS) -> Tensor:
    """Return the draws of the first ``times`` steps, (times · n,)."""
    return torch.cat([sampler.sample(HERE._replace(step=step), rows).flatten() for step in range(times)])


def assert_frequencies(ids: Tensor, probability: Tensor) -> None:
    """Check that each frequency is within five standard deviations of its probability."""
    found = torch.bincount(ids, minlength=len(probability)).double() / len(ids)
    deviation = (probability * (1 - probability) / len(ids)).sqrt()
    assert (abs(found - probability) <= 5 * deviation).all(), (found, probability)
