"""Rows are gathered whole."""

from __future__ import annotations

import itertools

import torch

from dssm_lightning.utils.ragged import Prefixes, Ragged, concatenate_into, num_rows, row_chunks, take, take_features


def ragged(rows: list[list[int]]) -> Ragged:
    offsets = torch.tensor([0, *(len(row) for row in rows)]).cumsum(0)
    values = torch.tensor([value for row in rows for value in row], dtype=torch.int64)
    return Ragged(values, offsets, values.float() / 10)


def as_lists(column: Ragged) -> list[list[int]]:
    bounds = column.offsets.tolist()
    return [column.values[a:b].tolist() for a, b in itertools.pairwise(bounds)]


def test_rows_and_lengths() -> None:
    column = ragged([[1, 2], [], [3]])
    assert column.lengths.tolist() == [2, 0, 1]
    assert column.rows.tolist() == [0, 0, 2]


def test_only_some_values_stay_in_their_rows() -> None:
    found = ragged([[1, 2, 3], [], [4], [5, 6]]).only(torch.tensor([True, False, True, False, True, True]))
    assert as_lists(found) == [[1, 3], [], [], [5, 6]]
    assert found.age is not None
    assert torch.equal(found.age, found.values.float() / 10)


def test_take_repeats_reorders_and_keeps_empty_rows() -> None:
    lists = [[1, 2, 3], [], [4], [5, 6]]
    order = [3, 1, 0, 3, 2]
    taken = take(ragged(lists), torch.tensor(order))
    assert as_lists(taken) == [lists[i] for i in order]
    assert taken.age is not None
    assert torch.equal(taken.age, taken.values.float() / 10)


def test_take_nothing() -> None:
    taken = take(ragged([[1], [2]]), torch.tensor([], dtype=torch.int64))
    assert (taken.values.tolist(), taken.offsets.tolist()) == ([], [0])


def test_take_many_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    lists = [torch.randint(0, 99, (int(n),), generator=generator).tolist() for n in torch.randint(0, 5, (50,))]
    order = torch.randint(0, 50, (200,), generator=generator)
    features = {"ragged": ragged(lists), "dense": torch.arange(50) * 2}
    taken = take_features(features, order)
    assert num_rows(taken) == 200
    assert isinstance(taken["ragged"], Ragged)
    assert as_lists(taken["ragged"]) == [lists[i] for i in order.tolist()]
    assert taken["dense"].tolist() == [2 * i for i in order.tolist()]


def test_slices_are_the_rows_in_order() -> None:
    lists = [[1, 2, 3], [], [4], [5, 6], [7]]
    seen = Prefixes(ragged([[1, 2], [3]]), torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 1, 2, 0, 1]), torch.zeros(5))
    columns = {"ragged": ragged(lists), "dense": torch.arange(5), "seen": seen}
    for first in columns:  # whose rows are counted
        features = {first: columns[first], **columns}
        found = list(row_chunks(features, 2))
        assert [num_rows(part) for part in found] == [2, 2, 1]
        assert [each for part in found for each in as_lists(part["ragged"])] == lists  # type: ignore[arg-type]
        assert [each for part in found for each in part["dense"].tolist()] == [0, 1, 2, 3, 4]  # type: ignore[union-attr]
        assert [each for part in found for each in part["seen"].length.tolist()] == [0, 1, 2, 0, 1]  # type: ignore[union-attr]


def test_joined_is_torch_cat() -> None:
    parts = [torch.rand(n, 2, 3, dtype=torch.float64) for n in (2, 0, 3)]
    found = concatenate_into(iter(parts), 5)
    assert torch.equal(found, torch.cat(parts))
    assert found.dtype == torch.float64
