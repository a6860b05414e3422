"""ELSA against the paper's matrices, by hand, and in a training step whose target is left out of the query."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.scores import make_scores
from helpers.small import small_data, small_model, small_trainer

from dssm_lightning.data.interactions import TRAIN
from dssm_lightning.data.negatives import Uniform
from dssm_lightning.features import Categorical, History
from dssm_lightning.losses import ELSA, Matryoshka, WeightedSum
from dssm_lightning.losses.base import Scores
from dssm_lightning.losses.masks import liked_columns
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.seeding import Counter


def liked_scores(logits: torch.Tensor, liked: torch.Tensor, target: list[int], own: torch.Tensor) -> Scores:
    return make_scores(logits, target, valid=~liked)._replace(liked=liked, own=own)


def test_by_hand() -> None:
    # p = (3, 5 − 1, 0), t = (1, 1, 0): 2 − 2 · 7 / (5 √2). The second query likes every column.
    liked = torch.tensor([[True, True, False], [True, True, True]])
    scores = liked_scores(torch.tensor([[3.0, 5.0, 0.0]] * 2), liked, [0, 0], torch.ones(3))
    torch.testing.assert_close(ELSA()(scores), torch.tensor([2 - 14 / (5 * 2**0.5), 0.0]))


def test_is_the_papers_matrix_with_the_target_left_out() -> None:
    """‖norm((x − e_j) A Aᵀ − (x − e_j)) − norm(x)‖² with rows of A of length 1."""
    generator = torch.Generator().manual_seed(3)
    A = F.normalize(torch.randn(9, 4, generator=generator), dim=1)
    x = (torch.rand(6, 9, generator=generator) < 0.5).float()
    x[:, [2, 7]], x[:, 5] = 1.0, 0.0  # each likes another candidate than the target, and not all
    left = x.clone()
    left[:, 2] = 0.0
    predicted = left @ A @ A.T - left
    expected = (predicted / predicted.norm(dim=1, keepdim=True) - x / x.norm(dim=1, keepdim=True)).square().sum(1)
    scores = liked_scores(left @ A @ A.T, x > 0, [2] * 6, (A * A).sum(1))
    torch.testing.assert_close(ELSA()(scores), expected)


def test_a_query_without_other_likes_moves_nothing() -> None:
    query, candidate = torch.zeros(1, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    liked = torch.tensor([[True, False, False, False]])
    value = ELSA()(liked_scores(query @ candidate.T, liked, [0], candidate.square().sum(1)))
    value.sum().backward()
    assert value.tolist() == [1.0]  # no direction: as far as orthogonal ones without their own length
    assert candidate.grad is not None
    assert torch.equal(candidate.grad, torch.zeros(4, 3))


def linear_model(**changes: Any) -> Any:
    encoders = {"history": {"class_path": "EmbeddingBag", "init_args": {"output_dim": 8, "pooling": "sum"}}}
    table = {"candidate_id": {"class_path": "Embedding", "init_args": {"output_dim": 8}}}
    towers = {
        f"{side}_tower": {
            "class_path": "Tower",
            "init_args": {"fusion": "Concat", "normalize": False, "encoders": part},
        }
        for side, part in (("query", encoders), ("candidate", table))
    }
    settings = {**towers, "tied_embeddings": {"history": "candidate_id"}, "loss": ELSA, **changes}
    return small_model(**settings)


def linear_data(folder: Path, **changes: Any) -> Any:
    settings = {
        "query": [History(name="history", of="candidate_id")],
        "candidate": [Categorical(name="candidate_id")],
        "negatives": Uniform(num_negatives=30),
    }
    return small_data(folder / "cache", **(settings | changes))


def step(data: Any, model: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The losses of 16 rows, their queries' likes without the target and with it (16, N), and the batch's columns."""
    data.prepare_data()
    data.setup("fit")
    torch.manual_seed(0)
    model.build(data.schemas)
    interactions = data.data.interactions
    rows = interactions.rows(TRAIN)
    x = torch.zeros(len(data.data.queries), data.num_candidates)
    x[interactions.query[rows], interactions.candidate[rows]] = 1.0
    batch = data.assembler.batch(rows[:16], Counter(0))
    likes = x[interactions.query[rows[:16]]]
    left = likes.clone()
    left[torch.arange(16), interactions.candidate[rows[:16]]] = 0.0
    return model.per_query_loss(batch).value, left, likes, batch.candidates.id


def distance(predicted: torch.Tensor, likes: torch.Tensor) -> torch.Tensor:
    return (F.normalize(predicted) - F.normalize(likes)).square().sum(1)


@pytest.mark.parametrize("chunk_size", [None, 5], ids=["whole", "chunks"])
def test_a_step_is_the_paper_on_the_columns_of_the_batch(tmp_path: Path, chunk_size: int | None) -> None:
    data, model = linear_data(tmp_path), linear_model(score_chunk_size=chunk_size)
    found, left, likes, columns = step(data, model)
    with torch.no_grad():
        A = model.encode_candidate(data.data.candidate)  # (N, 8)
    predicted = (left @ A @ A.T - left * A.square().sum(1))[:, columns]
    torch.testing.assert_close(found, distance(predicted, likes[:, columns]), rtol=1e-5, atol=1e-5)


def test_biases_and_codes_of_one_side_are_no_part_of_a_candidates_own_length(tmp_path: Path) -> None:
    features = {
        "query": [History(name="history", of="candidate_id"), History(name="liked", of="candidate_id")],
        "candidate": [Categorical(name="candidate_id"), Categorical(name="code", column="candidate_id")],
    }
    data = linear_data(tmp_path, **features)
    unseen = {"class_path": "Codes", "init_args": {"output_dim": 16, "while_training": False}}
    seen = {"class_path": "Codes", "init_args": {"output_dim": 16}}
    settings = (
        ("history", "EmbeddingBag", {"pooling": "sum"}, "liked", unseen),
        ("candidate_id", "Embedding", {}, "code", seen),
    )
    towers = {}
    for side, (name, encoder, more, codes, kept) in zip(("query", "candidate"), settings, strict=True):
        encoders = {name: {"class_path": encoder, "init_args": {"output_dim": 8, **more}}, codes: kept}
        arguments = {"fusion": "Concat", "normalize": False, "bias": True, "bypass": [codes], "encoders": encoders}
        towers[f"{side}_tower"] = {"class_path": "Tower", "init_args": arguments}
    model = linear_model(**towers)
    found, left, likes, columns = step(data, model)
    with torch.no_grad():
        A = model.candidate_tower.encoders["candidate_id"](data.data.candidate["candidate_id"])
        biases = model.query_tower.bias(left @ A) + model.candidate_tower.bias(A).T
    predicted = (left @ A @ A.T + biases - left * A.square().sum(1))[:, columns]
    torch.testing.assert_close(found, distance(predicted, likes[:, columns]), rtol=1e-5, atol=1e-5)


def test_it_learns_what_goes_together(tmp_path: Path) -> None:
    module, data = linear_model(), linear_data(tmp_path, batch_by="query", rows_per_query=1)
    trainer = small_trainer(tmp_path, max_epochs=30)
    trainer.fit(module, datamodule=data)
    assert trainer.callback_metrics["train/loss"] < 1.0  # 2 − 2 cos: a cosine of scores and likes above one half


def test_own_negatives_are_refused() -> None:
    with pytest.raises(UserError, match="columns that queries share"):
        liked_columns(torch.tensor([0]), torch.tensor([[1]]), None, torch.tensor([3, 4]))


def test_unknown_likes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ELSA learns from all likes"):
        small_trainer(tmp_path).fit(linear_model(), datamodule=linear_data(tmp_path, mask_known=False))


def test_around_it() -> None:
    assert WeightedSum([ELSA]).uses_likes
    with pytest.raises(UserError, match="ELSA, which reads whole embeddings"):
        Matryoshka(ELSA, [4, 8])
