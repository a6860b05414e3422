"""Batches in chunks: the same losses and gradients, without a (Q, C) matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.chunks import LOSSES, SIZES, built
from helpers.small import small_data, small_model, small_trainer
from torch import Tensor

from dssm_lightning.data.batch import Batch, Candidates
from dssm_lightning.losses import (
    Loss,
    SampledSoftmax,
)
from dssm_lightning.losses.masks import valid_columns
from dssm_lightning.models import two_tower
from dssm_lightning.models.scorers import Dot, MLPScorer, MultiHeadDot, Scorer
from dssm_lightning.training.candidate_pool import Pool
from dssm_lightning.training.chunked_loss import RowLosses
from dssm_lightning.training.objective import Rows, per_query_loss, transposed
from dssm_lightning.utils.ragged import Ragged

B, C, D = 9, 7, 4


def made_up_batch(labels: bool, own_negatives: bool) -> Batch:
    """Nine rows: one likes every candidate, one has no weight, and three own the same candidate."""
    generator = torch.Generator().manual_seed(0)
    target = torch.tensor([0, 2, 2, 5, 1, 2, 6, 0, 3])
    likes = [torch.arange(C) if row == 4 else torch.randint(C, (row % 3,), generator=generator) for row in range(B)]
    known = Ragged(torch.cat(likes) * 3, torch.tensor([0, *map(len, likes)]).cumsum(0))
    count, log_q = torch.bincount(target, minlength=C).float(), torch.linspace(-3, -0.1, C)
    label = torch.arange(B).remainder(4).ne(1).float() if labels else None
    negatives = torch.randint(-1, C, (B, 3), generator=generator) if own_negatives else None
    weight = torch.linspace(0, 2, B)
    return Batch(
        {}, Candidates({}, torch.arange(C) * 3, count, log_q), target, negatives, known, label, weight, target, C
    )


def scored(batch: Batch, scorer: Scorer, loss: Loss, chunk_size: int | None) -> tuple[RowLosses, list[Tensor | None]]:
    """Return the losses, and the gradients of all trained parameters."""
    query = torch.linspace(-1, 1, B * D).reshape(B, D).mul(9).sin().requires_grad_()
    candidate = torch.linspace(5, -4, C * D).reshape(C, D).mul(7).sin().requires_grad_()
    pool = Pool(candidate, *batch.candidates[1:])
    learnt = [query, candidate, *(p for part in (scorer, loss) for p in part.parameters() if p.requires_grad)]
    torch.manual_seed(0)  # WARP draws
    losses = per_query_loss(batch, query, pool, scorer, loss, gather=False, chunk_size=chunk_size, weight=batch.weight)
    return losses, list(torch.autograd.grad(losses.total / 3, learnt, allow_unused=True))


@pytest.mark.parametrize("own_negatives", [False, True])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_no_loss_and_no_gradient_changes(loss: Loss, own_negatives: bool) -> None:
    batch = made_up_batch(loss.uses_labels, own_negatives)
    for scorer in (Dot(3.0, learnable=True), MultiHeadDot(2, "max", 3.0, learnable=True), MLPScorer(D, D, [8])):
        whole, expected = scored(batch, scorer, loss, None)
        assert sum(gradient is not None and bool(gradient.any()) for gradient in expected) >= 3
        for chunk_size in (1, 4):
            chunked, found = scored(batch, scorer, loss, chunk_size)
            torch.testing.assert_close(chunked.value, whole.value.detach())
            assert torch.equal(chunked.compared, whole.compared)
            torch.testing.assert_close(chunked.total, whole.total)
            for mine, theirs in zip(found, expected, strict=True):
                wanted = theirs if theirs is None or mine is not None else None
                torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-5)  # summed in another order


@pytest.mark.parametrize("own_negatives", [False, True])
def test_the_transposed_problem_by_a_loop(own_negatives: bool) -> None:
    batch = made_up_batch(False, own_negatives)
    ids, target = batch.candidates.id, batch.target.tolist()
    valid = valid_columns(batch.target, batch.negatives, batch.known, ids)
    problem = transposed(Rows(batch.target, batch.negatives, batch.known, None), ids, gather=False)
    expected = [[i == j or (target[i] != target[j] and bool(valid[j, target[i]])) for j in range(B)] for i in range(B)]
    found, own = problem.valid(None, B)
    assert found.tolist() == expected
    assert own.tolist() == list(range(B))
    part, own = problem.valid(torch.tensor([7, 2]), B)
    assert part.tolist() == [expected[7], expected[2]]
    assert own.tolist() == [7, 2]


def test_each_chunk_is_scored_once() -> None:
    class Seen(SampledSoftmax):
        def forward(self, scores: Any) -> Tensor:
            sizes.append(tuple(scores.logits.shape))
            return super().forward(scores)

    sizes: list[tuple[int, ...]] = []
    scored(made_up_batch(False, False), Dot(3.0), Seen(symmetric=True), 4)
    assert sizes == [(4, C), (4, C), (1, C), (4, B), (4, B), (1, B)]


def test_without_gradient_the_values_are_equal() -> None:
    batch, loss = made_up_batch(False, False), SampledSoftmax()
    with torch.no_grad():
        pool = Pool(torch.ones(C, D), *batch.candidates[1:])
        query = torch.ones(B, D, requires_grad=True)
        scorer = Dot(3.0, learnable=True)
        one, many = (
            per_query_loss(batch, query, pool, scorer, loss, gather=False, chunk_size=size) for size in (None, 2)
        )
    assert not many.total.requires_grad
    torch.testing.assert_close(many.total, one.total)
    torch.testing.assert_close(many.total, many.value.sum())


# -- towers ------------------------------------------------------------------------------------------------------------


def test_a_recomputed_chunk_has_the_same_dropout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared with the same chunks, each encoded once and kept."""
    data = small_data(tmp_path)
    batch = next(iter(data.train_dataloader()))
    found = []
    for again in (True, False):
        model = built(data, 0.4, **SIZES)
        if not again:
            monkeypatch.setattr(two_tower, "checkpoint", lambda tower, features, use_reentrant: tower(features))
        torch.manual_seed(4)
        losses = model.per_query_loss(batch)
        losses.total.backward()
        found.append((losses.value, [p.grad for p in model.parameters() if p.requires_grad]))
    (value, gradients), (kept_value, kept_gradients) = found
    assert torch.equal(value, kept_value)
    for mine, theirs in zip(gradients, kept_gradients, strict=True):
        torch.testing.assert_close(mine, theirs)
    torch.manual_seed(5)
    assert not torch.equal(model.per_query_loss(batch).value, value)  # dropout is on


@pytest.mark.parametrize("name", SIZES)
def test_a_chunk_has_at_least_one_row(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0"):
        small_model(**{name: 0})


@pytest.mark.parametrize("accumulated", [1, 3])
def test_a_fit_has_the_same_weights(tmp_path: Path, accumulated: int) -> None:
    sgd = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05}}
    ends = []
    for sizes in ({}, SIZES):
        data = small_data(tmp_path)  # it counts epochs
        model = built(data, 0.0, optimizer=sgd, **sizes)
        start = {name: value.clone() for name, value in model.state_dict().items()}
        trainer = small_trainer(
            tmp_path, accumulate_grad_batches=accumulated, limit_val_batches=0, gradient_clip_val=0.5
        )
        trainer.fit(model, data)
        ends.append({name: value - start[name] for name, value in model.state_dict().items() if name in start})
    assert sum(bool(value.abs().max() > 1e-3) for value in ends[0].values()) > 4
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-4, atol=1e-5)
