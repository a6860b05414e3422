"""Ragged arrays mean what ragged tensors mean, and share their memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dssm_lightning.utils.array_columns import as_arrays, as_tensors
from dssm_lightning.utils.ragged import Ragged
from dssm_lightning.utils.ragged_arrays import RaggedArray

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
    assert torch.equal(embedded.items, torch.ones(2, 3))  # type: ignore[arg-type]  # a tensor
    whole = as_tensors(array._replace(items={"title": array, "age": np.zeros(5)}))
    assert isinstance(whole.items, dict)
    assert isinstance(whole.items["title"], Ragged)


def test_read_only_arrays_are_copied() -> None:
    values = np.arange(3)
    values.flags.writeable = False
    assert as_tensors(values).add_(1).tolist() == [1, 2, 3]
    assert values.tolist() == [0, 1, 2]
