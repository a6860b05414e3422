"""A loss or a scorer of a user is refused before the first step, if its result is not one number for each query."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.small import small_data, small_model, small_trainer
from torch import Tensor

from dssm_lightning.losses import Loss, Scores
from dssm_lightning.models.scorers import Scorer
from dssm_lightning.utils.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:Attribute .loss. removed from hparams")  # a local function


class Own(Loss):
    """Gives what a function makes of the logits of the targets (Q,)."""

    def __init__(self, change: Callable[[Tensor], Any], compares: bool = True) -> None:
        super().__init__()
        self.change, self.compares = change, compares  # type: ignore[misc]  # of this instance

    def forward(self, scores: Scores) -> Tensor:
        result: Tensor = self.change(-scores.positive.squeeze(1))
        return result


CASES = {
    "scalar": (lambda value: value.mean(), r"loss Own has shape \(\).*must have shape \(32,\)"),
    "column": (lambda value: value[:, None], r"loss Own has shape \(32, 1\)"),
    "matrix": (lambda value: value[:, None] - value, r"loss Own has shape \(32, 32\)"),
    "short": (lambda value: value[:1], r"loss Own has shape \(1,\)"),
    "empty": (lambda value: value[:0], r"loss Own has shape \(0,\)"),
    "whole numbers": (lambda value: value.long(), r"loss Own .*torch.int64"),
    "booleans": (lambda value: value > 0, r"loss Own .*torch.bool"),
    "float": (lambda value: 1.0, "loss Own is float"),
    "tuple": (lambda value: (value, value), "loss Own is tuple"),
    "nothing": (lambda value: None, "loss Own is NoneType"),
    "no gradient": (lambda value: value.detach(), "Own: the loss has no gradient"),
}


@pytest.mark.parametrize("chunk_size", [None, 5], ids=["whole", "chunks"])
@pytest.mark.parametrize("compares", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_a_loss_is_refused(tmp_path: Path, case: str, compares: bool, chunk_size: int | None) -> None:
    change, message = CASES[case]
    if chunk_size is not None:
        message = message.replace("32", "5")
        if case == "no gradient":
            pytest.skip("in chunks the sum always has one")
    model = small_model(loss=lambda: Own(change, compares), score_chunk_size=chunk_size)
    trainer = small_trainer(tmp_path, limit_val_batches=0)
    with pytest.raises(UserError, match=message):
        trainer.fit(model, datamodule=small_data(tmp_path))
    assert trainer.global_step == 0


def test_a_loss_in_another_precision_works(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, limit_val_batches=0)
    trainer.fit(small_model(loss=lambda: Own(lambda value: value.double())), datamodule=small_data(tmp_path))
    assert trainer.global_step == 7


class Turned(Scorer):
    """Gives the transposed logits."""

    indexable = True

    def forward(self, query: Tensor, candidate: Tensor) -> Tensor:
        return candidate @ query.T


def test_a_scorer_is_refused(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, limit_val_batches=0)
    with pytest.raises(UserError, match=r"scorer's logits has shape \(\d+, 32\).*must have shape \(32, \d+\)"):
        trainer.fit(small_model(scorer=Turned), datamodule=small_data(tmp_path))
