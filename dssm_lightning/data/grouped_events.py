"""The training events of each query, oldest first, and of each candidate: read from the cache, or grouped in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.data.interactions import TRAIN, Interactions, group, sorted_places
from dssm_lightning.utils.memory_mapped import Array, gathered, in_row_order, ranges, spooled_together
from dssm_lightning.utils.ragged import Ragged

Events: TypeAlias = Literal["liked", "shown", "all"]
Groupings: TypeAlias = dict[str, Tensor]
"""Arrays by ``<events>#<part>``, such as ``liked#candidates``: the names of the files of the cache."""

LABELS = {"liked": 1, "shown": 0, "all": None}
ROWS = "rows"
LIKED_BY = "by-candidate"
"""In the place of the events: the training positives of each candidate."""


class Timeline:
    """The training events of each query, oldest first if the interactions have a time.

    Nothing is computed before it is asked for. Each part is one that ``stored`` has, or is grouped in memory, above
    :data:`~dssm_lightning.utils.memory_mapped.BLOCK` rows in blocks; both are the same to the last bit.

    Args:
        interactions: the whole table.
        num_queries: number of rows of the query table.
        events: the events of label 1 ("liked"), of label 0 ("shown"), or "all".
        stored: groupings of the same interactions that exist already; None = none.

    Example:
        >>> query, candidate, time = torch.tensor([0, 1, 0]), torch.tensor([5, 6, 7]), torch.tensor([9.0, 3.0, 4.0])
        >>> likes = Interactions(query, candidate, torch.tensor([TRAIN] * 3), time=time.double())
        >>> timeline = Timeline(likes, num_queries=2)
        >>> timeline.candidates.values.tolist(), timeline.rows.values.tolist(), timeline.before.tolist()
        ([7, 5, 6], [2, 0, 1], [1, 0, 0])
    """

    def __init__(
        self,
        interactions: Interactions,
        num_queries: int,
        events: Events = "liked",
        stored: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.interactions, self.num_queries = interactions, num_queries
        self.events = named_events(interactions, events)
        self._stored = {} if stored is None else stored

    def _found(self, *parts: str) -> list[Tensor]:
        names = [f"{self.events}#{part}" for part in parts]
        missing = [name for name in names if name not in self._stored]
        if missing:
            self._stored = {**self._stored, **group_events(self.interactions, self.num_queries, missing)}
        return [self._stored[name] for name in names]

    @cached_property
    def candidates(self) -> Ragged:
        """A row for each query: the corpus rows of its events."""
        return Ragged(*self._found("candidates", "offsets"))

    @cached_property
    def rows(self) -> Ragged:
        """A row for each query: the interaction rows of its events."""
        return Ragged(*self._found("rows", "offsets"))

    @cached_property
    def times(self) -> Tensor | None:
        """(T,) float64 times of the events, in the order of ``candidates``; None without times."""
        return None if self.interactions.time is None else self._found("times")[0]

    @cached_property
    def before(self) -> Tensor:
        """(R,) int64: for each interaction of any fold, the number of strictly earlier events of its query."""
        assert self.interactions.time is not None
        return self._found("before")[0]


def named_events(interactions: Interactions, events: Events) -> Events:
    """Return the name under which events are stored: without labels, all events are liked."""
    return "all" if interactions.label is None and events == "liked" else events


def rows_by_candidate(interactions: Interactions, num_candidates: int) -> Ragged:
    """Return the training positives of each candidate: N rows of interaction rows, ascending."""
    rows = interactions.rows(TRAIN, label=1)
    return group(gathered(interactions.candidate, rows), rows, num_candidates)


class TrainingEvents:
    """The training events of one table by query and by candidate; each is grouped once.

    Args:
        interactions: the whole table.
        num_queries: number of rows of the query table.
        num_candidates: N.
        stored: groupings of the same interactions that exist already.

    Example:
        >>> events = Interactions(torch.tensor([0, 0]), torch.tensor([1, 1]), torch.tensor([TRAIN] * 2))
        >>> TrainingEvents(events, num_queries=1, num_candidates=2, stored={}).by_candidate.offsets.tolist()
        [0, 0, 2]
    """

    def __init__(
        self, interactions: Interactions, num_queries: int, num_candidates: int, stored: Mapping[str, Tensor]
    ) -> None:
        self.interactions, self.num_queries, self.num_candidates = interactions, num_queries, num_candidates
        self._stored = stored
        self._timelines: dict[str, Timeline] = {}

    def by_query(self, events: Events) -> Timeline:
        """Return the timeline of events."""
        name = named_events(self.interactions, events)
        if name not in self._timelines:
            self._timelines[name] = Timeline(self.interactions, self.num_queries, name, self._stored)
        return self._timelines[name]

    @cached_property
    def by_candidate(self) -> Ragged:
        """The training positives of each candidate: N rows of interaction rows, ascending."""
        names = [f"{LIKED_BY}#rows", f"{LIKED_BY}#offsets"]
        if all(name in self._stored for name in names):
            return Ragged(*(self._stored[name] for name in names))
        return rows_by_candidate(self.interactions, self.num_candidates)


# -- grouping ---------------------------------------------------------------------------------------------------------


def group_events(interactions: Interactions, num_queries: int, names: Iterable[str]) -> Groupings:
    """Sort all rows once by query, time and row, one range of queries at a time, and return what is asked for.

    Args:
        interactions: the whole table, R rows.
        num_queries: number of rows of the query table.
        names: ``<events>#<part>``. Parts are ``rows``, ``candidates`` and ``times`` (T,) of the training events by
            query, ``offsets`` (number of queries + 1,), and ``before`` (R,) as in :class:`Timeline`.

    Example:
        >>> likes = Interactions(torch.tensor([1, 0, 1]), torch.tensor([5, 6, 7]), torch.tensor([TRAIN] * 3))
        >>> {name: part.tolist() for name, part in group_events(likes, 2, ["all#rows", "all#offsets"]).items()}
        {'all#rows': [1, 0, 2], 'all#offsets': [0, 1, 3]}
    """
    wanted = {name: name.split("#") for name in names}
    per_query = {events: torch.zeros(num_queries, dtype=torch.int64) for events, _ in wanted.values()}
    starts = F.pad(torch.bincount(interactions.query, minlength=num_queries).cumsum(0), (1, 0))
    sizes: list[int] = []

    def parts() -> Iterator[dict[str, Array]]:
        for rows in ranges(interactions.query, starts):
            found = _Range(interactions, rows)
            sizes.append(len(rows))
            for events, lengths in per_query.items():
                found.count(events, lengths)
            arrays = {name: found.part(*each) for name, each in wanted.items() if each[1] != "offsets"}
            if any(part == "before" for _, part in wanted.values()):
                arrays[ROWS] = rows
            yield {name: array.numpy() for name, array in arrays.items()}

    found = {name: torch.from_numpy(each) for name, each in spooled_together(parts(), len(interactions.query)).items()}
    rows = found.pop(ROWS, None)
    for name, (events, part) in wanted.items():
        if part == "offsets":
            found[name] = F.pad(per_query[events].cumsum(0), (1, 0))
        elif part == "before" and rows is not None:
            found[name] = in_row_order(found[name], rows, sizes)
    return found


class _Range:
    """All rows (n,) of a range of queries, of every fold, and their order by query, oldest first.

    Columns are gathered by ``index_select``, which takes a third of the time of indexing.
    """

    def __init__(self, interactions: Interactions, rows: Tensor) -> None:
        self.interactions, self.rows = interactions, rows  # ascending
        self.query, self.time = interactions.query.index_select(0, rows), None
        if interactions.time is not None:
            self.time = interactions.time.index_select(0, rows)
        self.places = sorted_places(self.query, self.time)
        self._chosen: dict[str, Tensor | None] = {}
        self._places: dict[str, Tensor] = {}

    def chosen(self, events: str) -> Tensor | None:
        """(n,) bool: which of the ascending rows are such training events; None = all of them."""
        if events not in self._chosen:
            found, label = self.interactions.fold.index_select(0, self.rows) == TRAIN, LABELS[events]
            if label is not None and self.interactions.label is not None:
                found &= (self.interactions.label.index_select(0, self.rows) > 0) == bool(label)
            elif label == 0:
                found[:] = False
            self._chosen[events] = None if bool(found.all()) else found
        return self._chosen[events]

    def count(self, events: str, lengths: Tensor) -> None:
        """Write the number of events of each query of the range into ``lengths`` (number of queries,)."""
        chosen = self.chosen(events)
        query = self.query if chosen is None else _masked(self.query, chosen)
        if len(query):
            first = int(query.min())
            counts = torch.bincount(query - first)
            lengths[first : first + len(counts)] = counts

    def part(self, events: str, part: str) -> Tensor:
        """Return the rows, candidates or times of the events, or ``before`` of the ascending rows."""
        if part == "before":
            return self._before(events)
        if events not in self._places:
            chosen = self.chosen(events)
            self._places[events] = (
                self.places if chosen is None else _masked(self.places, chosen.index_select(0, self.places))
            )
        places = self._places[events]
        if part == "candidates":
            return self.interactions.candidate.index_select(0, self.rows).index_select(0, places)
        column = self.rows if part == "rows" else self.time
        assert column is not None
        return column.index_select(0, places)

    def _before(self, events: str) -> Tensor:
        """(n,) int64: for each of the ascending rows, the number of strictly earlier events of its query."""
        assert self.time is not None
        if not len(self.rows):
            return self.rows
        query, time = (column.index_select(0, self.places) for column in (self.query, self.time))
        chosen = self.chosen(events)
        counts = torch.ones_like(query) if chosen is None else chosen.index_select(0, self.places).long()
        passed = counts.cumsum(0) - counts  # events before each place
        other_query = query[1:] != query[:-1]
        first_of_query = F.pad(other_query, (1, 0), value=True)
        first_of_moment = F.pad(other_query | (time[1:] != time[:-1]), (1, 0), value=True)
        earlier = passed[first_of_moment].index_select(0, first_of_moment.cumsum(0) - 1)
        earlier -= passed[first_of_query].index_select(0, first_of_query.cumsum(0) - 1)
        return torch.empty_like(earlier).index_copy_(0, self.places, earlier)


def _masked(column: Tensor, kept: Tensor) -> Tensor:
    """Return ``column[kept]`` (n,) bool; NumPy takes an eighth of torch's time where most are kept."""
    return torch.from_numpy(column.numpy()[kept.numpy()])
