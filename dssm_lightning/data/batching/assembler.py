"""Features and training batches, assembled by indexing whole columns.

A training batch is a function of seed, epoch, step, process and number of processes, so that a resumed run sees the
same batches as an uninterrupted run.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from dssm_lightning.data.batch import Batch, Candidates
from dssm_lightning.data.batching.histories import HistoryAssembler
from dssm_lightning.data.batching.liked_by import LikedByAssembler
from dssm_lightning.data.batching.same_text import SameText
from dssm_lightning.data.grouped_events import TrainingEvents
from dssm_lightning.data.interactions import TRAIN
from dssm_lightning.data.negatives import NegativeSampler, SamplerTables
from dssm_lightning.data.negatives.frequency import CountedFrequency, Frequency
from dssm_lightning.data.preparation.cache import Prepared
from dssm_lightning.features import History, LikedBy
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.memory_mapped import gathered
from dssm_lightning.utils.ragged import Features, Ragged, take, take_features
from dssm_lightning.utils.seeding import Counter


class Assembler:
    """Make batches from prepared data.

    Args:
        data: the memory-mapped data.
        sampler: draws further negatives; None = in-batch negatives only.
        mask_known: never use a known positive of the query as its negative.
        liked_only: train on liked rows only, for a loss that ignores label-0 rows.
        by_query: whether the rows of a training batch are ordered by query, oldest first.
        frequency: the probability that a training row owns a candidate; None = counted in the training rows.
        mask_duplicates: never use a candidate with the text of a known positive as a negative, see :class:`SameText`.

    Raises:
        UserError: rows have neither labels nor negatives for the loss; the data lack a column that a sampler or a
            history needs.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from dssm_lightning.data.negatives import Uniform
        >>> from dssm_lightning.data.retrieval_data import RetrievalData
        >>> from dssm_lightning.data.sources import Synthetic
        >>> from dssm_lightning.data.splits import PerQuery
        >>> from dssm_lightning.features import Categorical, HashedWords
        >>> features = [HashedWords(name="text", num_buckets=100)], [Categorical(name="candidate_id")]
        >>> with TemporaryDirectory() as folder:
        ...     data = RetrievalData(Synthetic(20, 40), *features, PerQuery(test=0.2), cache_dir=folder)
        ...     batch = Assembler(data.data, sampler=Uniform(30)).batch(torch.tensor([0, 1]), Counter(seed=0))
        >>> batch.target.shape, batch.candidates.id.unique_consecutive().equal(batch.candidates.id)
        (torch.Size([2]), True)
    """

    def __init__(
        self,
        data: Prepared,
        *,
        sampler: NegativeSampler | None = None,
        mask_known: bool = True,
        liked_only: bool = False,
        by_query: bool = False,
        frequency: Frequency | None = None,
        mask_duplicates: bool = False,
    ) -> None:
        self.data, self.inputs = data, data  # what was prepared, and what the towers read of it
        self.sampler, self.by_query, self.liked_only = sampler, by_query, liked_only
        self._masks_known = mask_known and (sampler is None or sampler.num_negatives > 0)
        self._events = TrainingEvents(data.interactions, len(data.queries), len(data.candidates), data.groupings)
        self.likes = self._events.by_query("liked")
        self._same_text = SameText(data, self.likes.candidates) if mask_duplicates else None
        self.histories = self._histories()
        self.liked_by = {
            feature.name: LikedByAssembler(feature, data.query, data.interactions, self._events.by_candidate)
            for feature in data.schemas.candidate
            if isinstance(feature, LikedBy)
        }
        self.frequency = CountedFrequency() if frequency is None else frequency
        all_liked = liked_only or data.interactions.label is None
        owned = self.likes.candidates.values if all_liked else gathered(data.interactions.candidate, self.rows)
        self.frequency.bind(owned, len(data.candidates))
        if liked_only and sampler is not None and sampler.num_negatives == 0:
            raise UserError(
                f"{type(sampler).__name__} draws no negatives, and this loss ignores labels, so rows teach nothing: "
                "use BinaryCrossEntropy, or draw negatives with Uniform"
            )
        if sampler is not None:
            sampler.bind(SamplerTables(data.interactions, len(data.queries), len(data.candidates), data.candidates))

    def _histories(self) -> dict[str, HistoryAssembler]:
        return {
            feature.name: HistoryAssembler(feature, self.data.candidate, self._events.by_query(feature.events))
            for feature in self.data.schemas.query
            if isinstance(feature, History)
        }

    @cached_property
    def rows(self) -> Tensor:
        """(n,) int64: the training rows, ascending."""
        return self.data.interactions.rows(TRAIN, label=1 if self.liked_only else None)

    @property
    def rows_by_query(self) -> Ragged:
        """The training rows of each query, oldest first if the interactions have a time."""
        return (self.likes if self.liked_only else self._events.by_query("all")).rows

    def replace_columns(self, columns: Mapping[str, Features]) -> None:
        """Let batches have other columns, such as the output of a frozen backbone; all others are the prepared ones.

        Args:
            columns: by table ("query", "event" or "candidate") and feature.
        """
        data = self.data
        self.inputs = data._replace(
            query={**data.query, **columns.get("query", {})},
            event={**data.event, **columns.get("event", {})},
            candidate={**data.candidate, **columns.get("candidate", {})},
        )
        for history in self.histories.values():
            history.candidates = self.inputs.candidate

    # -- training ---------------------------------------------------------------------------------------------------

    def batch(
        self, rows: Tensor, counter: Counter, expected_rows: float | None = None, all_rows: Tensor | None = None
    ) -> Batch:
        """Make the training batch of interaction rows.

        Args:
            rows: (B,) int64 training rows.
            counter: the place in the run, for random draws.
            expected_rows: the mean of B over batches, if B varies; None = B.
            all_rows: (W · B,) the rows of all processes at this step; None = this process has all rows.
        """
        interactions = self.data.interactions
        query, own = interactions.query.index_select(0, rows), interactions.candidate.index_select(0, rows)
        drawn = None if self.sampler is None else self.sampler.sample(counter, rows)
        proposed = own if drawn is None else torch.cat([own, drawn[drawn >= 0].flatten()])
        ids, columns = _distinct(proposed)  # each candidate is encoded once
        target = columns[: len(own)]
        return Batch(
            query=self._query(rows, query, counter),
            candidates=Candidates(
                self.candidate_features(ids, rows if all_rows is None else all_rows, counter),
                ids,
                torch.bincount(target, minlength=len(ids)).float(),
                self._log_q(ids, expected_rows or len(rows)),
            ),
            target=target,
            negatives=self._negative_columns(drawn, columns[len(own) :]),
            known=self._known(query) if self._masks_known else None,
            label=None if interactions.label is None else interactions.label[rows],
            weight=None if interactions.weight is None else interactions.weight[rows],
            row=rows,
            num_candidates=len(self.data.candidates),
            objectives=self._objectives(rows),
            rating=None if interactions.rating is None else interactions.rating[rows],
        )

    def _objectives(self, rows: Tensor) -> dict[str, Tensor] | None:
        if self.data.interactions.objectives is None:
            return None
        columns = self.data.interactions.objectives[rows].float().unbind(1)
        return dict(zip(self.data.objectives, columns, strict=True))

    def _known(self, query: Tensor) -> Ragged:
        return take(self.likes.candidates, query) if self._same_text is None else self._same_text.of(query)

    def _negative_columns(self, drawn: Tensor | None, columns: Tensor) -> Tensor | None:
        """Return the columns (B, n) of each row's own negatives, −1 for none; None if the batch shares them."""
        if self.sampler is None or drawn is None or not self.sampler.per_row:
            return None
        found = torch.full_like(drawn, -1)
        found[drawn >= 0] = columns
        return found

    def _log_q(self, ids: Tensor, batch_size: float) -> Tensor:
        """Return log(B·p + n·q), (C,) float32; −∞ for a candidate that is not drawn at random."""
        if self.sampler is None:
            expected = batch_size * self.frequency(ids)
        elif self.sampler.per_row:
            expected = self.sampler.expected(ids)
        else:
            expected = batch_size * self.frequency(ids) + self.sampler.expected(ids)
        return expected.log().float()

    def _query(self, rows: Tensor, query: Tensor, counter: Counter | None) -> Features:
        """Return the query features of events (B,), in the order of the schema; with a counter, for training."""
        found = take_features(self.inputs.query, query)
        found |= take_features(self.inputs.event, rows)
        for name, history in self.histories.items():
            shared = counter is not None and self.by_query and history.feature.has_prefixes
            found[name] = history.of_sequences(rows, counter) if shared else history.of_events(rows, counter)
        return {name: found[name] for name in self.data.schemas.query.names}

    def candidate_features(
        self, ids: Tensor, left_out: Tensor | None = None, counter: Counter | None = None
    ) -> Features:
        """Return the features of candidates, in the order of the schema.

        Args:
            ids: (C,) corpus rows.
            left_out: in training, the interaction rows of the batch, which ``LikedBy`` features leave out.
            counter: in training, the place in the run, for dropout.
        """
        found = take_features(self.inputs.candidate, ids)
        for name, liked_by in self.liked_by.items():
            found[name] = liked_by.of_candidates(ids, left_out, counter)
        return {name: found[name] for name in self.data.schemas.candidate.names}

    # -- evaluation -------------------------------------------------------------------------------------------------

    def query_features(self, query: Tensor) -> Features:
        """Return the features of queries (Q,); a query's history is all of its training events."""
        found = take_features(self.inputs.query, query)
        for name, history in self.histories.items():
            found[name] = history.of_queries(query)
        return {name: found[name] for name in self.data.schemas.query.names}

    def event_features(self, rows: Tensor) -> Features:
        """Return the query features of held-out events (Q,); an event's history is as in training."""
        return self._query(rows, self.data.interactions.query.index_select(0, rows), None)


def _distinct(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct numbers (C,), ascending, and the place of each number (T,) among them.

    The numbers are sorted with their places in the low bits, which takes half the time of ``torch.unique``.
    """
    bits = len(numbers).bit_length()
    keys = (numbers.numpy() << bits) | np.arange(len(numbers))
    keys.sort()
    order = keys & ((1 << bits) - 1)
    keys >>= bits
    first = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    place = np.empty_like(order)
    place[order] = first.cumsum() - 1
    return torch.from_numpy(keys[first]), torch.from_numpy(place)
