"""bf16-mixed and clipped gradients: finite, and close to float32, for every loss."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.chunks import LOSSES
from helpers.paths import EVERY_KIND
from helpers.small import TOWER, small_data, small_model, small_trainer
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from dssm_lightning import TwoTower
from dssm_lightning.cli.main import main
from dssm_lightning.losses import Loss

CLIP = 0.3
CHUNKED = [LOSSES[0], LOSSES[7], LOSSES[-1]]  # pairwise, pointwise, symmetric
SHORT = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=3", "--trainer.limit_val_batches=1"]


class Watch(Callback):
    """Keeps losses, norms of clipped gradients, and the types of the inputs of scorer and loss."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.types: set[torch.dtype] = set()

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.loss.register_forward_hook(self.see)
        pl_module.scorer.register_forward_hook(lambda scorer, inputs, logits: self.types.update(_types(inputs)))

    def see(self, loss: Loss, inputs: Any, value: Tensor) -> None:
        self.types |= {inputs[0].logits.dtype, value.dtype}

    def on_before_zero_grad(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        gradients = [p.grad.to_dense() for p in pl_module.parameters() if p.grad is not None]
        if gradients:  # none before the first step
            self.norms.append(float(torch.nn.utils.get_total_norm(gradients)))

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(float(outputs["loss"]))


def _types(inputs: tuple[Tensor, ...]) -> set[torch.dtype]:
    return {tensor.dtype for tensor in inputs if tensor.is_floating_point()}


def fitted(folder: Path, loss: Loss, precision: str, **sizes: int) -> tuple[Watch, TwoTower]:
    tower = {**TOWER, "init_args": {**TOWER["init_args"], "hidden_dims": [24]}}
    torch.manual_seed(3)
    learnt = {"class_path": "dssm_lightning.models.scorers.Dot", "init_args": {"logit_scale": 5, "learnable": True}}
    sgd = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
    model = small_model(
        loss=partial(copy.deepcopy, loss),
        query_tower=tower,
        candidate_tower=tower,
        scorer=learnt,
        optimizer=sgd,
        **sizes,
    )
    data, watch = small_data(folder), Watch()
    model.build(data.schemas)
    trainer = small_trainer(
        folder,
        precision=precision,
        gradient_clip_val=CLIP,
        callbacks=[watch],
        limit_train_batches=5,
        limit_val_batches=1,
    )
    trainer.fit(model, data)
    assert len(watch.losses) == 5
    return watch, model


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_half_precision_is_finite_and_close(tmp_path: Path, loss: Loss) -> None:
    exact, _ = fitted(tmp_path, loss, "32-true")
    for sizes in ({}, {"encode_chunk_size": 7, "score_chunk_size": 9}) if loss in CHUNKED else ({},):
        half, model = fitted(tmp_path, loss, "bf16-mixed", **sizes)
        assert half.types == {torch.float32}  # in bf16, 20,000 scores would have 2,000 values
        assert half.losses == pytest.approx(exact.losses, rel=0.05)
        assert half.losses != exact.losses  # bf16 was in use
        assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    assert max(exact.norms + half.norms) < CLIP * 1.001


@pytest.mark.slow
def test_every_kind_of_feature_and_encoder_trains_in_half_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ends = {}
    for precision in ("32-true", "bf16-mixed"):
        cli = main(["fit", "--config", str(EVERY_KIND), *SHORT, f"--trainer.precision={precision}"])
        ends[precision] = float(cli.trainer.callback_metrics["train/loss"])
        parameters = list(cli.model.parameters())
        assert all(p.dtype == torch.float32 and torch.isfinite(p).all() for p in parameters)
    assert ends["bf16-mixed"] == pytest.approx(ends["32-true"], rel=0.05)
