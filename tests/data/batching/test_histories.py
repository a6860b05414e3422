"""The history of a query never contains the candidate that the row predicts."""

from __future__ import annotations

import itertools

import pytest
import torch

from dssm_lightning.data.batching.histories import HistoryAssembler
from dssm_lightning.data.grouped_events import Timeline
from dssm_lightning.data.interactions import Interactions
from dssm_lightning.features import Categorical, History, Words
from dssm_lightning.utils.ragged import Ragged
from dssm_lightning.utils.seeding import Counter

# query 0 likes 5, 3, 1 at times 10, 20, 20; query 1 likes 2 (and is shown 4); query 2 only has a test row
QUERY = torch.tensor([0, 0, 0, 1, 1, 2])
CANDIDATE = torch.tensor([3, 5, 1, 2, 4, 0])
TIME = torch.tensor([20.0, 10.0, 20.0, 5.0, 6.0, 7.0], dtype=torch.float64)
LABEL = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 1.0])
FOLD = torch.tensor([0, 0, 0, 0, 0, 2], dtype=torch.int8)
ITEM = Categorical(name="movie", vocabulary=("a", "b", "c"))
ITEM_IDS = torch.arange(100, 106, dtype=torch.int32)


def assembler(time: torch.Tensor | None = TIME, **options: object) -> HistoryAssembler:
    interactions = Interactions(QUERY, CANDIDATE, FOLD, LABEL, time=time)
    feature = History(name="history", of="movie", item=ITEM, **options)
    return HistoryAssembler(feature, {"movie": ITEM_IDS}, Timeline(interactions, 3, feature.events))


def lists(column: Ragged) -> list[list[int]]:
    bounds = column.offsets.tolist()
    return [(column.values[a:b] - 100).tolist() for a, b in itertools.pairwise(bounds)]


def test_all_but_the_target_oldest_first() -> None:
    made = assembler().of_events(torch.tensor([0, 1, 3, 5]))  # rows of the table above
    assert lists(made) == [[5, 1], [3, 1], [], []]
    assert made.age is not None
    assert made.age.tolist() == [2, 1, 2, 1]


def test_entries_of_several_ids_follow_one_another() -> None:
    """Film i has the i words 10 · i, 10 · i + 1, …; a history concatenates the words of the films liked before."""
    lengths = torch.arange(6)
    words = torch.cat([10 * film + torch.arange(int(film)) for film in lengths])
    titles = Ragged.from_lengths(words, lengths)
    interactions = Interactions(QUERY, CANDIDATE, FOLD, LABEL, time=TIME)
    feature = History(name="history", of="title", item=Words(name="title", vocabulary=("a",)), max_length=2)
    made = HistoryAssembler(feature, {"title": titles}, Timeline(interactions, 3))
    column = made.of_queries(torch.tensor([0, 1, 2]))  # the last two of 5, 3, 1; then 2; then none
    assert column.values.tolist() == [30, 31, 32, 10, 20, 21]
    assert column.offsets.tolist() == [0, 4, 6, 6]
    assert column.age is not None
    assert column.age.tolist() == [2, 2, 2, 1, 1, 1]
    event = made.of_events(torch.tensor([1]))  # all except 5 itself
    assert event.values.tolist() == [30, 31, 32, 10]


def test_time_order_takes_strictly_earlier_events_only() -> None:
    made = assembler(order="time").of_events(torch.tensor([0, 1, 2]))
    assert lists(made) == [[5], [], [5]]  # events at the same time are excluded


def test_evaluation_by_query_uses_all_training_positives() -> None:
    for order in ("leave_one_out", "time"):
        assert lists(assembler(order=order).of_queries(torch.tensor([0, 1, 2]))) == [[5, 3, 1], [2], []]


def test_a_history_may_have_candidates_that_were_shown_and_not_liked() -> None:
    queries = torch.tensor([0, 1, 2])
    assert lists(assembler(events="shown").of_queries(queries)) == [[], [4], []]
    assert lists(assembler(events="all").of_queries(queries)) == [[5, 3, 1], [2, 4], []]
    assert lists(assembler(events="shown").of_events(torch.tensor([3, 4]))) == [[4], []]  # row 4 shows 4 itself


def test_max_length_keeps_the_newest() -> None:
    assert lists(assembler(max_length=1).of_events(torch.tensor([2, 1]))) == [[3], [1]]
    assert lists(assembler(max_length=2).of_queries(torch.tensor([0, 1]))) == [[3, 1], [2]]
    assert lists(assembler(max_length=1, order="time").of_events(torch.tensor([0, 1, 4]))) == [[5], [], [2]]


def test_ages_in_seconds_are_distances_from_the_event() -> None:
    made = assembler(age="seconds").of_events(torch.tensor([1, 0]))
    assert made.age is not None
    assert made.age.tolist() == [10, 10, 10, 0]  # from 10 to 3 and 1 at 20; from 20 to 5 at 10 and 1 at 20
    whole = assembler(age="seconds").of_queries(torch.tensor([0, 2]))
    assert whole.age is not None
    assert whole.age.tolist() == [10, 0, 0]  # measured from the newest entry


def test_dropout_draws_from_the_counter_and_only_in_training() -> None:
    make = assembler(dropout=0.5)
    rows = torch.zeros(600, dtype=torch.int64)
    dropped = make.of_events(rows, Counter(1))
    assert lists(dropped) == lists(make.of_events(rows, Counter(1)))
    assert lists(dropped) != lists(make.of_events(rows, Counter(2)))
    assert 0.4 < len(dropped.values) / 1200 < 0.6
    assert len(make.of_events(rows).values) == 1200


def random_interactions() -> Interactions:
    """Make about 300 events of 30 queries, with some equal times, some labels 0, and some test rows."""
    generator = torch.Generator().manual_seed(0)
    pairs = torch.unique(torch.randint(0, 30, (500, 2), generator=generator), dim=0)
    time = torch.randint(0, 20, (len(pairs),), generator=generator).double()
    label = torch.randint(0, 4, (len(pairs),), generator=generator).clamp(max=1).float()
    fold = 2 * torch.randint(0, 5, (len(pairs),), generator=generator).eq(0).to(torch.int8)
    return Interactions(pairs[:, 0], pairs[:, 1], fold, label, time=time)


def test_the_target_is_never_in_its_history() -> None:
    table = random_interactions()
    rows = torch.arange(len(table.query))
    for order in ("leave_one_out", "time"):
        feature = History(name="history", of="movie", item=ITEM, order=order)
        make = HistoryAssembler(feature, {"movie": torch.arange(30, dtype=torch.int32)}, Timeline(table, 30))
        made = make.of_events(rows)
        assert len(made.values) > 0
        assert not (made.values == table.candidate[made.rows]).any()


def by_loop(table: Interactions, row: int, limit: int) -> list[tuple[int, float]]:
    """Return (corpus row, age in seconds) of at most ``limit`` training positives before a row, oldest first."""
    assert table.time is not None
    assert table.label is not None
    found = [
        (float(table.time[r]), r)
        for r in range(len(table.query))
        if table.fold[r] == 0 and table.label[r] == 1
        if table.query[r] == table.query[row] and table.time[r] < table.time[row]
    ]
    newest = sorted(found)[-limit:]
    return [(int(table.candidate[r]), float(table.time[row]) - time) for time, r in newest]


def sequence_batch(table: Interactions) -> torch.Tensor:
    """Return the training rows of queries 7, 2 and 11, oldest first in each query."""
    assert table.time is not None
    rows = [
        sorted(((table.query == query) & (table.fold == 0)).nonzero().squeeze(1).tolist(), key=lambda r: table.time[r])
        for query in (7, 2, 11)
    ]
    return torch.tensor([row for of_query in rows for row in of_query])


@pytest.mark.parametrize("age", ["events", "seconds"])
def test_sequences_expand_to_the_history_of_each_event(age: str) -> None:
    table, corpus = random_interactions(), {"movie": torch.arange(100, 130, dtype=torch.int32)}
    feature = History(name="history", of="movie", item=ITEM, order="time", age=age)
    make = HistoryAssembler(feature, corpus, Timeline(table, 30))
    rows = sequence_batch(table)
    prefixes = make.of_sequences(rows)
    assert len(prefixes.sequences.offsets) - 1 == 3
    expanded, own = prefixes.expand(), make.of_events(rows)
    assert expanded.age is not None
    assert own.age is not None
    for column, expected in ((expanded, own), (own, expanded)):
        assert torch.equal(column.values, expected.values)
        assert torch.equal(column.offsets, expected.offsets)
    assert torch.equal(expanded.age, own.age)
    for row, found in zip(rows.tolist(), lists(own), strict=True):
        assert found == [candidate for candidate, _ in by_loop(table, row, 99)]
    if age == "seconds":
        assert own.age.tolist() == [seconds for row in rows.tolist() for _, seconds in by_loop(table, row, 99)]


def test_a_sequence_looks_back_from_its_last_event() -> None:
    table, corpus = random_interactions(), {"movie": torch.arange(100, 130, dtype=torch.int32)}
    feature = History(name="history", of="movie", item=ITEM, order="time", max_length=3)
    make = HistoryAssembler(feature, corpus, Timeline(table, 30))
    rows = sequence_batch(table)
    prefixes = make.of_sequences(rows)
    assert prefixes.sequences.lengths.max() == 3
    found = lists(prefixes.expand())
    for place, row in enumerate(rows.tolist()):
        last = max(r for r in range(len(rows)) if table.query[rows[r]] == table.query[row])
        sequence = by_loop(table, int(rows[last]), 3)
        assert found[place] == [c for c, _ in by_loop(table, row, 99) if c in [d for d, _ in sequence]]


def test_dropout_takes_an_entry_out_of_all_prefixes_of_a_sequence() -> None:
    table, corpus = random_interactions(), {"movie": torch.arange(100, 130, dtype=torch.int32)}
    feature = History(name="history", of="movie", item=ITEM, order="time", dropout=0.4)
    make = HistoryAssembler(feature, corpus, Timeline(table, 30))
    rows = sequence_batch(table)
    whole, dropped = make.of_sequences(rows), make.of_sequences(rows, Counter(3))
    assert 0 < len(dropped.sequences.values) < len(whole.sequences.values)
    kept = [set(row) for row in lists(dropped.sequences)]
    for sequence, before, after in zip(
        whole.sequence.tolist(), lists(whole.expand()), lists(dropped.expand()), strict=True
    ):
        assert after == [candidate for candidate in before if candidate in kept[sequence]]


def test_histories_of_whole_candidates_have_each_candidate_once() -> None:
    interactions = Interactions(QUERY, CANDIDATE, FOLD, LABEL, time=TIME)
    corpus = {"movie": ITEM_IDS, "year": torch.arange(1990, 1996)}
    feature = History(name="history", of="candidate")
    made = HistoryAssembler(feature, corpus, Timeline(interactions, 3)).of_queries(torch.tensor([0, 1, 0]))
    assert isinstance(made.items, dict)
    assert made.items["year"].tolist() == [1991, 1992, 1993, 1995]
    assert made.items["year"][made.values].tolist() == [1995, 1993, 1991, 1992, 1995, 1993, 1991]


def test_time_order_without_a_time_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"'history': order 'time' .*time column"):
        assembler(time=None, order="time")
    with pytest.raises(ValueError, match=r"'history': age 'seconds' .*time column"):
        assembler(time=None, age="seconds")
    with pytest.raises(ValueError, match=r"'history': age 'seconds' .*1700000000020.*milliseconds"):
        assembler(time=TIME + 1.7e12, age="seconds")


def test_shown_events_without_labels_are_an_error() -> None:
    feature = History(name="history", of="movie", item=ITEM, events="shown")
    unlabelled = Interactions(QUERY, CANDIDATE, FOLD, time=TIME)
    with pytest.raises(ValueError, match=r"'history': events 'shown' .*label column"):
        HistoryAssembler(feature, {"movie": ITEM_IDS}, Timeline(unlabelled, 3, "shown"))
