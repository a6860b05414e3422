"""Features and training batches, assembled by indexing whole columns.

A training batch is a function of (seed, epoch, step, rank, world size), so that a resumed run sees what it would have.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from dssm_lightning.data.batch import Batch, Candidates
from dssm_lightning.data.batching.histories import HistoryAssembler, Timeline
from dssm_lightning.data.batching.liked_by import LikedByAssembler
from dssm_lightning.data.batching.same_text import SameText
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
    """Makes batches from prepared data.

    Args:
        data: the memory-mapped data.
        sampler: draws negatives beside the batch's own candidates; None = in-batch only.
        mask_known: never take a candidate that the query is known to like as its negative.
        mask_duplicates: nor one that says the same as such a candidate, see :class:`SameText`.
        liked_only: train on the liked rows alone, where a loss has no use for label 0.
        by_query: whether the rows of a training batch stand by query, oldest first.
        frequency: how often a row's own candidate is each one; None = as counted in the training rows.

    Raises:
        ValueError: neither labels nor negatives would say anything to the loss; what a sampler or a history lacks.
    """

    def __init__(
        self,
        data: Prepared,
        sampler: NegativeSampler | None = None,
        mask_known: bool = True,
        liked_only: bool = False,
        by_query: bool = False,
        frequency: Frequency | None = None,
        mask_duplicates: bool = False,
    ) -> None:
        self.data, self.sampler, self.by_query = data, sampler, by_query
        self._masks_known = mask_known and (sampler is None or sampler.num_negatives > 0)
        self.likes = Timeline(data.interactions, len(data.queries))
        self._same_text = SameText(data, self.likes.candidates) if mask_duplicates else None
        self.histories = self._histories()
        self.liked_by = {
            feature.name: LikedByAssembler(feature, data.query, data.interactions, len(data.candidates))
            for feature in data.schemas.candidate
            if isinstance(feature, LikedBy)
        }
        self.rows = data.interactions.rows(TRAIN, label=1 if liked_only else None)
        self.frequency = CountedFrequency() if frequency is None else frequency
        all_liked = liked_only or data.interactions.label is None
        owned = self.likes.candidates.values if all_liked else gathered(data.interactions.candidate, self.rows)
        self.frequency.bind(owned, len(data.candidates))
        if liked_only and sampler is not None and sampler.num_negatives == 0:
            raise UserError(
                f"{type(sampler).__name__} leaves a row nothing but its label, and this loss has no use for labels: "
                "take BinaryCrossEntropy, or draw negatives with Uniform"
            )
        if sampler is not None:
            sampler.bind(SamplerTables(data.interactions, len(data.queries), len(data.candidates), data.candidates))

    def _histories(self) -> dict[str, HistoryAssembler]:
        timelines = {"liked": self.likes}
        made = {}
        for feature in self.data.schemas.query:
            if isinstance(feature, History):
                if feature.events not in timelines:
                    timelines[feature.events] = Timeline(self.data.interactions, len(self.data.queries), feature.events)
                made[feature.name] = HistoryAssembler(feature, self.data.candidate, timelines[feature.events])
        return made

    def replace_columns(self, columns: Mapping[str, Features]) -> None:
        """Use other columns in place of encoded ones, such as the features of a frozen backbone in place of pictures.

        Args:
            columns: by table ("query", "event" or "candidate") and feature.
        """
        data = self.data
        self.data = data._replace(
            query={**data.query, **columns.get("query", {})},
            event={**data.event, **columns.get("event", {})},
            candidate={**data.candidate, **columns.get("candidate", {})},
        )
        for history in self.histories.values():
            history.candidates = self.data.candidate

    # -- training ---------------------------------------------------------------------------------------------------

    def batch(
        self, rows: Tensor, counter: Counter, expected_rows: float | None = None, every_row: Tensor | None = None
    ) -> Batch:
        """The training batch of these interaction rows (B,); draws come from the counter.

        ``expected_rows`` is the mean B of such batches, where it differs from batch to batch; ``every_row`` are the
        rows (W · B,) of all ranks at this step, where there are several.
        """
        interactions = self.data.interactions
        query, own = interactions.query.index_select(0, rows), interactions.candidate.index_select(0, rows)
        drawn = None if self.sampler is None else self.sampler.sample(counter, rows)
        wanted = own if drawn is None else torch.cat([own, drawn[drawn >= 0].flatten()])
        ids, columns = _distinct(wanted)  # each candidate is encoded once
        target = columns[: len(own)]
        return Batch(
            query=self._query(rows, query, counter),
            candidates=Candidates(
                self.candidate_features(ids, rows if every_row is None else every_row, counter),
                ids,
                torch.bincount(target, minlength=len(ids)).float(),
                self._log_q(ids, expected_rows or len(rows)),
            ),
            target=target,
            negatives=self._own_columns(drawn, columns[len(own) :]),
            known=self._known(query) if self._masks_known else None,
            label=None if interactions.label is None else interactions.label[rows],
            weight=None if interactions.weight is None else interactions.weight[rows],
            row=rows,
        )

    def _known(self, query: Tensor) -> Ragged:
        return take(self.likes.candidates, query) if self._same_text is None else self._same_text.of(query)

    def _own_columns(self, drawn: Tensor | None, columns: Tensor) -> Tensor | None:
        if self.sampler is None or drawn is None or not self.sampler.per_row:
            return None
        own = torch.full_like(drawn, -1)
        own[drawn >= 0] = columns
        return own

    def _log_q(self, ids: Tensor, batch_size: float) -> Tensor:
        """(C,) log(B·p + n·q); −∞ for a column that is not there by chance (a negative that the data names)."""
        if self.sampler is None:
            expected = batch_size * self.frequency(ids)
        elif self.sampler.per_row:
            expected = self.sampler.expected(ids)
        else:
            expected = batch_size * self.frequency(ids) + self.sampler.expected(ids)
        return expected.log().float()

    def _query(self, rows: Tensor, query: Tensor, counter: Counter | None) -> Features:
        """Query features of events (B,) of these queries (B,) in the schema's order; with a counter, for training."""
        found = take_features(self.data.query, query)
        found |= take_features(self.data.event, rows)
        for name, history in self.histories.items():
            shared = counter is not None and self.by_query and history.feature.has_prefixes
            found[name] = history.of_sequences(rows, counter) if shared else history.of_events(rows, counter)
        return {name: found[name] for name in self.data.schemas.query.names}

    def candidate_features(self, ids: Tensor, held: Tensor | None = None, counter: Counter | None = None) -> Features:
        """Features of corpus rows (C,) in the schema's order; in training without what the rows ``held`` would tell."""
        found = take_features(self.data.candidate, ids)
        for name, liked_by in self.liked_by.items():
            found[name] = liked_by.of_candidates(ids, held, counter)
        return {name: found[name] for name in self.data.schemas.candidate.names}

    # -- evaluation -------------------------------------------------------------------------------------------------

    def query_features(self, query: Tensor) -> Features:
        """Features of whole queries (Q,): with all that is known of each as its history."""
        found = take_features(self.data.query, query)
        for name, history in self.histories.items():
            found[name] = history.of_queries(query)
        return {name: found[name] for name in self.data.schemas.query.names}

    def event_features(self, rows: Tensor) -> Features:
        """Features of events (Q,) that are not trained on, each with what was liked before it."""
        return self._query(rows, self.data.interactions.query.index_select(0, rows), None)


def _distinct(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """(C,) the distinct ones, ascending, and (T,) where each stands among them.

    Each number is sorted with its place in its low bits, which takes half of ``torch.unique``'s time.
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
