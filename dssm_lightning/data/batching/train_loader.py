"""The training batches of an epoch, from any step on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dssm_lightning.data.batch import Batch
from dssm_lightning.data.batching.assembler import Assembler
from dssm_lightning.data.batching.shuffling import Order
from dssm_lightning.utils.seeding import Counter


@dataclass
class Progress:
    """The progress of training; a checkpoint saves epoch and number of batches.

    Example:
        >>> Progress(epoch=2, done=10)
        Progress(epoch=2, done=10, started=False)
    """

    epoch: int = 0
    done: int = 0  # number of batches of this epoch that the loader has returned
    started: bool = False  # whether this process has started the epoch; false in a process that resumes within it


class TrainLoader:
    """A sized iterable: each pass is one epoch of this process's batches; the first pass starts at ``progress``.

    Args:
        assembler: makes the batches.
        order: the rows of each step.
        place: seed and process.
        progress: the progress of training; the loader updates it.
        repeats: whether each epoch has the rows of the first, in its order, for ``overfit_batches``.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from dssm_lightning.data.batching.shuffling import RowOrder
        >>> from dssm_lightning.data.retrieval_data import RetrievalData
        >>> from dssm_lightning.data.sources import Synthetic
        >>> from dssm_lightning.data.splits import PerQuery
        >>> from dssm_lightning.features import Categorical, HashedWords
        >>> features = [HashedWords(name="text", num_buckets=100)], [Categorical(name="candidate_id")]
        >>> with TemporaryDirectory() as folder:
        ...     data = RetrievalData(Synthetic(20, 40, likes=5), *features, PerQuery(test=0.2), cache_dir=folder)
        ...     order = RowOrder(data.assembler.rows, 16, Counter(seed=0), world_size=1)
        ...     [len(batch.row) for batch in TrainLoader(data.assembler, order, Counter(seed=0), Progress())]
        [16, 16, 16]
    """

    def __init__(
        self, assembler: Assembler, order: Order, place: Counter, progress: Progress, repeats: bool = False
    ) -> None:
        self.assembler, self.order, self.place, self.progress = assembler, order, place, progress
        self.repeats = repeats

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        progress = self.progress
        if progress.started or progress.done >= len(self):
            progress.epoch, progress.done = progress.epoch + 1, 0
        progress.started = True
        epoch = 0 if self.repeats else progress.epoch
        rows, expected = self.order.epoch(epoch), self.order.expected_rows
        frequency, owned = self.assembler.frequency, self.assembler.data.interactions.candidate
        needs_all_rows = frequency.streams or self.assembler.liked_by
        all_rows_of = self.order.epoch(epoch, all_processes=True) if needs_all_rows else None
        for step in range(progress.done, len(self)):
            counter = self.place._replace(epoch=progress.epoch, step=step)
            frequency.commit()  # the previous batch has been trained on
            all_rows = None if all_rows_of is None else all_rows_of(step)
            batch = self.assembler.batch(rows(step), counter, expected, all_rows)
            progress.done = step + 1  # only now: a batch whose assembly is interrupted was not trained on
            if all_rows is not None and frequency.streams:
                frequency.hold(owned[all_rows])
            yield batch
