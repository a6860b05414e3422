"""The rows that a sparse gradient names, and writing rows of a table."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dssm_lightning.training.optimizers.sparse_rows import named_rows, write_rows


def whole(gradient: Tensor) -> tuple[Tensor, Tensor]:
    rows, values = zip(*named_rows(gradient), strict=True)
    return torch.cat(rows), torch.cat(values)


def test_repeated_rows_have_their_sum_and_ascend() -> None:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 700, (2000,), generator=generator)
    values = torch.randint(-9, 9, (2000, 3), generator=generator).float()  # whose sums are exact in any order
    rows, found = whole(torch.sparse_coo_tensor(ids[None], values, (1000, 3), check_invariants=True))
    expected = torch.zeros(1000, 3)
    for each, value in zip(ids.tolist(), values, strict=True):
        expected[each] += value
    assert rows.tolist() == sorted(set(ids.tolist()))
    assert torch.equal(found, expected[rows])


def test_ascending_rows_are_not_copied() -> None:
    table = nn.Embedding(9, 4, sparse=True)
    values = torch.ones(3, 4)
    gradient = torch.sparse_coo_tensor(torch.tensor([[1, 5, 8]]), values, (9, 4), check_invariants=True)
    table.weight.grad = gradient
    assert not gradient.is_coalesced()
    assert whole(gradient)[0].tolist() == [1, 5, 8]
    assert next(named_rows(gradient))[1].data_ptr() == gradient._values().data_ptr()


def test_no_rows() -> None:
    gradient = torch.sparse_coo_tensor(
        torch.zeros(1, 0, dtype=torch.int64), torch.zeros(0, 4), (9, 4), check_invariants=True
    )
    assert sum(len(rows) for rows, _ in named_rows(gradient)) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("contiguous", [True, False])
def test_written_rows(dtype: torch.dtype, contiguous: bool) -> None:
    table = torch.zeros(5, 2, dtype=dtype) if contiguous else torch.zeros(2, 5, dtype=dtype).T
    parameter = nn.Parameter(table)
    with torch.no_grad():
        write_rows(parameter, torch.tensor([3, 1]), torch.tensor([[1, 2], [3, 4]], dtype=dtype))
    assert parameter.tolist() == [[0, 0], [3, 4], [0, 0], [1, 2], [0, 0]]
