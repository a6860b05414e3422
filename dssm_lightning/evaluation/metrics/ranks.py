"""How many candidates score above each relevant one, and how many tie: all that a ranking metric needs to know."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged

COMPARE_CHUNK = 1 << 19
"""Scores compared at a time: 2 MiB in and out, which stays in a core's cache (4 × faster than 128 MiB at once)."""
SEARCH_CHUNK = 1 << 21
"""Scores searched at a time."""
MARK_CHUNK = 1 << 24
"""Bytes that mark a batch's relevant and excluded candidates at a time."""
SEARCH_FROM = 48
"""Relevant candidates of a query from which a binary search among them costs less than a comparison for each."""


class TieGroup(NamedTuple):
    """One group of equal scores for each query."""

    above: Tensor  # (Q,) candidates that score higher
    size: Tensor  # (Q,) candidates in the group
    relevant: Tensor  # (Q,) relevant ones among these


@dataclass(frozen=True, eq=False)
class Ranks:
    """Where the relevant candidates of Q queries stand: T places, with their ties."""

    above: Tensor
    """(T,) int64: others, relevant ones included, among the eligible that score strictly higher."""
    ties: Tensor
    """(T,) int64: others among the eligible that score the same."""
    offsets: Tensor
    """(Q + 1,) int64: query i owns places offsets[i] … offsets[i + 1] - 1."""
    eligible: Tensor
    """(Q,) int64: candidates that are ranked: the corpus without the excluded."""
    gain: Tensor | None = None
    """(T,) float32: how relevant each is; None = all alike."""

    # Cached: some thirty metrics ask the same of one batch.

    @cached_property
    def num_relevant(self) -> Tensor:
        """(Q,) relevant candidates of each query."""
        return self.offsets[1:] - self.offsets[:-1]

    @cached_property
    def rows(self) -> Tensor:
        """(T,) the query that each place belongs to."""
        return Ragged(self.above, self.offsets).rows

    def only(self, chosen: Tensor) -> Ranks:
        """The same rankings where only the chosen (T,) of the places are relevant: the others are rivals like any."""
        offsets = F.pad(chosen.cumsum(0), (1, 0))[self.offsets]
        gain = None if self.gain is None else self.gain[chosen]
        return Ranks(self.above[chosen], self.ties[chosen], offsets, self.eligible, gain)

    @cached_property
    def first_group(self) -> TieGroup:
        """The best tie group with a relevant candidate, for each query; 0, 1, 1 for a query without one."""
        zeros = torch.zeros_like(self.eligible)
        above = self.eligible.scatter_reduce(0, self.rows, self.above, "amin")  # each place is below the number ranked
        above = torch.where(self.num_relevant > 0, above, 0)
        first = self.above == above[self.rows]
        size = zeros.scatter_reduce(0, self.rows, torch.where(first, self.ties + 1, 0), "amax")
        relevant = zeros.index_add(0, self.rows, first.long())
        return TieGroup(above, size.clamp(min=1), relevant.clamp(min=1))

    @cached_property
    def ideal_place(self) -> Tensor:
        """(T,) 0-based place of each relevant candidate among the query's in the best order: most gain first."""
        own = torch.arange(len(self.rows), device=self.rows.device)
        place = own - self.offsets[self.rows]
        if self.gain is None:
            return place
        order = self.gain.argsort(descending=True, stable=True)
        order = order[self.rows[order].argsort(stable=True)]  # by query, then by gain
        return torch.empty_like(place).scatter_(0, order, place)

    @cached_property
    def relevant_around(self) -> tuple[Tensor, Tensor]:
        """(T,) relevant candidates of the query above each place's tie group, and (T,) those in the group."""
        if not len(self.rows):
            return self.rows, self.rows
        key = self.rows * (self.eligible.max() + 1) + self.above  # equal for, and only for, members of one tie group
        ordered = key.sort().values
        start = torch.searchsorted(ordered, key)
        return start - self.offsets[self.rows], torch.searchsorted(ordered, key, right=True) - start


def rank(scores: Tensor, relevant: Ragged, exclude: Ragged | None = None) -> Ranks:
    """Places of the relevant candidates among all that are not excluded; higher scores come first.

    Args:
        scores: (Q, N) finite scores of the whole corpus.
        relevant: Q rows of distinct corpus rows.
        exclude: Q rows of distinct corpus rows that are taken out of the ranking, disjoint from ``relevant``.

    Raises:
        ValueError: a score is NaN or infinite; or relevant and excluded candidates are not distinct.
    """
    masked, kept = rank_both(scores, relevant, exclude)
    return kept if masked is None else masked


def rank_both(
    scores: Tensor, relevant: Ragged, seen: Ragged | None, gain: Tensor | None = None
) -> tuple[Ranks | None, Ranks]:
    """:func:`rank` without the seen candidates, and with them, for the price of one.

    The corpus is compared once. What the seen contribute is then found by comparing only them, and subtracted.
    ``gain`` (T,) says how relevant each of the relevant is, where they are not all alike.

    Returns:
        Ranks with ``seen`` masked (None where ``seen`` is None), and with it kept.
    """
    _check(scores, relevant, seen)
    wanted = scores[relevant.rows, relevant.values.long()]  # (T,)
    above, at_least = _count(scores, relevant, wanted)
    ties = at_least - above - 1  # all that score the same, but for itself
    eligible = torch.full_like(relevant.lengths, scores.shape[1])
    kept = Ranks(above, ties, relevant.offsets, eligible, gain)
    if seen is None:
        return None, kept
    seen_above, seen_at_least = _count(_padded(scores, seen), relevant, wanted)
    above, ties = above - seen_above, ties - (seen_at_least - seen_above)
    return Ranks(above, ties, relevant.offsets, eligible - seen.lengths, gain), kept


def _offsets(lengths: Tensor) -> Tensor:
    offsets = torch.zeros(len(lengths) + 1, dtype=torch.int64, device=lengths.device)
    torch.cumsum(lengths, 0, out=offsets[1:])
    return offsets


def _check(scores: Tensor, relevant: Ragged, exclude: Ragged | None) -> None:
    assert len(relevant.offsets) == len(scores) + 1, "one row of relevant candidates for each row of scores"
    if scores.numel():
        low, high = torch.aminmax(scores)  # one pass; both are NaN if any score is
        if not bool(torch.isfinite(low) & torch.isfinite(high)):
            bad = (~torch.isfinite(scores)).nonzero()
            row, column = bad[0].tolist()
            raise UserError(
                f"{len(bad):,} of {scores.numel():,} scores are NaN or infinite, the first for query {row} of the "
                f"batch and candidate {column} ({scores[row, column].item()}); they have no rank. The model's "
                "embeddings have overflowed or its training diverged: lower the learning rate or clip gradients"
            )
    tables = [relevant] if exclude is None else [relevant, exclude]
    step = max(1, MARK_CHUNK // max(1, scores.shape[1]))
    for start in range(0, len(scores), step):
        stop = min(start + step, len(scores))
        if not _distinct([_rows(table, start, stop) for table in tables], scores.shape[1]):
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


def _count(scores: Tensor, relevant: Ragged, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """(T,) columns that score above each wanted score, and (T,) that score at least as much."""
    rows = relevant.rows
    by_search = (relevant.lengths > SEARCH_FROM)[rows]
    if not bool(by_search.any()):
        one_each = bool((relevant.lengths == 1).all())
        return _count_by_comparison(scores, None if one_each else rows, wanted)
    above, at_least = torch.empty_like(rows), torch.empty_like(rows)
    few, many = (~by_search).nonzero().squeeze(1), by_search.nonzero().squeeze(1)
    above[few], at_least[few] = _count_by_comparison(scores, rows[few], wanted[few])
    above[many], at_least[many] = _count_by_search(scores, rows[many], wanted[many])
    return above, at_least


def _count_by_comparison(scores: Tensor, rows: Tensor | None, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """One pass over its row for each relevant candidate; ``rows`` None: candidate t belongs to row t."""
    above = torch.zeros(len(wanted), dtype=torch.int64, device=scores.device)
    at_least = torch.zeros_like(above)
    width = min(max(1, scores.shape[1]), COMPARE_CHUNK)
    height = COMPARE_CHUNK // width
    # Comparing into floats and summing those is 4 × faster than summing booleans; exact, as width < 2^24.
    buffer = torch.empty(height, width, dtype=torch.float32, device=scores.device)
    for start in range(0, len(wanted), height):
        part = slice(start, start + height)
        limit = wanted[part, None]
        for columns in torch.split(scores[part if rows is None else rows[part]], width, dim=1):
            found = buffer[: len(columns), : columns.shape[1]]
            above[part] += torch.gt(columns, limit, out=found).sum(1).long()
            at_least[part] += torch.ge(columns, limit, out=found).sum(1).long()
    return above, at_least


def _count_by_search(scores: Tensor, rows: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """One search of each of the row's scores among the wanted ones of the query, and among the numbers next below."""
    queries, owner = torch.unique_consecutive(rows, return_inverse=True)
    lengths = torch.bincount(owner)
    place = torch.arange(len(rows), device=rows.device) - _offsets(lengths)[owner]
    above, at_least = torch.empty_like(rows), torch.empty_like(rows)
    step = max(1, SEARCH_CHUNK // max(1, scores.shape[1]))
    for start in range(0, len(queries), step):
        inside = (owner >= start) & (owner < start + step)
        at = (owner[inside] - start, place[inside])
        row_scores, R = scores[queries[start : start + step]], int(lengths[start : start + step].max())
        limits = wanted.new_full((len(row_scores), R), torch.inf)
        limits[at] = wanted[inside]
        below = torch.nextafter(limits, torch.full_like(limits, -torch.inf))  # above it is what is at least the limit
        limits, order = torch.cat([limits, below], dim=1).sort(dim=1)  # (q, 2 R)
        passed = torch.searchsorted(limits, row_scores, out_int32=True)  # (q, N) limits that a score is above
        passed += (2 * R + 1) * torch.arange(len(row_scores), dtype=torch.int32, device=rows.device)[:, None]
        found = torch.bincount(passed.flatten(), minlength=len(row_scores) * (2 * R + 1)).view(len(row_scores), -1)
        beyond = found.flip(1).cumsum(1).flip(1)[:, 1:]  # (q, 2 R) scores above each limit
        counts = torch.empty_like(beyond).scatter_(1, order, beyond)
        above[inside], at_least[inside] = counts[:, :R][at], counts[:, R:][at]
    return above, at_least


def _padded(scores: Tensor, table: Ragged) -> Tensor:
    """(Q, longest row of the table) scores of the table's candidates; -inf, which is never counted, fills the rest."""
    rows = table.rows
    longest = int(table.lengths.max()) if len(table.offsets) > 1 else 0
    place = torch.arange(len(rows), device=rows.device) - table.offsets[:-1][rows]
    padded = scores.new_full((len(scores), longest), -torch.inf)
    padded[rows, place] = scores[rows, table.values.long()]
    return padded
