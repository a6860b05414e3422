"""Ragged arrays mean what ragged tensors mean, and share their memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dssm_lightning.utils.array_columns import as_arrays, as_tensors
from dssm_lightning.utils.ragged import Ragged
from dssm_lightning.utils.ragged_arrays import RaggedArray, parts_of

LENGTHS = [2, 0, 3, 0]


def both(lengths: list[int]) -> tuple[RaggedArray, Ragged]:
    values = np.arange(sum(lengths), dtype=np.int32)
    array = RaggedArray.from_lengths(values, lengths)._replace(age=values.astype(np.float32))
    tensor = Ragged.from_lengths(torch.from_numpy(values.copy()), torch.tensor(lengths, dtype=torch.int64))
    return array, tensor._replace(age=tensor.values.float())


@pytest.mark.parametrize("lengths", [LENGTHS, [], [0], [1, 1]])
def test_rows_are_those_of_tensors(lengths: list[int]) -> None:
    array, tensor = both(lengths)
    assert array.offsets.dtype == np.int64
    assert array.offsets.tolist() == tensor.offsets.tolist()
    assert array.lengths.tolist() == tensor.lengths.tolist() == lengths
    assert array.rows.tolist() == tensor.rows.tolist()
    kept = array.values % 2 == 0
    for one, other in zip(array.only(kept)[:3], tensor.only(torch.from_numpy(kept))[:3], strict=True):
        assert one.tolist() == other.tolist()


def test_tensors_share_the_memory_of_arrays_and_back() -> None:
    array, _ = both(LENGTHS)
    tensor = as_tensors(array)
    back = as_arrays(tensor)
    assert isinstance(back, RaggedArray)
    for one, part, other in zip(array[:3], tensor[:3], back[:3], strict=True):
        assert part.data_ptr() == one.ctypes.data == other.ctypes.data
        assert one.dtype == other.dtype


def test_items_become_tensors() -> None:
    array, _ = both(LENGTHS)
    embedded = as_tensors(array._replace(items=np.ones((2, 3), np.float32)))
    assert torch.equal(embedded.items, torch.ones(2, 3))  # a tensor
    whole = as_tensors(array._replace(items={"title": array, "age": np.zeros(5)}))
    assert isinstance(whole.items, dict)
    assert isinstance(whole.items["title"], Ragged)


def test_read_only_arrays_are_copied() -> None:
    values = np.arange(3)
    values.flags.writeable = False
    assert as_tensors(values).add_(1).tolist() == [1, 2, 3]
    assert values.tolist() == [0, 1, 2]


@pytest.mark.parametrize("lengths", [LENGTHS, [1], [5, 0, 0, 0, 0, 1, 9, 9, 1], [0, 0, 0]])
@pytest.mark.parametrize("most", [1, 3, 8, 1_000])
def test_parts_of_rows_are_small_and_are_all_rows(lengths: list[int], most: int) -> None:
    column, _ = both(lengths)
    items, numbers = np.eye(3), np.arange(len(lengths))
    parts: list[Any] = parts_of({"x": column._replace(items=items), "number": numbers}, len(lengths), most)
    values: list[int] = []
    for part in parts:
        found: Any = part["x"]
        assert found.offsets[0] == 0
        assert found.items is items
        assert found.values.tolist() == found.age.tolist()
        assert len(found.lengths) == 1 or len(found.lengths) * found.lengths.max() <= most
        assert len(found.lengths) == len(part["number"])
        values += found.values.tolist()
    assert values == column.values.tolist()
    assert [length for part in parts for length in part["x"].lengths.tolist()] == lengths
    assert np.concatenate([part["number"] for part in parts]).tolist() == numbers.tolist()


def test_few_values_stay_together() -> None:
    columns = {"x": both([3, 1])[0], "y": both([0, 2])[0]}
    assert parts_of(columns, 2, 6) == [columns]
    assert len(parts_of(columns, 2, 5)) == 2
    (only,) = parts_of({"n": np.zeros(9)}, 9, 1)
    assert isinstance(only["n"], np.ndarray)
    assert only["n"].shape == (9,)
