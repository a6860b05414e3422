"""Rows of ragged columns against loops over lists."""

from __future__ import annotations

import itertools

import torch

from dssm_lightning.utils.ragged import (
    Column,
    Features,
    Prefixes,
    Ragged,
    concatenate_into,
    num_rows,
    pad_rows_to,
    row_chunks,
    take,
    take_features,
)


def ragged(rows: list[list[int]]) -> Ragged:
    offsets = torch.tensor([0, *(len(row) for row in rows)]).cumsum(0)
    values = torch.tensor([value for row in rows for value in row], dtype=torch.int64)
    return Ragged(values, offsets, values.float() / 10)


def as_lists(column: Column) -> list[list[int]]:
    assert isinstance(column, Ragged)
    bounds = column.offsets.tolist()
    return [column.values[a:b].tolist() for a, b in itertools.pairwise(bounds)]


def test_lengths_become_offsets() -> None:
    found = Ragged.from_lengths(torch.arange(3), torch.tensor([2, 0, 1]))
    assert found.offsets.tolist() == [0, 2, 2, 3]
    assert found.offsets.dtype == torch.int64
    assert Ragged.from_lengths(torch.arange(0), torch.zeros(0, dtype=torch.int64)).offsets.tolist() == [0]


def test_rows_and_lengths() -> None:
    column = ragged([[1, 2], [], [3]])
    assert column.lengths.tolist() == [2, 0, 1]
    assert column.rows.tolist() == [0, 0, 2]


def test_kept_values_stay_in_their_rows() -> None:
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
    assert as_lists(taken["ragged"]) == [lists[i] for i in order.tolist()]
    assert isinstance(taken["dense"], torch.Tensor)
    assert taken["dense"].tolist() == [2 * i for i in order.tolist()]


def test_chunks_are_the_rows_in_order() -> None:
    lists = [[1, 2, 3], [], [4], [5, 6], [7]]
    seen = Prefixes(ragged([[1, 2], [3]]), torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 1, 2, 0, 1]), torch.zeros(5))
    columns: Features = {"ragged": ragged(lists), "dense": torch.arange(5), "seen": seen}
    for first in columns:  # the first column determines the number of rows
        features = {first: columns[first], **columns}
        found = list(row_chunks(features, 2))
        assert [num_rows(part) for part in found] == [2, 2, 1]
        assert [each for part in found for each in as_lists(part["ragged"])] == lists
        dense = [part["dense"] for part in found if isinstance(part["dense"], torch.Tensor)]
        assert torch.cat(dense).tolist() == [0, 1, 2, 3, 4]
        seen_parts = [part["seen"] for part in found if isinstance(part["seen"], Prefixes)]
        assert torch.cat([part.length for part in seen_parts]).tolist() == [0, 1, 2, 0, 1]


def test_parts_are_concatenated_as_by_torch() -> None:
    parts = [torch.rand(n, 2, 3, dtype=torch.float64) for n in (2, 0, 3)]
    found = concatenate_into(iter(parts), 5)
    assert torch.equal(found, torch.cat(parts))
    assert found.dtype == torch.float64


def test_padding_repeats_the_last_row() -> None:
    features: Features = {"ragged": ragged([[1, 2], [], [3]]), "dense": torch.arange(3)}
    cpu = torch.device("cpu")
    found = pad_rows_to(features, 5, cpu)
    assert as_lists(found["ragged"]) == [[1, 2], [], [3], [3], [3]]
    assert num_rows(pad_rows_to(features, 2, cpu)) == 3
    assert num_rows(pad_rows_to(take_features(features, torch.arange(0)), 5, cpu)) == 0
