"""Candidates drawn to be a batch's negatives beside those that it has anyway.

A draw is a function of the counter alone. Nothing is learnt from validation or test rows. A row's own positives may be
drawn: what a query is known to like is masked when the batch is scored.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.batch import Ragged
from dssm_lightning.counter import Counter, mix
from dssm_lightning.data.interactions import TRAIN, Interactions, group


class NegativeSampler:
    """Interaction rows (B,) -> corpus rows: (n,) that the batch shares, or (B, n) with each row's own.

    Args:
        num_negatives: n, for the whole batch or for each row.
        per_row: each row has its own, and only they are its negatives; otherwise the rows share them, and the batch's
            other candidates are negatives as well.

    Raises:
        ValueError: ``num_negatives`` is not positive; in ``bind``, it is more than the corpus has.
    """

    column: str | None = None
    """Interaction column whose lists of candidates must be in ``Interactions.negatives``."""

    def __init__(self, num_negatives: int, per_row: bool = False) -> None:
        if num_negatives <= 0:
            raise ValueError(
                f"{type(self).__name__}: num_negatives is {num_negatives}; it must be positive "
                "(for in-batch negatives alone, leave the sampler out)"
            )
        self.num_negatives, self.per_row = num_negatives, per_row

    def bind(self, interactions: Interactions, num_queries: int, num_candidates: int) -> None:
        """Learns what it draws from; called once, before the first ``sample``."""
        if self.num_negatives > num_candidates:
            raise ValueError(
                f"{type(self).__name__}: num_negatives is {self.num_negatives}, "
                f"but the corpus has only {num_candidates} candidates"
            )

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """int64 corpus rows, (n,) or (B, n) as ``per_row`` says; −1 where a row has fewer than n.

        ``rows`` (B,) are int64 rows of the interaction table, ``counter`` says where in the run this is.
        """
        raise NotImplementedError

    def expected(self, ids: Tensor) -> Tensor:
        """(C,) float64: how often one batch (``per_row``: one of its rows) is expected to draw each corpus row.

        0 for what does not come from a distribution over the corpus.
        """
        return torch.zeros(len(ids), dtype=torch.float64)

    def _shape(self, rows: Tensor) -> tuple[int, ...]:
        return (len(rows), self.num_negatives) if self.per_row else (self.num_negatives,)


class Uniform(NegativeSampler):
    """Every candidate of the corpus alike, with replacement.

    Args:
        num_negatives: for the whole batch or for each row.
        per_row: whether each row has its own.
    """

    def bind(self, interactions: Interactions, num_queries: int, num_candidates: int) -> None:
        """Learns the size of the corpus."""
        super().bind(interactions, num_queries, num_candidates)
        self._num_candidates = num_candidates

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """(n,) or (B, n) int64."""
        return torch.randint(self._num_candidates, self._shape(rows), generator=counter.generator("negatives"))

    def expected(self, ids: Tensor) -> Tensor:
        """(C,) n / N."""
        return torch.full((len(ids),), self.num_negatives / self._num_candidates, dtype=torch.float64)


class Popularity(NegativeSampler):
    """Candidates in proportion to how often training likes them, to the power of alpha; with replacement.

    What no training row likes is never drawn, so that nothing holds its score down: add ``Uniform`` by ``Mixed`` where
    the corpus has many such candidates (mixed negative sampling, Yang et al., WWW 2020, doi 10.1145/3366424.3386195).

    Args:
        num_negatives: for the whole batch or for each row.
        alpha: 1 draws by popularity, smaller values are nearer to uniform; 0.75 is word2vec's (arXiv 1310.4546).
        per_row: whether each row has its own.

    Raises:
        ValueError: alpha is not positive.
    """

    def __init__(self, num_negatives: int, alpha: float = 0.75, per_row: bool = False) -> None:
        super().__init__(num_negatives, per_row)
        if not alpha > 0:
            raise ValueError(f"Popularity: alpha is {alpha}; it must be positive (Uniform draws every candidate alike)")
        self.alpha = alpha

    def bind(self, interactions: Interactions, num_queries: int, num_candidates: int) -> None:
        """Counts the training likes of each candidate."""
        super().bind(interactions, num_queries, num_candidates)
        liked = interactions.candidate[interactions.rows(TRAIN, label=1)]
        if not len(liked):
            raise ValueError("Popularity: no training interaction is a positive, so there is no popularity to draw by")
        weight = torch.bincount(liked, minlength=num_candidates).double() ** self.alpha
        cumulative = weight.cumsum(0)
        self._probability = weight / cumulative[-1]  # (N,)
        self._cumulative = cumulative / cumulative[-1]  # (N,), ends at exactly 1: above every draw

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """(n,) or (B, n) int64."""
        uniform = torch.rand(self._shape(rows), dtype=torch.float64, generator=counter.generator("negatives"))
        return torch.searchsorted(self._cumulative, uniform, right=True)

    def expected(self, ids: Tensor) -> Tensor:
        """(C,) n times the chance of one draw."""
        return self.num_negatives * self._probability[ids]


class FromColumn(NegativeSampler):
    """Those that the data itself names for an interaction.

    Args:
        column: of ``interactions``, holding lists of candidate ids.
        num_negatives: at most so many for each row, others at each draw where a row names more; None = all.
    """

    def __init__(self, column: str, num_negatives: int | None = None) -> None:
        super().__init__(1 if num_negatives is None else num_negatives, per_row=True)
        self.column = column
        self._limit = num_negatives

    def bind(self, interactions: Interactions, num_queries: int, num_candidates: int) -> None:
        """Takes the lists of the interactions.

        Raises:
            ValueError: no training row names a negative.
        """
        assert interactions.negatives is not None, "the data module resolves `column` before it binds"
        self._lists = interactions.negatives
        longest = int(torch.where(interactions.fold == TRAIN, self._lists.lengths, 0).max())
        if longest == 0:
            raise ValueError(f"FromColumn: no training interaction names a candidate in column {self.column!r}")
        self.num_negatives = longest if self._limit is None else self._limit

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """(B, n) int64, n no larger than the longest list of these rows."""
        return _some(self._lists, rows, self.num_negatives, counter)


class FromShown(NegativeSampler):
    """What the row's query was shown and did not like: its label-0 training rows.

    Args:
        num_negatives: at most so many for each row, others at each draw where the query was shown more.
    """

    def __init__(self, num_negatives: int) -> None:
        super().__init__(num_negatives, per_row=True)

    def bind(self, interactions: Interactions, num_queries: int, num_candidates: int) -> None:
        """Groups the label-0 training rows by query.

        Raises:
            ValueError: the data has no labels, or no label-0 row to train on.
        """
        super().bind(interactions, num_queries, num_candidates)
        if interactions.label is None:
            raise ValueError(
                "FromShown: the data has no labels, so nothing is known to be shown and not liked; "
                "name the label's column in the source, or draw negatives with Uniform"
            )
        shown = interactions.rows(TRAIN, label=0)
        if not len(shown):
            raise ValueError("FromShown: no training interaction has label 0; draw negatives with Uniform")
        self._query = interactions.query
        self._lists = group(interactions.query[shown], interactions.candidate[shown], num_queries)

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """(B, n) int64, n no larger than the longest list of these rows' queries."""
        return _some(self._lists, self._query[rows], self.num_negatives, counter)


class Mixed(NegativeSampler):
    """What several samplers draw, side by side.

    Args:
        samplers: all of them shared by the batch, or all with each row's own.

    Raises:
        ValueError: no sampler, shared ones beside rows' own, or two columns.
    """

    def __init__(self, samplers: list[NegativeSampler]) -> None:
        if not samplers:
            raise ValueError("Mixed: samplers is empty; name at least one")
        if len({sampler.per_row for sampler in samplers}) > 1:
            found = ", ".join(f"{type(sampler).__name__} per_row={sampler.per_row}" for sampler in samplers)
            raise ValueError(f"Mixed: samplers must be all shared by the batch or all per row; found {found}")
        columns = sorted({sampler.column for sampler in samplers if sampler.column is not None})
        if len(columns) > 1:
            raise ValueError(f"Mixed: samplers may read one column of negatives; found {', '.join(columns)}")
        super().__init__(sum(sampler.num_negatives for sampler in samplers), samplers[0].per_row)
        self.column = columns[0] if columns else None
        self.samplers = samplers

    def bind(self, interactions: Interactions, num_queries: int, num_candidates: int) -> None:
        """Binds each sampler."""
        for sampler in self.samplers:
            sampler.bind(interactions, num_queries, num_candidates)
        self.num_negatives = sum(sampler.num_negatives for sampler in self.samplers)

    def sample(self, counter: Counter, rows: Tensor) -> Tensor:
        """(n,) or (B, n) int64, in the order of the samplers."""
        # Each sampler has a seed of its own: two Uniform would otherwise draw the same.
        places = (counter._replace(seed=mix(counter.seed, i)) for i in range(len(self.samplers)))
        draws = [sampler.sample(place, rows) for sampler, place in zip(self.samplers, places, strict=True)]
        return torch.cat(draws, dim=-1)

    def expected(self, ids: Tensor) -> Tensor:
        """(C,) the sum over the samplers."""
        return torch.stack([sampler.expected(ids) for sampler in self.samplers]).sum(0)


def _some(lists: Ragged, which: Tensor, limit: int, counter: Counter) -> Tensor:
    """(B, n) values of the lists (B,), −1 after the end of a shorter one; n = limit, or the longest length if less.

    A list longer than the limit is sampled systematically, at equal steps from a random start: each value is equally
    likely, none comes twice, and the cost does not depend on the length.
    """
    start = lists.offsets[which, None]  # (B, 1)
    length = lists.offsets[which + 1, None] - start  # (B, 1)
    place = torch.arange(min(limit, int(length.max())))  # (n,)
    phase = torch.rand(len(which), 1, dtype=torch.float64, generator=counter.generator("negatives"))  # (B, 1)
    stepped = ((place + phase) * length / limit).long().minimum(length - 1)  # (B, n) rounding may reach the length
    index = torch.where(length > limit, start + stepped, start + place)  # (B, n)
    inside = place < length
    return lists.values[index.where(inside, 0)].long().where(inside, -1)
