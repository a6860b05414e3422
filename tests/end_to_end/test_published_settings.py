"""Settings of the configs that repeat a published model, against the formula that was published."""

from __future__ import annotations

import pytest
import torch
import yaml
from helpers.paths import CONFIGS

from dssm_lightning.api import load_data


def test_the_weight_decay_of_the_triplet_config_is_the_penalty_of_keras() -> None:
    """Keras adds 1e-6 · Σ w² to the loss; a weight decay adds decay · w to the gradient."""
    model = yaml.safe_load((CONFIGS / "movielens-100k-triplet.yaml").read_text(encoding="utf-8"))["model"]
    decay = model["optimizer"]["init_args"]["weight_decay"]
    weight = torch.tensor([3.0, -0.5], dtype=torch.float64, requires_grad=True)
    (1e-6 * weight.square().sum()).backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, decay * weight.detach())


def test_every_feature_of_the_factorisation_machine_has_a_weight_and_64_factors() -> None:
    config = CONFIGS / "movielens-100k-fm.yaml"
    model, data = yaml.safe_load(config.read_text(encoding="utf-8"))["model"], load_data([config])
    for side, features in (("query", data.recipe.query.features), ("candidate", data.recipe.candidate.features)):
        encoders = model[f"{side}_tower"]["init_args"]["encoders"]
        assert {name: each["init_args"]["output_dim"] for name, each in encoders.items()} == {
            feature.name: 1 + 64 for feature in features
        }


@pytest.mark.parametrize("side", ["query", "candidate"])
def test_both_towers_of_the_factorisation_machine_are_plain(side: str) -> None:
    """A hidden layer or a normalised vector would make it another model."""
    config = yaml.safe_load((CONFIGS / "movielens-100k-fm.yaml").read_text(encoding="utf-8"))
    settings = config["model"][f"{side}_tower"]["init_args"]
    assert settings["fusion"] == {"class_path": "FMScore", "init_args": {"side": side}}
    assert settings["normalize"] is False
    assert not {"hidden_dims", "output_dim", "bias"} & set(settings)
