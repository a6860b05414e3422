"""Runs of weeks: full disks, losses that are not finite, schedules and averaged weights."""

from __future__ import annotations

import logging
import math
import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from helpers.small import small_data, small_model, small_trainer
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from dssm_lightning import TwoTower
from dssm_lightning.features import HashedWords, Numeric
from dssm_lightning.losses import Loss
from dssm_lightning.losses.base import Scores
from dssm_lightning.training.atomic_checkpoint_io import AtomicCheckpointIO
from dssm_lightning.training.callbacks.averaged_weights import AveragedWeights
from dssm_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from dssm_lightning.training.callbacks.last_checkpoint import LastCheckpoint
from dssm_lightning.training.callbacks.stop_at_non_finite import NotFiniteError, StopAtNonFinite
from dssm_lightning.training.checkpoint_files import read_checkpoint
from dssm_lightning.training.optimizers.changed_settings import differences, settings_of
from dssm_lightning.training.optimizers.schedules import WarmUp


def fit(
    folder: Path, *callbacks: Callback, model: TwoTower | None = None, data: Any = None, **settings: Any
) -> Trainer:
    own: dict[str, Any] = {"max_epochs": 4, "enable_checkpointing": True, "callbacks": list(callbacks)}
    trainer = small_trainer(folder, **(own | settings))
    trainer.fit(model or small_model(), datamodule=data or small_data(folder))
    return trainer


# -- the disk ----------------------------------------------------------------------------------------------------------


class FullDisk(Callback):
    """Limits all files to a few bytes while the checkpoints of one epoch are written."""

    def __init__(self, epoch: int, scores: list[float]) -> None:
        self.epoch, self.scores = epoch, scores

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("val/mrr", self.scores[trainer.current_epoch])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._limit(100 if trainer.current_epoch == self.epoch else resource.RLIM_INFINITY)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._limit(resource.RLIM_INFINITY)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size == resource.RLIM_INFINITY else size, hard))


class Look(Callback):
    """Reads both checkpoints at the start of an epoch."""

    def __init__(self) -> None:
        self.epochs: list[tuple[int, int]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = Path(trainer.default_root_dir) / "checkpoints"
        if trainer.current_epoch:
            best, last = (read_checkpoint(folder / f"{which}.ckpt")["epoch"] for which in ("best", "last"))
            self.epochs.append((best, last))


def test_a_full_disk_leaves_the_old_checkpoints_and_the_run_continues(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second epoch, the best, cannot be written; the third is better than the first, and is kept."""
    monkeypatch.setattr(TwoTower, "_log_metrics", lambda self, stage: self.evaluations[stage].reset())
    look, best = Look(), BestCheckpoint("val/mrr")
    disk, io = FullDisk(1, [0.1, 0.5, 0.3, 0.2]), AtomicCheckpointIO(go_on=True)
    with caplog.at_level(logging.ERROR, "dssm_lightning.training.checkpoint_files"):
        fit(tmp_path, disk, look, best, LastCheckpoint(), plugins=[io])
    assert look.epochs == [(0, 0), (0, 0), (2, 2)]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "best.ckpt of step 14 cannot be written (File too large)" in messages[0]
    assert read_checkpoint(Path(best.best_model_path))["epoch"] == 2
    assert best.best_metrics["val/mrr"] == pytest.approx(0.3)
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["epoch"] == 3
    assert not io.failed


def test_without_go_on_a_failed_write_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        AtomicCheckpointIO().save_checkpoint({"step": 1}, tmp_path / "folder")


def test_a_checkpoint_folder_that_cannot_be_written_is_an_error_before_training(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(OSError, match=r"checkpoints, cannot be written: File exists"):
        fit(tmp_path, LastCheckpoint())


# -- the loss ----------------------------------------------------------------------------------------------------------


class Poison(Callback):
    """Sets a weight to NaN before one step."""

    def __init__(self, step: int, name: str) -> None:
        self.step, self.name = step, name

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.step:
            with torch.no_grad():
                dict(pl_module.named_parameters())[self.name].fill_(math.nan)


class Unknown(Callback):
    """Sets a number of a query to NaN, in the memory-mapped copy."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.datamodule.data.query["size"][7] = math.nan


class Broken(Loss):
    """NaN for the fourth row of each batch."""

    def forward(self, scores: Scores) -> Tensor:
        value = -scores.logits.gather(1, scores.target[:, None]).squeeze(1)
        return torch.where(torch.arange(len(value)) == 3, math.nan, value)


def rows_of_batch(data: Any, step: int) -> list[int]:
    for number, batch in enumerate(data.train_dataloader()):
        if number == step:
            rows: list[int] = batch.row.tolist()
            return rows
    raise AssertionError(step)


def test_a_loss_that_is_not_finite_ends_the_run_with_module_and_rows(tmp_path: Path) -> None:
    weight = "candidate_tower.encoders.text.table.weight"
    with pytest.raises(NotFiniteError) as caught:
        fit(tmp_path, Poison(3, weight), StopAtNonFinite(), LastCheckpoint(every_n_train_steps=2))
    message, data = str(caught.value), small_data(tmp_path)
    assert (
        "the loss of step 3 (epoch 0, both counted from 0) is not finite; the first module whose output is" in message
    )
    assert "is candidate_tower.encoders.text" in message
    assert f"before it weight {weight} is not finite" in message
    row = rows_of_batch(data, 3)[0]
    query = data.data.queries[int(data.data.interactions.query[row]), 0]
    assert f"rows of the interactions: {row} ({query!r} with " in message
    assert "and 27 more" in message
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 2  # the checkpoint before it


def test_a_value_of_the_data_that_is_not_finite_is_named_with_only_its_rows(tmp_path: Path) -> None:
    data = small_data(tmp_path, query=[HashedWords(name="text", num_buckets=300), Numeric(name="size")])
    with pytest.raises(NotFiniteError) as caught:
        fit(tmp_path, Unknown(), StopAtNonFinite(), data=data)
    message = str(caught.value)
    assert "query_tower.encoders.size (Identity), and before it query feature 'size' is not finite; rows" in message
    name = data.data.queries[7, 0]
    listed = message.partition("rows of the interactions: ")[2].split(", ")
    assert 1 <= len(listed) <= 5
    assert all(f"({name!r} with " in part for part in listed)


def test_a_loss_that_is_not_finite_by_itself_is_named(tmp_path: Path) -> None:
    model = small_model(loss=Broken)
    with pytest.raises(NotFiniteError) as caught:
        fit(tmp_path, StopAtNonFinite(), model=model)
    row = rows_of_batch(small_data(tmp_path), 0)[3]
    assert "Broken is not; rows of the interactions" in str(caught.value)
    assert f"rows of the interactions: {row} (" in str(caught.value)
    assert " more" not in str(caught.value)


def test_on_a_gpu_losses_are_checked_at_intervals_and_before_each_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StopAtNonFinite, "waits", staticmethod(lambda loss: True))
    weight = "candidate_tower.encoders.text.table.weight"
    callbacks = (Poison(3, weight), StopAtNonFinite(), LastCheckpoint(every_n_train_steps=2))
    with pytest.raises(NotFiniteError) as caught:
        fit(tmp_path, *callbacks, log_every_n_steps=50)
    message = str(caught.value)
    assert "the loss of step 3 (epoch 0, both counted from 0) is not finite; the weights have changed since" in message
    assert f"rows of the interactions: {rows_of_batch(small_data(tmp_path), 3)[0]} (" in message
    last = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert last["global_step"] == 2
    assert all(torch.isfinite(value).all() for value in last["state_dict"].values())
    with pytest.raises(
        NotFiniteError, match=r"step 3 .* the first module whose output is not finite is candidate_tower"
    ):
        fit(tmp_path / "each", Poison(3, weight), StopAtNonFinite(), log_every_n_steps=1)


# -- rates and averages ------------------------------------------------------------------------------------------------


def rates(schedule: Any, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_warm_up_by_hand() -> None:
    """From 0.2 of the rate 2 in four equal steps to the rate; then halved every two steps."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = WarmUp(optimizer, 4, lambda own: torch.optim.lr_scheduler.StepLR(own, 2, 0.5), start=0.2)
    assert rates(schedule, optimizer, 9) == pytest.approx([0.4, 0.8, 1.2, 1.6, 2, 2, 1, 1, 0.5])
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    assert rates(WarmUp(optimizer, 2, start=0.5), optimizer, 4) == pytest.approx([1, 1.5, 2, 2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"steps": 0}, "WarmUp: steps is 0; it must"), ({"steps": 1, "start": 0.0}, "WarmUp: start is 0.0; it must")],
)
def test_warm_up_refuses(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WarmUp(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0), **settings)


def test_a_schedule_by_steps_counts_steps(tmp_path: Path) -> None:
    warm = {
        "class_path": "dssm_lightning.training.optimizers.schedules.WarmUp",
        "init_args": {"steps": 4, "start": 0.2},
    }
    found: list[float] = []

    class Note(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            found.append(trainer.optimizers[0].param_groups[0]["lr"])

    model = small_model(lr_scheduler=warm, lr_scheduler_interval="step")
    fit(tmp_path, Note(), model=model, max_epochs=1, accumulate_grad_batches=2, enable_checkpointing=False)
    assert found == pytest.approx([0.02 * part for part in (0.2, 0.2, 0.4, 0.4, 0.6, 0.6, 0.8)])


def test_a_changed_optimizer_causes_a_warning(tmp_path: Path) -> None:
    fit(tmp_path, LastCheckpoint(), max_epochs=1)
    other = small_model(optimizer={"class_path": "torch.optim.Adam", "init_args": {"lr": 0.5, "weight_decay": 0.1}})
    trainer = small_trainer(tmp_path, max_epochs=2)
    last = tmp_path / "checkpoints" / "last.ckpt"
    with pytest.warns(UserWarning, match="optimizer of the checkpoint") as warned:
        trainer.fit(other, datamodule=small_data(tmp_path), ckpt_path=last, weights_only=True)
    messages = [str(each.message) for each in warned if "optimizer of the checkpoint" in str(each.message)]
    assert {message.partition(": ")[2] for message in messages} == {"lr 0.02, not 0.5", "weight_decay 0.0, not 0.1"}
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    before = settings_of(optimizer)
    rates(torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1), optimizer, 1)
    assert not differences(before, settings_of(optimizer))  # a schedule does not change a setting


class Weights(Callback):
    """Computes the average by hand."""

    def __init__(self, decay: float) -> None:
        self.decay, self.average = decay, dict[str, Tensor]()
        self.validated: list[bool] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for name, weight in pl_module.named_parameters():
            now = weight.detach().clone()
            before = self.average.get(name, now)
            self.average[name] = self.decay * before + (1 - self.decay) * now

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        found = dict(pl_module.named_parameters())
        self.validated.append(all(torch.allclose(found[name], value) for name, value in self.average.items()))


def test_the_average_is_evaluated_saved_and_loaded(tmp_path: Path) -> None:
    weights = Weights(0.8)
    trainer = fit(
        tmp_path,
        AveragedWeights(decay=0.8),
        weights,
        LastCheckpoint(),
        model=small_model(memory_size=100),
        max_epochs=2,
    )
    assert weights.validated == [True, True]
    last = tmp_path / "checkpoints" / "last.ckpt"
    content = read_checkpoint(last)
    assert any(
        not torch.equal(content["state_dict"][name], content["current_model_state"][name])
        for name in content["state_dict"]
    )
    loaded = TwoTower.load_from_checkpoint(last, weights_only=True)
    for name, value in loaded.named_parameters():
        torch.testing.assert_close(value, weights.average[name])
    assert torch.equal(content["state_dict"]["memory.id"], content["current_model_state"]["memory.id"])
    assert (content["state_dict"]["memory.id"] >= 0).any()
    trainer = small_trainer(tmp_path, callbacks=[AveragedWeights(decay=0.8)])  # without a warning
    [by_file] = trainer.test(
        small_model(memory_size=100), small_data(tmp_path), ckpt_path=last, weights_only=True, verbose=False
    )
    [by_hand] = small_trainer(tmp_path).test(loaded, small_data(tmp_path), verbose=False)
    assert by_file == by_hand


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"decay": 1.0}, "decay is 1.0"), ({"every_n_steps": 0}, "every_n_steps is 0; it must be at least")],
)
def test_averages_refuse(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AveragedWeights(**settings)


def test_averages_need_the_whole_model() -> None:
    trainer = SimpleNamespace(strategy=type("Sharded", (), {})())
    with pytest.raises(ValueError, match=r"AveragedWeights.*Sharded"):
        AveragedWeights().setup(cast(Trainer, trainer), small_model(), "fit")
