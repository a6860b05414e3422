"""Small interactions, and what samplers draw from them: for the tests of negatives."""

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
    """One interaction for each entry, all of them training positives unless told."""
    lengths = torch.tensor([0, *(len(row) for row in negatives or [])])
    values = [value for row in negatives or [] for value in row]
    return Interactions(
        query=torch.tensor(query),
        candidate=torch.tensor(candidate),
        fold=torch.tensor([TRAIN] * len(query) if fold is None else fold, dtype=torch.int8),
        label=None if label is None else torch.tensor(label),
        weight=None,
        time=None,
        negatives=None if negatives is None else Ragged(torch.tensor(values, dtype=torch.int64), lengths.cumsum(0)),
    )


# Candidate 0 is liked four times, 1 once, 2 in test and validation alone, 3 is shown and not liked, 4 never occurs.
LIKES = make_interactions(
    query=[0, 1, 2, 3, 0, 0, 1, 2],
    candidate=[0, 0, 0, 0, 1, 2, 2, 3],
    fold=[TRAIN] * 5 + [TEST, VALIDATION, TRAIN],
    label=[1.0] * 7 + [0.0],
)
ROWS = torch.arange(8)


def bound(sampler: NegativeSampler, interactions: Interactions = LIKES, num_candidates: int = 5) -> NegativeSampler:
    """The sampler, bound to the interactions."""
    sampler.bind(SamplerTables(interactions, 4, num_candidates))
    return sampler


def drawn(sampler: NegativeSampler, times: int, rows: Tensor = ROWS) -> Tensor:
    """(times · n,) what the sampler draws at so many steps."""
    return torch.cat([sampler.sample(HERE._replace(step=step), rows).flatten() for step in range(times)])


def assert_frequencies(ids: Tensor, probability: Tensor) -> None:
    """Each frequency lies within five standard deviations of its probability; what has none never occurs."""
    found = torch.bincount(ids, minlength=len(probability)).double() / len(ids)
    deviation = (probability * (1 - probability) / len(ids)).sqrt()
    assert (abs(found - probability) <= 5 * deviation).all(), (found, probability)
