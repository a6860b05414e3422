"""The order of the losses means nothing: values, learned weights and what an optimizer keeps belong to names."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from helpers.scores import random_scores

from dssm_lightning.losses import BPR, Loss, Objectives, SampledSoftmax, Scores
from dssm_lightning.utils.errors import UserError

LOSSES: dict[str, Callable[[], Loss]] = {"view": SampledSoftmax, "buy.now": BPR, "add": SampledSoftmax}
REORDERED = {name: LOSSES[name] for name in ("add", "view", "buy.now")}
LEARNED = {"view": 0.5, "buy.now": -1.0, "add": 2.0}


def batch() -> Scores:
    return random_scores()._replace(objectives={name: torch.rand(8).gt(0.4).float() for name in LOSSES})


def learned(losses: dict[str, Callable[[], Loss]]) -> Objectives:
    """Logarithms of the excess variance by name, which are no defaults."""
    loss = Objectives(losses, "learned")
    with torch.no_grad():
        for name, value in LEARNED.items():
            loss.get_parameter(f"log_variance_{name.replace('.', '/')}").fill_(value)
    return loss


def test_a_checkpoint_keeps_learned_weights_by_name() -> None:
    loss = Objectives(REORDERED, "learned")
    loss.load_state_dict(learned(LOSSES).state_dict())
    expected = {name: pytest.approx(1 / (torch.tensor(value).exp().item() + 0.01)) for name, value in LEARNED.items()}
    assert {name: weight.item() for name, weight in loss.learned_weights.items()} == expected


def test_another_order_has_the_same_bits() -> None:
    scores = batch()
    assert torch.equal(learned(LOSSES)(scores), learned(REORDERED)(scores))


def test_an_optimizer_goes_on_in_another_order() -> None:
    """Adam keeps two means for each parameter, by its place."""

    def steps(loss: Objectives, optimizer: torch.optim.Optimizer) -> list[float]:
        for _ in range(3):
            optimizer.zero_grad()
            loss(scores).sum().backward()
            optimizer.step()
        return [loss.learned_weights[name].item() for name in LOSSES]

    scores, loss, other = batch(), Objectives(LOSSES, "learned"), Objectives(REORDERED, "learned")
    optimizers = [torch.optim.Adam(each.parameters(), lr=0.1) for each in (loss, other)]
    steps(loss, optimizers[0])
    other.load_state_dict(loss.state_dict())
    optimizers[1].load_state_dict(deepcopy(optimizers[0].state_dict()))
    assert steps(other, optimizers[1]) == steps(loss, optimizers[0])


@pytest.mark.parametrize(
    ("losses", "weights", "message"),
    [
        ({"view": BPR}, "learned", "checkpoint has learned weights of add, buy.now, view, and this loss of view:"),
        ({**LOSSES, "like": BPR}, "learned", "of add, buy.now, view, and this loss of add, buy.now, like, view:"),
        (LOSSES, None, "checkpoint has learned weights of add, buy.now, view, and this loss of no objective:"),
    ],
)
def test_a_checkpoint_of_other_objectives_is_refused(losses: Any, weights: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Objectives(losses, weights).load_state_dict(learned(LOSSES).state_dict())


def test_a_checkpoint_without_learned_weights() -> None:
    state = Objectives(LOSSES).state_dict()
    with pytest.raises(RuntimeError, match=r"Missing key.*log_variance_add"):
        Objectives(LOSSES, "learned").load_state_dict(state)
    Objectives(LOSSES, "learned").load_state_dict(state, strict=False)
