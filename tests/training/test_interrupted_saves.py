"""An interrupt where the state of the fit is that of no step leaves ``last.ckpt`` as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.resuming import Stop, assert_same_training, checkpoints, content, fit
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

pytestmark = [
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty"),
]


class StopInUpdate(Callback):
    """Interrupts a step when the optimizer has changed the weights and Lightning has not counted the step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        def stop(*_: Any) -> None:
            if trainer.global_step == self.step:
                raise Stop

        trainer.optimizers[0].register_step_post_hook(stop)


@pytest.fixture(autouse=True)
def _in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")


def test_half_a_step_is_not_saved() -> None:
    fit("whole", max_epochs=2)
    with pytest.raises(Stop):
        fit("half", StopInUpdate(5), every=2, max_epochs=2)
    last = checkpoints("half") / "last.ckpt"
    assert content(last)["global_step"] == 4
    fit("half", ckpt_path=last, max_epochs=2)
    assert_same_training(checkpoints("whole") / "last.ckpt", last)


def test_a_fit_that_is_interrupted_while_it_resumes_saves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and the number of steps are restored, and the state of the optimizer is not."""
    fit("resumed", max_epochs=1)
    last = checkpoints("resumed") / "last.ckpt"
    before = last.read_bytes()

    def stop(*_: Any) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "load_state_dict", stop)
        with pytest.raises(Stop):
            fit("resumed", ckpt_path=last, max_epochs=2)
    assert last.read_bytes() == before
