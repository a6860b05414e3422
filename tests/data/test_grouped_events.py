"""Training events by query and by candidate, against loops over single rows, in memory and in blocks."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from dssm_lightning.data.grouped_events import Timeline, TrainingEvents, group_events
from dssm_lightning.data.interactions import TRAIN, Interactions, sorted_places
from dssm_lightning.utils import memory_mapped
from dssm_lightning.utils.memory_mapped import in_row_order, ranges

QUERIES, CANDIDATES, ROWS = 30, 20, 400
PARTS = ("rows", "candidates", "offsets", "times", "before")
TIMES: dict[str, Tensor] = {
    "whole, many equal": torch.arange(-4, 4).double(),
    "seconds": 1_600_000_000 + torch.arange(50).double(),
    "fractions": torch.arange(9).double() / 4 - 1,
    "too far apart for one key": torch.tensor([-(2.0**62), 0, 3, 2.0**62]).double(),
    "infinite": torch.tensor([-torch.inf, -0.0, 0.0, 1, torch.inf]).double(),
}


def table(times: str | None, labels: bool) -> Interactions:
    """Rows of three folds; query 7 has no row, and query 0 more than a block."""
    generator = torch.Generator().manual_seed(1)
    query = (QUERIES * torch.rand(ROWS, generator=generator) ** 2).long()
    query[query == 7] = 0
    candidate = torch.randint(CANDIDATES - 1, (ROWS,), generator=generator)
    fold = torch.multinomial(torch.tensor([0.7, 0.1, 0.2]), ROWS, True, generator=generator).to(torch.int8)
    label = torch.randint(2, (ROWS,), generator=generator).float() if labels else None
    time = None
    if times is not None:
        time = TIMES[times][torch.randint(len(TIMES[times]), (ROWS,), generator=generator)]
    return Interactions(query, candidate, fold, label, time=time)


def by_loops(found: Interactions, events: str) -> dict[str, list[Any]]:
    """The parts of a grouping, row by row."""
    rows = list(range(len(found.query)))
    time = [0.0] * len(rows) if found.time is None else found.time.tolist()
    query, fold = found.query.tolist(), found.fold.tolist()
    liked = [True] * len(rows) if found.label is None else [label > 0 for label in found.label.tolist()]
    counts = {"liked": lambda row: liked[row], "shown": lambda row: not liked[row], "all": lambda row: True}
    chosen = [row for row in rows if fold[row] == TRAIN and counts[events](row)]
    lists = [
        sorted((row for row in chosen if query[row] == each), key=lambda row: time[row]) for each in range(QUERIES)
    ]
    ordered = list(itertools.chain(*lists))
    return {
        "rows": ordered,
        "candidates": [int(found.candidate[row]) for row in ordered],
        "offsets": [0, *itertools.accumulate(map(len, lists))],
        "times": [time[row] for row in ordered],
        "before": [sum(time[other] < time[row] for other in lists[query[row]]) for row in rows],
    }


@pytest.fixture(params=["memory", "blocks"])
def _size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "blocks":
        monkeypatch.setattr(memory_mapped, "BLOCK", 37)


@pytest.mark.usefixtures("_size")
@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("times", [None, *TIMES])
def test_groupings_by_loops(times: str | None, labels: bool) -> None:
    interactions = table(times, labels)
    parts = PARTS if times else PARTS[:3]
    names = [f"{events}#{part}" for events in ("liked", "shown", "all") for part in parts]
    found = group_events(interactions, QUERIES, names)
    assert found.keys() == set(names)
    for events in ("liked", "shown", "all"):
        expected = by_loops(interactions, events)
        assert {part: found[f"{events}#{part}"].tolist() for part in parts} == {part: expected[part] for part in parts}
    dtypes = {"times": torch.float64}
    assert all(array.dtype == dtypes.get(name.partition("#")[2], torch.int64) for name, array in found.items())


@pytest.mark.usefixtures("_size")
@pytest.mark.parametrize("labels", [True, False])
def test_timelines_by_loops(labels: bool) -> None:
    interactions = table("seconds", labels)
    events = TrainingEvents(interactions, QUERIES, CANDIDATES, {})
    for name in ("liked", "shown", "all"):
        timeline, expected = events.by_query(name), by_loops(interactions, name)
        assert timeline.times is not None
        assert timeline.before.tolist() == expected["before"]
        assert timeline.times.tolist() == expected["times"]
        for column, part in ((timeline.candidates, "candidates"), (timeline.rows, "rows")):
            assert [column.values.tolist(), column.offsets.tolist()] == [expected[part], expected["offsets"]]
    assert events.by_query("liked") is events.by_query("liked" if labels else "all")
    liked, candidate = by_loops(interactions, "liked")["rows"], interactions.candidate.tolist()
    expected_rows = [[row for row in sorted(liked) if candidate[row] == each] for each in range(CANDIDATES)]
    assert [each.tolist() for each in events.by_candidate.values.split(events.by_candidate.lengths.tolist())] == (
        expected_rows
    )


def test_a_table_without_rows() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    timeline = Timeline(Interactions(nothing, nothing, nothing.to(torch.int8), time=nothing.double()), 2)
    assert timeline.candidates.offsets.tolist() == [0, 0, 0]
    assert timeline.before.tolist() == []


def test_stored_parts_are_not_computed() -> None:
    """Whatever stands in the cache is taken; a part that does not is computed, and no other one."""
    stored = {"all#candidates": torch.tensor([9]), "all#offsets": torch.tensor([0, 1])}
    timeline = Timeline(Interactions(*torch.zeros(3, 1).long()), 1, "liked", stored)
    assert timeline.candidates.values.tolist() == [9]
    assert timeline.rows.values.tolist() == [0]


@pytest.mark.parametrize("size", [1, 7, 37, 400])
def test_values_of_ranges_are_put_in_the_order_of_their_rows(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(memory_mapped, "BLOCK", size)
    keys = torch.randint(50, (400,), generator=torch.Generator().manual_seed(2))
    starts = torch.nn.functional.pad(torch.bincount(keys, minlength=50).cumsum(0), (1, 0))
    parts = list(ranges(keys, starts))
    rows = torch.cat(parts)
    assert in_row_order(rows * 3, rows, [len(part) for part in parts]).tolist() == [3 * row for row in range(400)]


@pytest.mark.parametrize("kind", ["int64", *TIMES])
def test_rows_are_sorted_by_two_keys_and_then_by_place(kind: str) -> None:
    generator = torch.Generator().manual_seed(3)
    keys = torch.randint(-5, 5, (300,), generator=generator)
    values = torch.tensor([-(2**63), -1, 4, 2**63 - 1]) if kind == "int64" else TIMES[kind]
    order = values[torch.randint(len(values), (300,), generator=generator)]
    expected = sorted(range(300), key=lambda row: (int(keys[row]), order[row].item()))
    assert sorted_places(keys, order).tolist() == expected
    assert sorted_places(keys).tolist() == sorted(range(300), key=lambda row: int(keys[row]))
