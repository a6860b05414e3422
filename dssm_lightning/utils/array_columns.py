"""Columns of arrays as columns of tensors, and back; both share their memory."""

from __future__ import annotations

from typing import Any, overload

import torch
from numpy.typing import NDArray
from torch import Tensor

from dssm_lightning.utils.ragged import Column, Features, Ragged
from dssm_lightning.utils.ragged_arrays import ArrayColumn, RaggedArray


@overload
def as_tensors(column: RaggedArray) -> Ragged: ...
@overload
def as_tensors(column: NDArray[Any]) -> Tensor: ...
def as_tensors(column: ArrayColumn) -> Tensor | Ragged:
    """Return a column of arrays as tensors that share their memory; of read-only arrays, as copies.

    Example:
        >>> import numpy as np
        >>> as_tensors(RaggedArray.from_lengths(np.array([5, 7, 9]), [2, 0, 1])).offsets
        tensor([0, 2, 2, 3])
    """
    if not isinstance(column, RaggedArray):
        return _tensor(column)
    age = None if column.age is None else _tensor(column.age)
    items: Features | Tensor | None = None
    if isinstance(column.items, dict):
        items = {name: as_tensors(item) for name, item in column.items.items()}
    elif column.items is not None:
        items = _tensor(column.items)
    return Ragged(_tensor(column.values), _tensor(column.offsets), age, items)


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def as_arrays(column: Column) -> ArrayColumn:
    """Return an encoded column of CPU tensors, without items, as arrays that share their memory.

    Example:
        >>> as_arrays(torch.tensor([5, 7]))
        array([5, 7])
    """
    if isinstance(column, Tensor):
        return column.numpy()
    assert isinstance(column, Ragged)
    assert column.items is None
    age = None if column.age is None else column.age.numpy()
    return RaggedArray(column.values.numpy(), column.offsets.numpy(), age)
