"""Training events that are later than held-out ones, under a split that holds out the last rows of each query."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dssm_lightning.data.interactions import TEST, TRAIN, VALIDATION, Interactions
from dssm_lightning.data.splits.base import Split

MOST = 100_000
"""Training rows, at even distances, by which the share of later events is estimated."""


class LaterEvents(NamedTuple):
    """How much of the training is later than the rows that are measured."""

    rows: float
    """Fraction of the validation and test rows that have later training rows of other queries."""
    events: float
    """Fraction of the training rows that are later than a validation or test row, on average."""

    @property
    def text(self) -> str:
        """One line for the log."""
        return (
            f"the split takes the last rows of each query: {self.rows:.0%} of the validation and test rows have later "
            f"training events of other queries ({self.events:.0%} of the training rows on average), and the model "
            "learns from these; data.split: ByTime measures without them"
        )


def later_events(split: Split, interactions: Interactions) -> LaterEvents | None:
    """Return how much of the training is later than what is measured; None if the split prevents it, or nothing is.

    Args:
        split: of the interactions.
        interactions: all events.

    Example:
        >>> import torch
        >>> from dssm_lightning.data.splits import LeaveLastN
        >>> query, time = torch.tensor([0, 0, 1, 1]), torch.tensor([1.0, 2.0, 3.0, 4.0]).double()
        >>> fold = torch.tensor([TRAIN, TEST, TRAIN, TEST], dtype=torch.int8)
        >>> later_events(LeaveLastN(1, 0), Interactions(query, query, fold, time=time))
        LaterEvents(rows=0.5, events=0.25)
    """
    if not split.trains_on_later_rows or interactions.time is None:
        return None
    time = interactions.time
    train = time[interactions.rows(TRAIN, label=1)]
    held_out = np.concatenate([time[interactions.rows(fold)].numpy() for fold in (VALIDATION, TEST)])
    if not len(held_out) or not len(train):
        return None
    rows = float((held_out < float(train.max())).mean())  # its query has no later training row
    sample = np.sort(train[:: -(-len(train) // MOST)].numpy())
    events = 1 - float(np.searchsorted(sample, held_out, side="right").mean()) / len(sample)
    return LaterEvents(rows, events) if rows > 0 else None
