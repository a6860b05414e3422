"""LazyAdam: compared with torch's optimizers, and rows that do not change."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from dssm_lightning.training.optimizers import LazyAdam


def tables(sparse: bool) -> nn.Embedding:
    torch.manual_seed(1)
    return nn.Embedding(6, 3, sparse=sparse)


def train(table: nn.Embedding, optimizer: torch.optim.Optimizer, batches: list[list[int]]) -> Tensor:
    for ids in batches:
        optimizer.zero_grad()
        (table(torch.tensor(ids)).sin() * torch.arange(1, 4)).sum().backward()
        optimizer.step()
    return table.weight.detach()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_equals_adam_when_every_row_is_used_in_every_step(weight_decay: float) -> None:
    batches = [[0, 1, 2, 3, 4, 5, 5], [5, 4, 3, 2, 1, 0]] * 4
    dense, lazy = tables(False), tables(True)
    expected = train(dense, torch.optim.Adam(dense.parameters(), 0.1, weight_decay=weight_decay), batches)
    found = train(lazy, LazyAdam(lazy.parameters(), 0.1, weight_decay=weight_decay), batches)
    torch.testing.assert_close(found, expected)


def test_equals_sparse_adam() -> None:
    batches = [[0, 1], [1, 1, 4], [0, 5], [2]] * 3
    reference, lazy = tables(True), tables(True)
    expected = train(reference, torch.optim.SparseAdam(list(reference.parameters()), 0.1), batches)
    torch.testing.assert_close(train(lazy, LazyAdam(lazy.parameters(), 0.1), batches), expected)


def test_rows_that_a_batch_does_not_use_do_not_change() -> None:
    table = tables(True)
    optimizer = LazyAdam(table.parameters(), 0.1, weight_decay=0.5)
    before = train(table, optimizer, [[0, 1, 2]]).clone()
    after = train(table, optimizer, [[3]])
    moved = (before != after).any(dim=1)
    assert moved.tolist() == [False, False, False, True, False, False]


@pytest.mark.parametrize("fused", [None, True])
def test_dense_parameters_are_updated_as_by_adam(fused: bool | None) -> None:
    layer = nn.Linear(3, 2)
    reference = copy.deepcopy(layer)
    table = tables(True)
    optimizers = [
        LazyAdam([*layer.parameters(), *table.parameters()], 0.1, fused=fused),
        torch.optim.Adam(reference.parameters(), 0.1),
    ]
    for _ in range(5):
        for model, optimizer in zip((layer, reference), optimizers, strict=True):
            optimizer.zero_grad()
            inputs = table(torch.tensor([0, 2])) if model is layer else torch.ones(2, 3)
            model(torch.ones(2, 3)).square().sum().backward()
            if model is layer:
                inputs.sum().backward()
            optimizer.step()
    torch.testing.assert_close(layer.weight, reference.weight)


def test_state_resumes() -> None:
    batches = [[0, 1], [1, 4], [0, 5]]
    whole = tables(True)
    expected = train(whole, LazyAdam(whole.parameters(), 0.1), batches * 2)
    table = tables(True)
    optimizer = LazyAdam(table.parameters(), 0.1)
    train(table, optimizer, batches)
    again = copy.deepcopy(table)
    resumed = LazyAdam(again.parameters(), 0.1)
    resumed.load_state_dict(optimizer.state_dict())
    assert torch.equal(train(again, resumed, batches), expected)
