"""Callbacks of Lightning that users add: each works, or is refused in one line before training."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small import small_data, small_model, small_trainer
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    OnExceptionCheckpoint,
    RichModelSummary,
    RichProgressBar,
    StochasticWeightAveraging,
    Timer,
)
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.tuner import Tuner

from dssm_lightning import TwoTower
from dssm_lightning.data.negatives import Hard, Mixed, Uniform
from dssm_lightning.data.negatives.frequency import StreamingFrequency
from dssm_lightning.data.splits import RandomRows
from dssm_lightning.utils.errors import UserError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:You're using the WeightAveraging callback with a model that"),
    pytest.mark.filterwarnings("ignore:When using `Trainer\\(accumulate_grad_batches != 1\\)`"),
    pytest.mark.filterwarnings("ignore:`.fit\\(ckpt_path=None\\)` was called without a model"),
    pytest.mark.filterwarnings("ignore:.fit\\(ckpt_path=.last.\\) is set, but there is no last checkpoint"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
    pytest.mark.filterwarnings("ignore:.*Experiment logs directory .* exists and is not empty"),
]


def fit(folder: Path, *callbacks: Callback, model: TwoTower | None = None, **settings: Any) -> Trainer:
    checks = any(isinstance(each, ModelCheckpoint | OnExceptionCheckpoint) for each in callbacks)
    settings = {"max_epochs": 2, "enable_checkpointing": checks, "callbacks": list(callbacks), **settings}
    trainer = small_trainer(folder, **settings)
    trainer.fit(model or small_model(), datamodule=small_data(folder))
    return trainer


@pytest.mark.parametrize(
    ("make", "steps"),
    [
        (lambda folder: EarlyStopping("val/mrr", mode="max"), 14),
        (lambda folder: EarlyStopping("train/loss", mode="max", patience=1, min_delta=1e9), 14),
        (lambda folder: EMAWeightAveraging(decay=0.9), 14),
        (lambda folder: GradientAccumulationScheduler({0: 1, 1: 2}), 11),
        (lambda folder: ModelCheckpoint(folder, monitor="val/mrr", save_top_k=2), 14),
        (lambda folder: ModelCheckpoint(folder, monitor="step", mode="max"), 14),
        (lambda folder: OnExceptionCheckpoint(folder), 14),
        (lambda folder: RichModelSummary(), 14),
        (lambda folder: Timer(timedelta(hours=1)), 14),
        (lambda folder: Timer(timedelta(0)), 0),
    ],
    ids=["stop", "stop-train", "ema", "accumulate", "best", "newest", "exception", "summary", "timer", "time-up"],
)
def test_a_callback_works(tmp_path: Path, make: Any, steps: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(tmp_path, make(tmp_path)).global_step == steps
    capsys.readouterr()


def test_a_progress_bar_and_the_learning_rate_work(tmp_path: Path) -> None:
    trainer = fit(
        tmp_path, RichProgressBar(), LearningRateMonitor(), enable_progress_bar=True, logger=CSVLogger(tmp_path)
    )
    assert trainer.callback_metrics["lr-Adam"] == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (EarlyStopping("val_loss"), r"EarlyStopping: monitor 'val_loss'.*train/loss.*val/mrr"),
        (ModelCheckpoint(monitor="val/mmr"), r"ModelCheckpoint: monitor 'val/mmr'.*did you mean 'val/mrr'"),
    ],
    ids=["stop", "best"],
)
def test_a_metric_that_is_never_logged_is_refused(tmp_path: Path, callback: Callback, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fit(tmp_path, callback)


class OwnMetric(Callback):
    """A user's callback that logs a metric of its own."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        pl_module.log("mine/steps", float(trainer.global_step))


def test_a_metric_of_a_users_callback_may_be_monitored(tmp_path: Path) -> None:
    assert fit(tmp_path, OwnMetric(), EarlyStopping("mine/steps", mode="max")).global_step == 14


def test_early_stopping_by_a_validation_that_does_not_happen_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"EarlyStopping: monitor 'val/mrr'.*limit_val_batches"):
        fit(tmp_path, EarlyStopping("val/mrr"), limit_val_batches=0)


def test_an_average_that_is_not_saved_causes_a_warning(tmp_path: Path) -> None:
    with pytest.warns(match=r"StochasticWeightAveraging.*AveragedWeights"):
        fit(tmp_path, StochasticWeightAveraging(swa_lrs=0.01))


def test_an_error_of_the_data_is_shown_although_a_checkpoint_is_saved_at_errors(tmp_path: Path) -> None:
    trainer = small_trainer(tmp_path, callbacks=[OnExceptionCheckpoint(tmp_path)], enable_checkpointing=True)
    with pytest.raises(UserError, match="RandomRows leaves no test rows"):
        trainer.fit(small_model(), datamodule=small_data(tmp_path, split=RandomRows(test=1e-9)))


# -- tuners -----------------------------------------------------------------------------------------------------------


def learning(folder: Path, *callbacks: Callback, lr: float = 0.02, batch_size: int = 32) -> tuple[TwoTower, Trainer]:
    """Train a model whose negatives, memory and frequencies learn on the way."""
    torch.manual_seed(5)
    optimizer = {"class_path": "torch.optim.Adam", "init_args": {"lr": lr}}
    model = small_model(optimizer=optimizer, memory_size=100)
    negatives = Mixed([Uniform(3), Hard(2, (0, 10), per_row=False)])
    data = small_data(folder, batch_size=batch_size, negatives=negatives, frequency=StreamingFrequency())
    trainer = small_trainer(folder, max_epochs=3, callbacks=list(callbacks))
    trainer.fit(model, datamodule=data)
    return model, trainer


def assert_same(one: TwoTower, other: TwoTower) -> None:
    for name, value in one.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def test_a_learning_rate_is_found_and_leaves_no_other_trace(tmp_path: Path) -> None:
    found, trainer = learning(tmp_path, LearningRateFinder(num_training_steps=21))
    assert found.lr is not None
    assert found.lr != 0.02
    assert trainer.optimizers[0].param_groups[0]["lr"] == found.lr
    assert_same(found, learning(tmp_path, lr=found.lr)[0])


def test_a_batch_size_is_found_and_leaves_no_other_trace(tmp_path: Path) -> None:
    found, trainer = learning(tmp_path, BatchSizeFinder(max_trials=2, init_val=8))
    assert trainer.datamodule.batch_size == 16  # type: ignore[attr-defined]  # Lightning sets it without a type
    assert_same(found, learning(tmp_path, batch_size=16)[0])


def test_a_warm_start_happens_after_a_batch_size_is_found(tmp_path: Path) -> None:
    first = small_trainer(tmp_path)
    first.fit(small_model(), datamodule=small_data(tmp_path))
    first.save_checkpoint(tmp_path / "first.ckpt")
    model = small_model(warm_start=str(tmp_path / "first.ckpt"))
    fit(tmp_path, BatchSizeFinder(max_trials=1, init_val=8), model=model, max_steps=0)
    expected = torch.load(tmp_path / "first.ckpt", weights_only=True)["state_dict"]
    for name, value in model.state_dict().items():
        assert torch.equal(expected[name], value), name


def test_a_tuner_sets_the_learning_rate_of_the_next_fit(tmp_path: Path) -> None:
    model, data, trainer = small_model(), small_data(tmp_path), small_trainer(tmp_path, max_epochs=8)
    result = Tuner(trainer).lr_find(model, datamodule=data, num_training=40)
    assert result is not None
    assert model.lr == result.suggestion() is not None
    trainer.fit(model, datamodule=data)
    assert trainer.optimizers[0].param_groups[0]["lr"] == model.lr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr_scheduler": {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 1}}}, "sched"),
        ({"warm_start": "other.ckpt"}, "warm_start"),
    ],
    ids=["schedule", "warm start"],
)
def test_no_learning_rate_is_found_for(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"LearningRateFinder: .*{message}"):
        fit(tmp_path, LearningRateFinder(), model=small_model(**changes))


@pytest.mark.filterwarnings("ignore:the optimizer of the checkpoint continues")
@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_resumed_fit_keeps_what_tuners_found(tmp_path: Path) -> None:
    def run(folder: Path, epochs: int, ckpt_path: Path | None = None) -> TwoTower:
        tuners = [LearningRateFinder(num_training_steps=60), BatchSizeFinder(max_trials=2, init_val=4)]
        callbacks = [*tuners, ModelCheckpoint(folder, "{epoch}", monitor=None, save_top_k=-1)]
        trainer = small_trainer(folder, max_epochs=epochs, callbacks=callbacks, enable_checkpointing=True)
        model, data = small_model(), small_data(tmp_path)
        trainer.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        assert data.batch_size == 8
        assert trainer.global_step == epochs * 30  # 240 rows, 8 at once
        return model

    torch.manual_seed(1)
    whole = run(tmp_path / "whole", 3)
    assert_same(whole, run(tmp_path / "resumed", 3, tmp_path / "whole" / "epoch=1.ckpt"))
