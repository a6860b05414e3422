"""The number of candidates that score above each relevant candidate, and the number that tie.

Every ranking metric is a function of these two numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.evaluation.metrics.score_counts import count_above, padded_scores
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged

MARK_CHUNK = 1 << 22
"""Bytes, one for each query and candidate, that mark relevant and excluded candidates at a time."""


class TieGroup(NamedTuple):
    """One group of equal scores for each query.

    Example:
        >>> relevant = Ragged(torch.tensor([1]), torch.tensor([0, 1]))
        >>> [field.tolist() for field in rank(torch.tensor([[9.0, 5.0, 5.0]]), relevant).first_group]
        [[1], [2], [1]]
    """

    above: Tensor  # (Q,) candidates that score higher
    size: Tensor  # (Q,) candidates in the group
    relevant: Tensor  # (Q,) relevant candidates in the group


@dataclass(frozen=True, eq=False)
class Ranks:
    """Ranks of the T relevant candidates of Q queries, with their ties.

    Example:
        >>> relevant = Ragged(torch.tensor([2, 3]), torch.tensor([0, 1, 2]))  # candidate 2, and candidate 3
        >>> ranks = rank(torch.tensor([[3.0, 1.0, 2.0, 2.0], [0.0, 0.0, 5.0, -1.0]]), relevant)
        >>> ranks.above.tolist(), ranks.ties.tolist(), ranks.eligible.tolist()
        ([1, 3], [1, 0], [4, 4])
    """

    above: Tensor
    """(T,) int64: ranked candidates that score strictly higher, relevant or not."""
    ties: Tensor
    """(T,) int64: other ranked candidates with the same score, relevant or not."""
    offsets: Tensor
    """(Q + 1,) int64: query i owns the relevant candidates offsets[i] … offsets[i + 1] − 1."""
    eligible: Tensor
    """(Q,) int64: ranked candidates: the corpus without the excluded candidates."""
    gain: Tensor | None = None
    """(T,) float32: gain of each relevant candidate; None = 1 for each."""

    # Cached: about thirty metrics read the same properties of one batch.

    @cached_property
    def num_relevant(self) -> Tensor:
        """(Q,) number of relevant candidates of each query."""
        return self.offsets[1:] - self.offsets[:-1]

    @cached_property
    def rows(self) -> Tensor:
        """(T,) query of each relevant candidate."""
        return Ragged(self.above, self.offsets).rows

    def only(self, chosen: Tensor) -> Ranks:
        """Return the same rankings with fewer relevant candidates: those where ``chosen`` (T,) bool is true.

        The other candidates stay in the ranking as rivals.
        """
        offsets = F.pad(chosen.cumsum(0), (1, 0))[self.offsets]
        gain = None if self.gain is None else self.gain[chosen]
        return Ranks(self.above[chosen], self.ties[chosen], offsets, self.eligible, gain)

    @cached_property
    def first_group(self) -> TieGroup:
        """Each query's best tie group with a relevant candidate; (0, 1, 1) without a relevant candidate."""
        zeros = torch.zeros_like(self.eligible)
        above = self.eligible.scatter_reduce(0, self.rows, self.above, "amin")  # each rank is below `eligible`
        above = torch.where(self.num_relevant > 0, above, 0)
        first = self.above == above[self.rows]
        size = zeros.scatter_reduce(0, self.rows, torch.where(first, self.ties + 1, 0), "amax")
        relevant = zeros.index_add(0, self.rows, first.long())
        return TieGroup(above, size.clamp(min=1), relevant.clamp(min=1))

    @cached_property
    def ideal_place(self) -> Tensor:
        """(T,) rank of each relevant candidate in the query's ideal ranking: by gain, highest first."""
        own = torch.arange(len(self.rows), device=self.rows.device)
        place = own - self.offsets[self.rows]
        if self.gain is None:
            return place
        order = self.gain.argsort(descending=True, stable=True)
        order = order[self.rows[order].argsort(stable=True)]  # by query, then by gain
        return torch.empty_like(place).scatter_(0, order, place)

    @cached_property
    def relevant_around(self) -> tuple[Tensor, Tensor]:
        """(T,) the query's relevant candidates above each tie group, and (T,) the relevant candidates in the group."""
        if not len(self.rows):
            return self.rows, self.rows
        key = self.rows * (self.eligible.max() + 1) + self.above  # equal only for members of one tie group
        ordered = key.sort().values
        start = torch.searchsorted(ordered, key)
        return start - self.offsets[self.rows], torch.searchsorted(ordered, key, right=True) - start


def rank(scores: Tensor, relevant: Ragged, exclude: Ragged | None = None) -> Ranks:
    """Return the ranks of the relevant candidates among all candidates that are not excluded; higher scores first.

    Args:
        scores: (Q, N) finite scores of the whole corpus.
        relevant: Q rows of distinct corpus rows.
        exclude: Q rows of distinct corpus rows that are not ranked, disjoint from ``relevant``.

    Raises:
        UserError: a score is NaN or infinite; or relevant and excluded candidates are not distinct.

    Example:
        >>> relevant, seen = (Ragged(torch.tensor([row]), torch.tensor([0, 1])) for row in (2, 0))
        >>> rank(torch.tensor([[3.0, 1.0, 2.0]]), relevant, exclude=seen).above.tolist()
        [0]
    """
    masked, kept = rank_both(scores, relevant, exclude)
    return kept if masked is None else masked


def rank_both(
    scores: Tensor, relevant: Ragged, seen: Ragged | None, gain: Tensor | None = None
) -> tuple[Ranks | None, Ranks]:
    """Return :func:`rank` without the seen candidates and with them, at the cost of one call.

    The corpus is compared once. Then the seen candidates are compared alone, and their counts are subtracted.
    ``gain`` (T,) is the gain of each relevant candidate; None = 1 for each.

    Returns:
        Ranks with ``seen`` masked (None if ``seen`` is None), and with ``seen`` kept.

    Example:
        >>> relevant, seen = (Ragged(torch.tensor([row]), torch.tensor([0, 1])) for row in (2, 0))
        >>> masked, kept = rank_both(torch.tensor([[3.0, 1.0, 2.0]]), relevant, seen)
        >>> masked.above.tolist(), kept.above.tolist()
        ([0], [1])
    """
    _check(scores, relevant, seen)
    wanted = scores[relevant.rows, relevant.values.long()]  # (T,)
    above, at_least = count_above(scores, relevant, wanted)
    ties = at_least - above - 1  # candidates with the same score, without itself
    eligible = torch.full_like(relevant.lengths, scores.shape[1])
    kept = Ranks(above, ties, relevant.offsets, eligible, gain)
    if seen is None:
        return None, kept
    seen_above, seen_at_least = count_above(padded_scores(scores, seen), relevant, wanted)
    above, ties = above - seen_above, ties - (seen_at_least - seen_above)
    return Ranks(above, ties, relevant.offsets, eligible - seen.lengths, gain), kept


def rank_lists(scores: Tensor, listed: Ragged, relevant: Ragged, gain: Tensor | None = None) -> Ranks:
    """Return the ranks of the relevant candidates among those of their query's own list.

    Args:
        scores: (Q, L) scores of each query's own list, in its order; what stands beyond the end of a list is ignored.
        listed: Q rows of candidates.
        relevant: Q rows of distinct places in the list, as :func:`places_in_lists` returns them.
        gain: (T,) the gain of each relevant candidate; None = 1 for each.

    Raises:
        UserError: a score is NaN or infinite.

    Example:
        >>> listed = Ragged.from_lengths(torch.tensor([3, 5, 8, 5]), torch.tensor([3, 1]))
        >>> relevant = Ragged.from_lengths(torch.tensor([1, 0]), torch.tensor([1, 1]))  # candidate 5 of both lists
        >>> ranks = rank_lists(torch.tensor([[0.7, 0.5, 0.1], [0.2, 9.0, 9.0]]), listed, relevant)
        >>> ranks.above.tolist(), ranks.eligible.tolist()
        ([1, 0], [3, 1])
    """
    beyond = torch.arange(scores.shape[1], device=scores.device) >= listed.lengths[:, None]
    _check(scores.masked_fill(beyond, 0.0), relevant, None)
    wanted = scores[relevant.rows, relevant.values]
    above, at_least = count_above(scores.masked_fill(beyond, -torch.inf), relevant, wanted)
    return Ranks(above, at_least - above - 1, relevant.offsets, listed.lengths, gain)


def places_in_lists(listed: Ragged, wanted: Ragged) -> Ragged:
    """Return the place of each wanted candidate in its query's list.

    Args:
        listed: Q rows of distinct candidates, ascending.
        wanted: Q rows of candidates of the same lists.

    Example:
        >>> listed = Ragged.from_lengths(torch.tensor([3, 5, 8, 5]), torch.tensor([3, 1]))
        >>> places_in_lists(listed, Ragged.from_lengths(torch.tensor([8, 5]), torch.tensor([1, 1]))).values.tolist()
        [2, 0]
    """
    step = 1 + int(listed.values.max()) if len(listed.values) else 1
    keys, own = (
        each.of_rows(step * torch.arange(len(each.lengths), device=each.offsets.device)) for each in (listed, wanted)
    )
    place = torch.searchsorted(keys + listed.values.long(), own + wanted.values.long())
    return wanted._replace(values=place - wanted.of_rows(listed.offsets[:-1]))


def _check(scores: Tensor, relevant: Ragged, exclude: Ragged | None) -> None:
    assert len(relevant.offsets) == len(scores) + 1, "one row of relevant candidates for each row of scores"
    _check_finite(scores)
    _check_distinct([relevant] if exclude is None else [relevant, exclude], *scores.shape)


def _check_finite(scores: Tensor) -> None:
    if scores.numel():
        low, high = torch.aminmax(scores)  # one pass; both are NaN if any score is
        if not bool(torch.isfinite(low) & torch.isfinite(high)):
            bad = (~torch.isfinite(scores)).nonzero()
            row, column = bad[0].tolist()
            raise UserError(
                f"{len(bad):,} of {scores.numel():,} scores are NaN or infinite, the first for query {row} of the "
                f"batch and candidate {column} ({scores[row, column].item()}); such scores cannot be ranked. The "
                "embeddings have overflowed or the training has diverged: lower the learning rate or clip gradients"
            )


def _check_distinct(tables: list[Ragged], num_queries: int, num_candidates: int) -> None:
    step = max(1, MARK_CHUNK // max(1, num_candidates))
    for start in range(0, num_queries, step):
        stop = min(start + step, num_queries)
        if not _distinct([_rows(table, start, stop) for table in tables], num_candidates):
            raise UserError(
                f"relevant and excluded candidates of queries {start} … {stop - 1} of the batch are not distinct: a "
                "candidate occurs twice, or a test positive is also a training positive; drop repeated interactions"
            )


def _distinct(tables: list[Ragged], num_candidates: int) -> bool:
    first = tables[0]
    marked = torch.zeros(len(first.offsets) - 1, num_candidates, dtype=torch.bool, device=first.values.device)
    for table in tables:
        marked[table.rows, table.values.long()] = True
    return int(marked.count_nonzero()) == sum(len(table.values) for table in tables)


def _rows(table: Ragged, start: int, stop: int) -> Ragged:
    offsets = table.offsets[start : stop + 1]
    return Ragged(table.values[offsets[0] : offsets[-1]], offsets - offsets[0])
