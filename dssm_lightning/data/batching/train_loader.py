"""One epoch of batches, from any place in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dssm_lightning.data.batch import Batch
from dssm_lightning.data.batching.assembler import Assembler
from dssm_lightning.data.batching.shuffling import Order
from dssm_lightning.utils.seeding import Counter


@dataclass
class Progress:
    """How far training has come; this is what a checkpoint keeps of the data."""

    epoch: int = 0
    done: int = 0  # batches of this epoch that were handed out
    started: bool = False  # whether this process has begun the epoch; one that resumes has not


class TrainLoader:
    """A sized iterable: each pass is one epoch of this rank's batches, the first from where ``progress`` stands.

    Args:
        assembler: makes the batches.
        order: which rows this rank trains on at which step of an epoch.
        place: seed and rank.
        progress: how far training has come; kept up to date.
    """

    def __init__(self, assembler: Assembler, order: Order, place: Counter, progress: Progress) -> None:
        self.assembler, self.order, self.place, self.progress = assembler, order, place, progress

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        progress = self.progress
        if progress.started or progress.done >= len(self):
            progress.epoch, progress.done = progress.epoch + 1, 0
        progress.started = True
        rows, expected = self.order.epoch(progress.epoch), self.order.expected_rows
        frequency, owned = self.assembler.frequency, self.assembler.data.interactions.candidate
        looks_at_all = frequency.streams or self.assembler.liked_by
        every_row = self.order.epoch(progress.epoch, every_rank=True) if looks_at_all else None
        for step in range(progress.done, len(self)):
            counter = self.place._replace(epoch=progress.epoch, step=step)
            frequency.commit()  # the batch before this one has been trained on
            all_rows = None if every_row is None else every_row(step)
            batch = self.assembler.batch(rows(step), counter, expected, all_rows)
            progress.done = step + 1  # only now: who is interrupted while a batch is made has not had it
            if all_rows is not None and frequency.streams:
                frequency.hold(owned[all_rows])
            yield batch
