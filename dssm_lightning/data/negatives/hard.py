"""Negatives that the current model itself finds hard, mined between epochs."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
import torch
from torch import Tensor

from dssm_lightning.data.interactions import TRAIN, Interactions, group
from dssm_lightning.data.negatives.base import NegativeSampler, sample_up_to
from dssm_lightning.data.negatives.from_distribution import Uniform
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.memory_mapped import gathered
from dssm_lightning.utils.ragged import Ragged, take
from dssm_lightning.utils.seeding import Counter


class Hard(NegativeSampler):
    """Candidates that the model, as it is, ranks high for a query that is not known to like them.

    Before an epoch that is due the model scores the whole corpus for each query of the training rows. What the query is
    known to like is taken out, and of the others those with a rank in ``rank_range`` become the query's *pool*, from
    which its rows draw until it is mined anew. The very first ranks are often candidates that the query likes and
    nobody has said so: leave them out by the range, or by the margin. Before the first mining draws are uniform.

    A draw depends on the row, so that :meth:`expected` is what the average training row draws. No correction by
    ``log_q`` makes the pools stand for the corpus: take ``SampledSoftmax`` with its repeats ignored, or a loss that
    compares (``TripletMargin``, ``BPR``). ``Mixed`` with ``Uniform`` it goes on seeing the easy ones.

    The pools are state: they lie in the checkpoint, as int32, so that a run resumes with what it drew from. Queries are
    mined once each, with all that is known of them as their history, as they are ranked in an evaluation by query.

    Args:
        num_negatives: at most so many for each row, or, shared, for the whole batch.
        rank_range: ``[first, end]``: candidates of 0-based rank first ≤ rank < end, known positives not counted.
        every_n_epochs: how often is mined.
        warm_up: epochs before the first mining; 0 for towers that are trained already.
        margin: take only candidates that score at least this much below the mean of the query's training positives
            (of a query with one positive: below it), in units of the logits; None = whatever they score.
        relative_margin: likewise, but as a part of that mean: with .05 what scores at most 95 % of it, whatever the
            scale of the logits. Where both are given, both must hold.
        per_row: each row has its own, and only they are its negatives. Otherwise every draw is for a row of the batch
            chosen at random, and is a negative of all rows, beside the batch's other candidates.

    Sources: Xiong et al., arXiv 2007.00808 (ANCE: mined anew as the model changes); Moreira et al., arXiv 2407.15831
    (both margins to the positive).

    Raises:
        ValueError: ranks that do not ascend, or hold fewer candidates than are drawn; a margin below 0; epochs that
            are no number of them; in ``bind``, a range that ends beyond the corpus.
    """

    def __init__(
        self,
        num_negatives: int,
        rank_range: tuple[int, int],
        every_n_epochs: int = 1,
        warm_up: int = 1,
        margin: float | None = None,
        per_row: bool = True,
        relative_margin: float | None = None,
    ) -> None:
        super().__init__(num_negatives, per_row)
        first, end = rank_range
        if not 0 <= first < end:
            raise UserError(f"Hard: rank_range is {first} to {end}; ranks start at 0 and must ascend")
        if per_row and num_negatives > end - first:
            raise UserError(f"Hard: num_negatives is {num_negatives}, but ranks {first} to {end} hold {end - first}")
        if every_n_epochs < 1 or warm_up < 0:
            raise UserError(
                f"Hard: every_n_epochs is {every_n_epochs} and warm_up {warm_up}; at least 1 and 0 are possible"
            )
        if margin is not None and not 0 <= margin < math.inf:
            raise UserError(f"Hard: margin is {margin}; it must be 0 or more")
        if relative_margin is not None and not 0 <= relative_margin <= 1:
            raise UserError(f"Hard: relative_margin is {relative_margin}; it must lie in 0 … 1")
        self.first, self.end, self.margin, self.relative_margin = first, end, margin, relative_margin
        self.every_n_epochs, self.warm_up = every_n_epochs, warm_up
        self._uniform = Uniform(num_negatives, per_row)

    def bind(
        self,
        interactions: Interactions,
        num_queries: int,
        num_candidates: int,
        candidates: pl.DataFrame | None = None,
    ) -> None:
        """Learns what each query is known to like, and forgets what was mined before."""
        self._uniform.bind(interactions, num_queries, num_candidates, candidates)
        if self.end > num_candidates:
            raise UserError(f"Hard: rank_range ends at {self.end}, but the corpus has only {num_candidates} candidates")
        liked, rows = interactions.rows(TRAIN, label=1), interactions.rows(TRAIN)
        self._known = group(gathered(interactions.query, liked), gathered(interactions.candidate, liked), num_queries)
        self._query = interactions.query
        self._rows = torch.bincount(gathered(interactions.query, rows), minlength=num_queries)  # of each query
        self._num_candidates = num_candidates
        self._mined: int | None = None  # the epoch before which the pools were mined
        self._pools: Ragged | None = None  # num_queries rows of int32 corpus rows
        self._chance: Tensor | None = None

    # -- mining -----------------------------------------------------------------------------------------------------

    @property
    def queries(self) -> Tensor:
        """(P,) the queries of the training rows, ascending: they are what is mined."""
        return self._rows.nonzero().squeeze(1)

    def due(self, epoch: int) -> bool:
        """Whether to mine before this epoch; never twice, as a run that resumes within it asks again."""
        since = epoch - self.warm_up
        return since >= 0 and since % self.every_n_epochs == 0 and epoch != self._mined

    def choose(self, query: Tensor, scores: Tensor) -> Tensor:
        """(Q, end − first) int32 pools of these queries, best first; −1 where there is no candidate.

        Args:
            query: (Q,) rows of the query table.
            scores: (Q, N) of the whole corpus.
        """
        known = take(self._known, query)
        rows, columns = known.rows.to(scores.device), known.values.to(scores.device)
        liked = scores[rows, columns]  # (T,)
        best, ids = scores.index_put((rows, columns), scores.new_tensor(-math.inf)).topk(self.end)  # (Q, end)
        best, ids = best[:, self.first :], ids[:, self.first :]
        outside = best == -math.inf
        if self.margin is not None or self.relative_margin is not None:
            mean = scores.new_zeros(len(query)).index_add(0, rows, liked) / known.lengths.to(scores.device)
            limit = mean - torch.maximum(
                mean.abs() * (self.relative_margin or 0.0), mean.new_tensor(self.margin or 0.0)
            )
            outside |= best > limit[:, None]  # NaN, of a query that likes nothing, leaves all inside
        return ids.masked_fill(outside, -1).int()

    def keep(self, query: Tensor, pools: Tensor, epoch: int) -> None:
        """From this epoch on, draw from these pools (P, end − first) of the queries (P,), in any order."""
        order = query.argsort()
        query, pools = query[order], pools[order]
        there = pools >= 0
        lengths = torch.zeros_like(self._rows)
        lengths[query] = there.sum(1)
        offsets = torch.zeros(len(lengths) + 1, dtype=torch.int64)
        torch.cumsum(lengths, 0, out=offsets[1:])
        self._draw_from(Ragged(pools[there], offsets), epoch)

    def _draw_from(self, pools: Ragged, epoch: int) -> None:
        self._pools, self._mined = pools, epoch
        of_row = self._rows / self._rows.sum() / pools.lengths.clamp(min=1)  # (num_queries,) each of its pool
        self._chance = torch.zeros(self._num_candidates, dtype=torch.float64)
        self._chance.index_add_(0, pools.values.long(), of_row.double()[pools.rows])

    @property
    def pools(self) -> Ragged:
        """num_queries rows of int32 corpus rows: what was mined last."""
        assert self._pools is not None, "nothing is mined yet"
        return self._pools

    # -- drawing ----------------------------------------------------------------------------------------------------

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """(B, n) int64, or (n,) shared; −1 where a query's pool has fewer."""
        if self._pools is None:
            return self._uniform.sample(counter, rows)
        if self.per_row:
            return sample_up_to(self._pools, self._query[rows], self.num_negatives, counter)
        chosen = torch.randint(len(rows), (self.num_negatives,), generator=counter.generator("rows"))
        return sample_up_to(self._pools, self._query[rows[chosen]], 1, counter).flatten()

    def expected(self, ids: Tensor) -> Tensor:
        """(C,) n times the chance of one draw for a training row chosen at random."""
        return self._uniform.expected(ids) if self._chance is None else self.num_negatives * self._chance[ids]

    # -- resume -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The pools, and when they were mined."""
        if self._pools is None:
            return {}
        return {"epoch": self._mined, "pools": self._pools.values, "offsets": self._pools.offsets}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Draw from pools that were mined before.

        Raises:
            ValueError: they are of other queries.
        """
        if not state:
            return
        if len(state["offsets"]) != len(self._rows) + 1:
            raise UserError(
                f"Hard: the checkpoint's pools are of {len(state['offsets']) - 1} queries, the data have "
                f"{len(self._rows)}"
            )
        self._draw_from(Ragged(state["pools"], state["offsets"]), state["epoch"])
