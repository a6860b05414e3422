"""Settings of Lightning's trainer: each works, and those that must not change training do not, or is one line."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.paths import TESTS
from helpers.small import small_data, small_model, small_trainer
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from dssm_lightning.api import load_datamodule, load_untrained
from dssm_lightning.training.callbacks import BestCheckpoint, LastCheckpoint
from dssm_lightning.utils.errors import UserError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:You requested to overfit but enabled"),
    pytest.mark.filterwarnings("ignore:.*could not find the monitored key"),
    pytest.mark.filterwarnings("ignore:You are trying to `self.log\\(\\)` but `Trainer\\(barebones=True\\)`"),
]


def fit(folder: Path, **settings: Any) -> tuple[dict[str, Tensor], Trainer]:
    """Train two epochs with the callbacks of every run, and return weights and trainer."""
    torch.manual_seed(4)
    callbacks = [*settings.pop("callbacks", []), BestCheckpoint("val/ndcg@10"), LastCheckpoint()]
    if settings.get("fast_dev_run") or settings.get("barebones"):
        callbacks = []
    settings = {"max_epochs": 2, "enable_checkpointing": bool(callbacks), "callbacks": callbacks, **settings}
    trainer = small_trainer(folder, **settings)
    model = small_model()
    trainer.fit(model, datamodule=small_data(folder))
    return model.state_dict(), trainer


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights of a fit without further settings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PL_GLOBAL_SEED", "0")
        return fit(tmp_path_factory.mktemp("plain"))[0]


@pytest.mark.parametrize(
    "settings",
    [
        {"num_sanity_val_steps": 2},
        {"num_sanity_val_steps": -1},
        {"val_check_interval": 3},
        {"val_check_interval": 0.5},
        {"val_check_interval": 5, "check_val_every_n_epoch": None},
        {"check_val_every_n_epoch": 5},
        {"limit_val_batches": 0},
        {"reload_dataloaders_every_n_epochs": 1},
        {"detect_anomaly": True},
        {"deterministic": True},
        {"profiler": "simple"},
        {"inference_mode": False},
        {"log_every_n_steps": 1},
        {"min_epochs": 1},
        {"max_time": timedelta(hours=1)},
        {"gradient_clip_val": 1e9},
        {"sync_batchnorm": True},
        {"enable_model_summary": True},
        {"barebones": True, "enable_model_summary": None, "enable_progress_bar": None, "logger": None},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_settings_that_do_not_change_training(
    plain: dict[str, Tensor], tmp_path: Path, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    found, trainer = fit(tmp_path, **settings)
    assert trainer.global_step > 0
    assert found.keys() == plain.keys()
    for name, value in plain.items():
        assert torch.equal(found[name], value), name
    capsys.readouterr()


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"limit_train_batches": 0}, 0),
        ({"fast_dev_run": True}, 1),
        ({"fast_dev_run": 3}, 3),
        ({"max_steps": 1}, 1),
        ({"max_steps": 0}, 0),
        ({"max_epochs": 0}, 0),
        ({"max_time": timedelta(0)}, 0),
        ({"limit_train_batches": 3}, 6),
        ({"limit_train_batches": 0.5, "limit_val_batches": 1}, 6),
        ({"overfit_batches": 2}, 4),
        ({"accumulate_grad_batches": 2}, 8),  # 4 steps for the 7 batches of an epoch
        ({"gradient_clip_val": 0.1}, 14),
        ({"gradient_clip_val": 0.1, "gradient_clip_algorithm": "value"}, 14),
        ({"precision": "bf16-mixed"}, 14),
    ],
    ids=str,
)
def test_settings_that_change_training_work(tmp_path: Path, settings: dict[str, Any], steps: int) -> None:
    assert fit(tmp_path, **settings)[1].global_step == steps


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "64-true"}, "precision is 64-true.*32-true, 16-mixed, bf16-mixed"),
        ({"precision": "16-true"}, "precision is 16-true"),
        ({"precision": "bf16-true"}, "precision is bf16-true"),
        ({"val_check_interval": 100}, "val_check_interval is 100.*only 7 batches"),
        ({"val_check_interval": 4, "limit_train_batches": 3}, "val_check_interval is 4.*only 3 batches"),
    ],
    ids=str,
)
def test_settings_that_are_refused_before_training(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        fit(tmp_path, **settings)


class Rows(Callback):
    """Keeps the rows of each batch."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append(batch.row.tolist())


def test_overfit_batches_trains_on_the_same_rows_in_each_epoch(tmp_path: Path) -> None:
    rows = Rows()
    fit(tmp_path, overfit_batches=2, max_epochs=3, callbacks=[rows])
    assert rows.seen == rows.seen[:2] * 3
    other = Rows()
    fit(tmp_path / "other", limit_train_batches=2, callbacks=[other])
    assert other.seen[:2] == rows.seen[:2]
    assert other.seen[2:] != rows.seen[:2]  # otherwise each epoch has another order


@pytest.mark.parametrize(
    "settings", [{"gradient_clip_val": 0.5}, {"accumulate_grad_batches": 2}, {"detect_anomaly": True}], ids=str
)
def test_sparse_tables_work_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> None:
    monkeypatch.chdir(tmp_path)
    config = [str(TESTS / "configs" / "sparse_tables.yaml")]
    model, data = load_untrained(config), load_datamodule(config)
    trainer = small_trainer(tmp_path, limit_train_batches=4, **settings)
    trainer.fit(model, datamodule=data)
    assert trainer.global_step == 4 // settings.get("accumulate_grad_batches", 1)


def test_sparse_tables_refuse_clipping_by_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = [str(TESTS / "configs" / "sparse_tables.yaml")]
    trainer = small_trainer(tmp_path, gradient_clip_val=0.5, gradient_clip_algorithm="value")
    with pytest.raises(UserError, match="gradient_clip_algorithm"):
        trainer.fit(load_untrained(config), datamodule=load_datamodule(config))


def test_a_schedule_by_a_metric_works(tmp_path: Path) -> None:
    plateau = {"class_path": "lightning.pytorch.cli.ReduceLROnPlateau", "init_args": {"monitor": "val/mrr"}}
    trainer = small_trainer(tmp_path, max_epochs=2)
    trainer.fit(small_model(lr_scheduler=plateau), datamodule=small_data(tmp_path))
    assert trainer.lr_scheduler_configs[0].monitor == "val/mrr"
    torchs = {"class_path": "torch.optim.lr_scheduler.ReduceLROnPlateau"}
    with pytest.raises(UserError, match=r"ReduceLROnPlateau.*lightning\.pytorch\.cli.*monitor"):
        small_trainer(tmp_path).fit(small_model(lr_scheduler=torchs), datamodule=small_data(tmp_path))
