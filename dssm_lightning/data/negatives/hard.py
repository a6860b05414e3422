"""Negatives that the current model ranks high, mined between epochs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dssm_lightning.data.interactions import TRAIN, group
from dssm_lightning.data.negatives.base import NegativeSampler, SamplerTables, sample_up_to
from dssm_lightning.data.negatives.from_distribution import Uniform
from dssm_lightning.data.negatives.margins import limit_below, require_margins
from dssm_lightning.utils.errors import UserError, is_whole, require_whole
from dssm_lightning.utils.memory_mapped import gathered
from dssm_lightning.utils.ragged import Ragged, take
from dssm_lightning.utils.seeding import Counter


class Hard(NegativeSampler):
    """Draw candidates that the current model ranks high for a query that is not known to like them.

    Before some epochs the model scores the whole corpus for each query of the training rows. Known positives are
    removed. The other candidates whose rank lies in ``rank_range`` become the query's *pool*. The query's rows draw
    from this pool until the next mining. Candidates on the first ranks are often unknown positives: exclude them by the
    range or by a margin. Before the first mining, draws are uniform.

    The draws depend on the row, so :meth:`expected` describes an average training row. No correction by ``log_q`` makes
    the pools represent the corpus: use ``SampledSoftmax`` with ``repeats: ignore``, or a pairwise loss
    (``TripletMargin``, ``BPR``). ``Mixed`` with ``Uniform``, the model also keeps seeing easy negatives.

    The checkpoint contains the pools, as int32, so that a resumed run draws from the same pools. Each query is mined
    once, with all of its training positives as its history, as in an evaluation by query.

    Args:
        num_negatives: largest number for each row, or for the whole batch if shared.
        rank_range: ``[first, end]``: candidates with 0-based rank first ≤ rank < end; known positives are not counted.
        every_n_epochs: number of epochs from one mining to the next.
        warm_up: number of epochs before the first mining; 0 for towers that are trained already.
        margin: keep only candidates whose score is at least this much below the mean score of the query's training
            positives, in units of the logits; None = all scores.
        relative_margin: the same as a fraction of that mean: 0.05 keeps scores of at most 95 % of it, whatever the
            scale of the logits. If both margins are given, both must hold.
        per_row: if true, each row has its own negatives, and no other candidate of the batch is its negative. If false,
            each draw is made for a random row of the batch and is a negative of all rows, and the other candidates of
            the batch are negatives, too.

    Sources: Xiong et al., arXiv 2007.00808 (ANCE: pools are mined again as the model changes); Moreira et al., arXiv
    2407.15831 (both margins).

    Raises:
        UserError: ``rank_range`` does not ascend, or is smaller than ``num_negatives``; a negative margin; epochs out
            of range; in :meth:`bind`, ``rank_range`` ends beyond the corpus.

    Example:
        >>> from dssm_lightning.data.interactions import Interactions
        >>> likes = Interactions(torch.tensor([0]), torch.tensor([3]), torch.zeros(1, dtype=torch.int8))
        >>> sampler = Hard(num_negatives=1, rank_range=(0, 2))
        >>> sampler.bind(SamplerTables(likes, num_queries=1, num_candidates=4))
        >>> sampler.choose(torch.tensor([0]), scores=torch.tensor([[0.1, 0.7, 0.5, 0.9]])).tolist()  # 3 is known
        [[1, 2]]
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
        if not (is_whole(first) and is_whole(end) and 0 <= first < end):
            raise UserError(
                f"Hard: rank_range is {first} to {end}; it must be whole numbers, start at 0 or later, and ascend"
            )
        if per_row and num_negatives > end - first:
            raise UserError(
                f"Hard: num_negatives is {num_negatives}, but rank_range {first} to {end} has only {end - first} ranks"
            )
        require_whole("Hard", "every_n_epochs", every_n_epochs)
        require_whole("Hard", "warm_up", warm_up, minimum=0)
        require_margins("Hard", margin, relative_margin)
        self.first, self.end, self.margin, self.relative_margin = first, end, margin, relative_margin
        self.every_n_epochs, self.warm_up = every_n_epochs, warm_up
        self._uniform = Uniform(num_negatives, per_row)

    def bind(self, tables: SamplerTables) -> None:
        """Group the known positives by query, and discard pools of an earlier mining."""
        self._uniform.bind(tables)
        interactions, num_queries = tables.interactions, tables.num_queries
        if self.end > tables.num_candidates:
            raise UserError(
                f"Hard: rank_range ends at {self.end}, but the corpus has only {tables.num_candidates} candidates"
            )
        liked, rows = interactions.rows(TRAIN, label=1), interactions.rows(TRAIN)
        self._known = group(gathered(interactions.query, liked), gathered(interactions.candidate, liked), num_queries)
        self._query = interactions.query
        self._num_rows = torch.bincount(gathered(interactions.query, rows), minlength=num_queries)  # of each query
        self._num_candidates = tables.num_candidates
        self._mined_epoch: int | None = None  # the pools were mined before this epoch
        self._pools: Ragged | None = None  # num_queries rows of int32 corpus rows
        self._probability: Tensor | None = None  # (N,) of one draw for a random training row

    # -- mining -----------------------------------------------------------------------------------------------------

    @property
    def queries(self) -> Tensor:
        """(P,) the queries of the training rows, ascending; these queries are mined."""
        return self._num_rows.nonzero().squeeze(1)

    def due(self, epoch: int) -> bool:
        """Return whether to mine before this epoch; false if that is done already, as in a run resumed in the epoch."""
        since = epoch - self.warm_up
        return since >= 0 and since % self.every_n_epochs == 0 and epoch != self._mined_epoch

    def choose(self, query: Tensor, scores: Tensor) -> Tensor:
        """Choose the pools (Q, end − first) int32 of queries, best candidate first; −1 fills a shorter pool.

        Args:
            query: (Q,) rows of the query table.
            scores: (Q, N) scores of the whole corpus.
        """
        known = take(self._known, query)
        rows, columns = known.rows.to(scores.device), known.values.to(scores.device)
        liked = scores[rows, columns]  # (T,)
        best, ids = scores.index_put((rows, columns), scores.new_tensor(-math.inf)).topk(self.end)  # (Q, end)
        best, ids = best[:, self.first :], ids[:, self.first :]
        outside = best == -math.inf
        if self.margin is not None or self.relative_margin is not None:
            mean = scores.new_zeros(len(query)).index_add(0, rows, liked) / known.lengths.to(scores.device)
            limit = limit_below(mean, self.margin, self.relative_margin)
            outside |= best > limit[:, None]  # a query without positives has NaN and keeps all candidates
        return ids.masked_fill(outside, -1).int()

    def keep(self, query: Tensor, pools: Tensor, epoch: int) -> None:
        """From this epoch on, draw from these pools.

        Args:
            query: (P,) mined queries, in any order.
            pools: (P, end − first) from :meth:`choose`.
            epoch: number of the epoch.
        """
        order = query.argsort()
        query, pools = query[order], pools[order]
        filled = pools >= 0
        lengths = torch.zeros_like(self._num_rows)
        lengths[query] = filled.sum(1)
        self._draw_from(Ragged.from_lengths(pools[filled], lengths), epoch)

    def _draw_from(self, pools: Ragged, epoch: int) -> None:
        self._pools, self._mined_epoch = pools, epoch
        # (num_queries,) probability that a draw for a random training row takes a given candidate of the query's pool
        share = self._num_rows / self._num_rows.sum() / pools.lengths.clamp(min=1)
        self._probability = torch.zeros(self._num_candidates, dtype=torch.float64)
        self._probability.index_add_(0, pools.values.long(), share.double()[pools.rows])

    @property
    def pools(self) -> Ragged:
        """num_queries rows of int32 corpus rows: the pools of the last mining."""
        assert self._pools is not None, "nothing is mined yet"
        return self._pools

    # -- drawing ----------------------------------------------------------------------------------------------------

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """Draw (B, n) int64, or (n,) shared; −1 if the query's pool is smaller than n."""
        if self._pools is None:
            return self._uniform.sample(counter, rows)
        if self.per_row:
            return sample_up_to(self._pools, self._query[rows], self.num_negatives, counter)
        chosen = torch.randint(len(rows), (self.num_negatives,), generator=counter.generator("rows"))
        return sample_up_to(self._pools, self._query[rows[chosen]], 1, counter).flatten()

    def expected(self, ids: Tensor) -> Tensor:
        """Return n times the probability of one draw for a random training row, (C,)."""
        if self._probability is None:
            return self._uniform.expected(ids)
        return self.num_negatives * self._probability[ids]

    # -- resume -----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the pools and the epoch of the mining."""
        if self._pools is None:
            return {}
        return {"epoch": self._mined_epoch, "pools": self._pools.values, "offsets": self._pools.offsets}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the pools; call :meth:`bind` first.

        Raises:
            UserError: the pools belong to another number of queries.
        """
        if not state:
            self._pools = self._mined_epoch = self._probability = None
            return
        if len(state["offsets"]) != len(self._num_rows) + 1:
            raise UserError(
                f"Hard: the checkpoint has pools of {len(state['offsets']) - 1} queries, but the data have "
                f"{len(self._num_rows)}; continue with the data that the checkpoint was trained on"
            )
        self._draw_from(Ragged(state["pools"], state["offsets"]), state["epoch"])
