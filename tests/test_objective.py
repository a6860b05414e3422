"""What may count as a negative, in one process."""

from __future__ import annotations

import torch
from torch import nn

from dssm_lightning.batch import Batch, Candidates, Ragged
from dssm_lightning.distributed import Pool
from dssm_lightning.losses import SampledSoftmax
from dssm_lightning.losses.valid import valid_columns
from dssm_lightning.objective import per_query_loss
from dssm_lightning.scorers import Dot


def test_valid_columns_by_hand() -> None:
    ids = torch.tensor([3, 5, 8, 9])  # corpus rows of the columns
    known = Ragged(torch.tensor([5, 8, 7, 9]), torch.tensor([0, 3, 3, 4]))  # 7 is no column
    valid = valid_columns(torch.tensor([1, 0, 2]), None, known, ids)
    assert valid.tolist() == [
        [True, True, False, True],  # 8 is known, 5 is known but the target
        [True, True, True, True],
        [True, True, True, False],
    ]


def test_a_rows_own_negatives_are_its_only_ones() -> None:
    negatives = torch.tensor([[2, -1], [0, 3]])
    valid = valid_columns(torch.tensor([1, 1]), negatives, None, torch.arange(4))
    assert valid.tolist() == [[False, True, True, False], [True, True, False, True]]


def batch_of(target: list[int], num_candidates: int, known: Ragged | None = None) -> Batch:
    ids = torch.arange(num_candidates)
    count = torch.bincount(torch.tensor(target), minlength=num_candidates).float()
    candidates = Candidates({}, ids, count, torch.zeros(num_candidates))
    rows = torch.arange(len(target))
    return Batch({}, candidates, torch.tensor(target), None, known, None, None, rows)


def test_a_candidate_that_occurs_twice_is_no_negative_of_itself() -> None:
    """Rows 0 and 1 own candidate 0; the naive in-batch softmax would hold its second column against both."""
    query, candidate = torch.randn(3, 4), torch.randn(2, 4)
    batch = batch_of([0, 0, 1], 2)
    pool = Pool(candidate, *batch.candidates[1:])
    losses = per_query_loss(batch, query, pool, Dot(), SampledSoftmax(), gather=False, chunk_size=None)
    expected = nn.functional.cross_entropy(query @ candidate.T, torch.tensor([0, 0, 1]), reduction="none")
    torch.testing.assert_close(losses, expected)


def test_chunks_give_the_same_losses_and_gradients() -> None:
    known = Ragged(torch.tensor([1, 2, 0, 3, 3]), torch.tensor([0, 2, 3, 3, 4, 5]))
    batch = batch_of([0, 2, 3, 1, 0], 5, known)
    results = []
    for chunk_size in (None, 2):
        query = torch.linspace(-1, 1, 20).reshape(5, 4).requires_grad_()
        candidate = torch.linspace(2, -1, 20).reshape(5, 4).sin().requires_grad_()
        pool = Pool(candidate, *batch.candidates[1:])
        losses = per_query_loss(batch, query, pool, Dot(), SampledSoftmax(), gather=False, chunk_size=chunk_size)
        losses.mean().backward()
        results.append((losses.detach(), query.grad, candidate.grad))
    for whole, chunked in zip(*results, strict=True):
        torch.testing.assert_close(whole, chunked)


def test_symmetric_loss_by_a_loop() -> None:
    known = Ragged(torch.tensor([1]), torch.tensor([0, 1, 1, 1, 1]))  # query 0 also likes candidate 1
    target = [0, 1, 2, 2]
    batch = batch_of(target, 3, known)
    query, candidate = torch.randn(4, 4), torch.randn(3, 4)
    pool = Pool(candidate, *batch.candidates[1:])
    losses = per_query_loss(batch, query, pool, Dot(), SampledSoftmax(symmetric=True), gather=False, chunk_size=None)
    scores = (query @ candidate.T).tolist()
    likes = {(0, 0), (0, 1), (1, 1), (2, 2), (3, 2)}
    for i, own in enumerate(target):
        forward = [scores[i][j] for j in range(3) if j == own or (i, j) not in likes]
        backward = [scores[j][own] for j in range(4) if j == i or (j, own) not in likes]
        parts = [torch.tensor(row).logsumexp(0) - scores[i][own] for row in (forward, backward)]
        torch.testing.assert_close(losses[i], (parts[0] + parts[1]) / 2)
