"""An embedding of zeros, such as that of one unknown id, has a gradient like any other where lengths are 1."""

from __future__ import annotations

import pytest
import torch

from dssm_lightning.features import Categorical
from dssm_lightning.features.schema import Schema
from dssm_lightning.losses import ELSA, Scores
from dssm_lightning.models.embedding_layout import EmbeddingLayout
from dssm_lightning.models.encoders import Embedding
from dssm_lightning.models.fusion import Concat
from dssm_lightning.models.tower import Tower


@pytest.mark.parametrize("num_heads", [1, 2])
def test_an_unknown_id_in_a_tower_without_layers(num_heads: int) -> None:
    schema = Schema((Categorical(name="city", vocabulary=("Bonn", "Rome")),))
    encoders = {"city": lambda feature: Embedding(feature, output_dim=4)}
    tower = Tower(schema, Concat, encoders=encoders, num_heads=num_heads)
    tower({"city": torch.tensor([0, 1])}).sum().backward()
    gradient = tower.encoders["city"].table.weight.grad
    assert gradient[0].tolist() == [1.0] * 4


def test_a_cut_of_zeros() -> None:
    embedding = torch.tensor([[0.0, 0.0, 0.6, 0.8]], requires_grad=True)
    EmbeddingLayout(width=4, heads=1, parts=1, normalize=True).cut(embedding, 2).sum().backward()
    assert embedding.grad is not None
    assert embedding.grad.tolist() == [[1.0, 1.0, 0.0, 0.0]]


def test_scores_of_zeros_in_a_loss_of_directions() -> None:
    logits, liked = torch.zeros(1, 3, requires_grad=True), torch.tensor([[True, False, False]])
    scores = Scores(logits, torch.tensor([0]), ~liked, torch.ones(3), torch.ones(3), None)
    ELSA()(scores._replace(liked=liked, own=torch.ones(3))).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[-2.0, 0.0, 0.0]]  # of (0 − 1)² + 0² + 0²
