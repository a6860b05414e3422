"""The valid negatives of a query, and the loss of each query, in one process."""

from __future__ import annotations

import pytest
import torch
from helpers.case_names import named
from torch import Tensor, nn

from dssm_lightning.data.batch import Batch, Candidates
from dssm_lightning.losses import (
    BPR,
    GBCE,
    WARP,
    BinaryCrossEntropy,
    CosineEmbedding,
    HardestNegative,
    Loss,
    SampledSoftmax,
    Scores,
    SigLIP,
    TripletMargin,
)
from dssm_lightning.losses.masks import own_columns, valid_columns
from dssm_lightning.models.scorers import Dot, MLPScorer, Scorer
from dssm_lightning.training.candidate_pool import Pool
from dssm_lightning.training.cross_batch_memory import Memory
from dssm_lightning.training.objective import describe_negatives, per_query_loss
from dssm_lightning.utils.ragged import Ragged


def test_valid_columns_by_hand() -> None:
    ids = torch.tensor([3, 5, 8, 9])  # corpus rows of the columns
    known = Ragged(torch.tensor([5, 8, 7, 9]), torch.tensor([0, 3, 3, 4]))  # 7 is no column
    valid = valid_columns(torch.tensor([1, 0, 2]), None, known, ids)
    assert valid.tolist() == [
        [True, True, False, True],  # 8 is known, 5 is known but the target
        [True, True, True, True],
        [True, True, True, False],
    ]


def test_a_row_with_own_negatives_has_no_others() -> None:
    negatives = torch.tensor([[2, -1], [0, 3]])
    valid = valid_columns(torch.tensor([1, 1]), negatives, None, torch.arange(4))
    assert valid.tolist() == [[False, True, True, False], [True, True, False, True]]


@pytest.mark.parametrize(
    "loss",
    [
        SampledSoftmax(),
        SampledSoftmax("count"),
        SampledSoftmax("refined"),
        BPR(),
        WARP(),
        HardestNegative(2),
        BinaryCrossEntropy(),
        SigLIP(),
    ],
    ids=named,
)
@pytest.mark.parametrize("C", [1, 4])
def test_without_a_mask_an_expanded_value_and_a_full_matrix_are_equal(loss: Loss, C: int) -> None:
    """``valid`` is then one expanded value: losses may skip it, with the result of the full matrix."""
    target = torch.tensor([0, C - 1, C // 2])
    expanded = valid_columns(target, None, None, torch.arange(C))
    assert expanded.shape == (3, C)
    assert expanded.all()
    whole = expanded.contiguous()
    results = []
    for valid in (expanded, whole):
        logits = torch.linspace(-2, 2, 3 * C).sin().reshape(3, C).requires_grad_()
        scores = Scores(logits, target, valid, torch.ones(C), torch.zeros(C), None)
        assert scores.all_valid == (valid is expanded)
        assert scores.has_negative.tolist() == [C > 1] * 3
        torch.manual_seed(0)
        value = loss(scores)
        results.append((value, torch.autograd.grad(value.sum(), logits)[0]))
    for one, many in zip(*results, strict=True):
        assert torch.equal(one, many)


def batch_of(target: list[int], num_candidates: int, known: Ragged | None = None) -> Batch:
    ids = torch.arange(num_candidates)
    count = torch.bincount(torch.tensor(target), minlength=num_candidates).float()
    candidates = Candidates({}, ids, count, torch.zeros(num_candidates))
    rows = torch.arange(len(target))
    return Batch({}, candidates, torch.tensor(target), None, known, None, None, rows, num_candidates)


def test_a_repeated_candidate_is_no_negative_of_itself() -> None:
    """Rows 0 and 1 own candidate 0; in a naive in-batch softmax its second column is a negative of both."""
    query, candidate = torch.randn(3, 4), torch.randn(2, 4)
    batch = batch_of([0, 0, 1], 2)
    pool = Pool(candidate, *batch.candidates[1:])
    losses = per_query_loss(batch, query, pool, Dot(), SampledSoftmax(), gather=False, chunk_size=None).value
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
        losses.total.backward()
        results.append((losses.value.detach(), query.grad, candidate.grad))
    for whole, chunked in zip(*results, strict=True):
        torch.testing.assert_close(whole, chunked)


def test_symmetric_loss_by_a_loop() -> None:
    known = Ragged(torch.tensor([1]), torch.tensor([0, 1, 1, 1, 1]))  # query 0 also likes candidate 1
    target = [0, 1, 2, 2]
    batch = batch_of(target, 3, known)
    query, candidate = torch.randn(4, 4), torch.randn(3, 4)
    pool = Pool(candidate, *batch.candidates[1:])
    losses = per_query_loss(
        batch, query, pool, Dot(), SampledSoftmax(symmetric=True), gather=False, chunk_size=None
    ).value
    scores = (query @ candidate.T).tolist()
    likes = {(0, 0), (0, 1), (1, 1), (2, 2), (3, 2)}
    for i, own in enumerate(target):
        forward = [scores[i][j] for j in range(3) if j == own or (i, j) not in likes]
        backward = [scores[j][own] for j in range(4) if j == i or (j, own) not in likes]
        parts = [torch.tensor(row).logsumexp(0) - scores[i][own] for row in (forward, backward)]
        torch.testing.assert_close(losses[i], (parts[0] + parts[1]) / 2)


# -- a row's own negatives ---------------------------------------------------------------------------------------------


def test_own_columns_by_hand() -> None:
    columns, new = own_columns(torch.tensor([4, 0]), torch.tensor([[2, 4, 2], [-1, 3, 1]]))
    assert columns.tolist() == [[4, 2, 4, 2], [0, 0, 3, 1]]
    assert new.tolist() == [[True, True, False, False], [True, False, True, True]]


NEGATIVES = torch.tensor([[1, 2, 2, 4], [0, -1, 3, 5], [-1, -1, -1, -1], [4, 0, 3, 1], [1, 5, 5, 1]])
KNOWN = Ragged(torch.tensor([1, 2, 0, 3, 1, 5]), torch.tensor([0, 2, 3, 3, 4, 6]))  # leaves the last row no negative


@pytest.mark.parametrize("scorer", [Dot(3.0, learnable=True), MLPScorer(4, 4, [8]), MLPScorer(4, 4, [2**16], 0, 1)])
@pytest.mark.parametrize(
    "loss",
    [
        BPR(),
        TripletMargin(0.5),
        TripletMargin(0.5, "hardest"),
        TripletMargin(0.5, "semi_hard"),
        WARP(),
        HardestNegative(2),
        HardestNegative(9, margin=1.0),
        BinaryCrossEntropy(),
        GBCE(),
        CosineEmbedding(),
        SigLIP(),
        SampledSoftmax(),
        SampledSoftmax("count_log_q"),
        SampledSoftmax("inclusion"),
        SampledSoftmax("refined"),
    ],
    ids=named,
)
def test_scoring_only_own_columns_changes_neither_losses_nor_gradients(scorer: Scorer, loss: Loss) -> None:
    """Compared with scoring all columns, where only the own columns are valid."""
    torch.manual_seed(0)
    for parameter in scorer.parameters():
        if parameter.dim() > 1:  # independent of its initialization
            torch.nn.init.xavier_uniform_(parameter)
    negatives = NEGATIVES[:, :1] if isinstance(loss, WARP) else NEGATIVES  # WARP draws among several
    batch = batch_of([0, 2, 3, 1, 0], 6, KNOWN)._replace(
        negatives=negatives, label=torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0]) if loss.uses_labels else None
    )
    count, log_q = batch.candidates.count, torch.linspace(-3, -0.1, 6)
    query = torch.linspace(-1, 1, 20).reshape(5, 4).sin().requires_grad_()
    candidate = torch.linspace(5, -4, 24).reshape(6, 4).sin().requires_grad_()
    pool = Pool(candidate, batch.candidates.id, count, log_q)
    learnt = [query, candidate, *(p for part in (scorer, loss) for p in part.parameters() if p.requires_grad)]
    found = per_query_loss(batch, query, pool, scorer, loss, gather=False, chunk_size=None).value
    valid = valid_columns(batch.target, negatives, KNOWN, pool.id)
    wanted = loss(Scores(scorer(query, candidate), batch.target, valid, count, log_q, batch.label, num_candidates=6))
    torch.testing.assert_close(found, wanted)
    weight = torch.arange(1.0, 6.0)
    for mine, theirs in zip(
        torch.autograd.grad((found * weight).sum(), learnt, allow_unused=True),
        torch.autograd.grad((wanted * weight).sum(), learnt, allow_unused=True),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)  # float32, summed in another order


def test_a_scorer_without_pairs_gathers_them() -> None:
    class Distance(Scorer):
        def forward(self, query: Tensor, candidate: Tensor) -> Tensor:
            return -torch.cdist(query, candidate)

    query, candidate, columns = torch.randn(3, 4), torch.randn(5, 4), torch.tensor([[0, 4], [2, 2], [1, 3]])
    expected = [[-(query[i] - candidate[j]).norm() for j in row] for i, row in enumerate(columns)]
    torch.testing.assert_close(Distance().pairs(query, candidate, columns), torch.tensor(expected))


def test_only_own_pairs_go_through_the_scorer() -> None:
    """Five rows with four negatives are 25 pairs; five rows times six candidates would be 30."""
    scorer = MLPScorer(4, 4, [8])
    pairs: list[int] = []
    scorer.layers.register_forward_pre_hook(lambda module, inputs: pairs.append(inputs[0].numel() // 8))
    batch = batch_of([0, 2, 3, 1, 0], 6)._replace(negatives=NEGATIVES)
    pool = Pool(torch.randn(6, 4), *batch.candidates[1:])
    per_query_loss(batch, torch.randn(5, 4), pool, scorer, BPR(), gather=False, chunk_size=None)
    assert pairs == [25]


def test_how_many_negatives_a_query_has_by_hand() -> None:
    """One of four columns is the target; the first row has another known positive, and two draws, one twice."""
    ids = torch.tensor([3, 5, 8, 9])
    known = Ragged(torch.tensor([3, 8, 7]), torch.tensor([0, 2, 3]))
    candidates = Candidates({}, ids, torch.ones(4), torch.zeros(4))
    batch = Batch({}, candidates, torch.tensor([0, 1]), None, known, None, None, torch.arange(2))
    assert describe_negatives(batch, False) == "a query has 2.5 negatives on average in the first batch"  # 2 and 3
    own = batch._replace(known=None, negatives=torch.tensor([[1, 2, 2], [0, -1, -1]]))
    assert describe_negatives(own, False) == "a query has 1.5 negatives on average in the first batch"  # 2 and 1
    memory = Memory(10, 2)
    memory.hold(Pool(torch.zeros(3, 2), torch.tensor([1, 5, 20]), torch.ones(3), torch.zeros(3)))
    memory.commit()  # 1 and 20 are new columns
    assert describe_negatives(batch, True, memory) == "a query has 4.5 negatives on average in the first batch"
