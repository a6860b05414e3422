"""A fit stops when its monitored metric stops getting better, and a resumed fit stops where a whole one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.resuming import Stop, StopAt, assert_same_training
from helpers.small import small_data, small_model, small_trainer
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping

from dssm_lightning import TwoTower
from dssm_lightning.data.splits import PerQuery
from dssm_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from dssm_lightning.training.callbacks.last_checkpoint import LastCheckpoint
from dssm_lightning.utils.errors import UserError

VALUES = [0.1, 0.5, 0.3, 0.5, 0.4, 0.9, 0.2, 0.2]  # an equal value is no better one


class Given(Callback):
    """Logs a given value for each validation."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("val/mrr", VALUES[trainer.current_epoch])


def fit(place: Path, patience: int | None, *more: Callback, resume: bool = False, **settings: Any) -> Trainer:
    torch.manual_seed(3)
    data = small_data(place, **({} if "split" not in settings else {"split": settings.pop("split")}))
    callbacks = [Given(), *more, BestCheckpoint("val/mrr", patience=patience), LastCheckpoint()]
    own = {"max_epochs": 8, "enable_checkpointing": True, "callbacks": callbacks, "default_root_dir": place, **settings}
    last = place / "checkpoints" / "last.ckpt" if resume else None
    trainer = small_trainer(place, **own)
    trainer.fit(small_model(), datamodule=data, ckpt_path=last, weights_only=True)
    return trainer


@pytest.fixture
def _given_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TwoTower, "_log_metrics", lambda self, stage: self.evaluations[stage].reset())
    monkeypatch.setattr(BestCheckpoint, "on_fit_start", lambda *_: None)


@pytest.mark.usefixtures("_given_metrics")
@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (3, 5), (4, 8), (None, 8)])
def test_it_stops_after_validations_that_are_not_better(tmp_path: Path, patience: int | None, epochs: int) -> None:
    trainer = fit(tmp_path, patience)
    assert trainer.current_epoch == epochs
    assert float(trainer.checkpoint_callback.best_model_score) == pytest.approx(max(VALUES[:epochs]))


@pytest.mark.usefixtures("_given_metrics")
@pytest.mark.parametrize("hook", ["on_validation_start", "on_validation_end", "on_train_epoch_end"])
@pytest.mark.filterwarnings("ignore:.*exists and is not empty", "ignore:You're resuming from a checkpoint")
def test_a_resumed_fit_counts_on_and_stops_where_a_whole_one_does(tmp_path: Path, hook: str) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    fit(whole, 3)
    with pytest.raises(Stop):
        fit(parts, 3, StopAt(hook, 4))
    assert fit(parts, 3, resume=True).current_epoch == 5
    assert_same_training(whole / "checkpoints/last.ckpt", parts / "checkpoints/last.ckpt")


@pytest.mark.usefixtures("_given_metrics")
@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
def test_a_fit_that_has_stopped_trains_on_with_more_patience_only(tmp_path: Path) -> None:
    assert fit(tmp_path, 1).current_epoch == 3
    before = (tmp_path / "checkpoints/last.ckpt").read_bytes()
    assert fit(tmp_path, 1, resume=True).current_epoch == 3
    assert (tmp_path / "checkpoints/last.ckpt").read_bytes() == before
    assert fit(tmp_path, 4, resume=True).current_epoch == 8


@pytest.mark.filterwarnings("ignore:Total length of `ShardedBatches` across ranks is zero")
def test_without_validation_rows_nothing_stops_it(tmp_path: Path) -> None:
    trainer = fit(tmp_path, 1, max_epochs=3, split=PerQuery(test=0.2, validation=0.0))
    assert trainer.current_epoch == 3


def test_two_ways_to_stop_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoint\.patience is 2.*EarlyStopping"):
        fit(tmp_path, 2, EarlyStopping("val/mrr"))


@pytest.mark.parametrize("patience", [0, -1, 2.5, True])
def test_a_patience_that_is_no_number_of_validations(patience: Any) -> None:
    with pytest.raises(UserError, match=rf"patience is {patience}"):
        BestCheckpoint("val/mrr", patience=patience)


def test_a_patience_without_a_metric() -> None:
    with pytest.raises(UserError, match=r"patience is 3.*checkpoint\.monitor"):
        BestCheckpoint(patience=3)
