"""Progress that can be read without a terminal, and what the progress bar shows."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.small import small_data, small_model, small_trainer, write_config

from dssm_lightning.cli.main import main
from dssm_lightning.training.callbacks import BestCheckpoint
from dssm_lightning.training.callbacks import progress_lines as module
from dssm_lightning.training.callbacks.progress_lines import ProgressLines


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "dssm_lightning"]


def test_a_line_now_and_then_and_after_each_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A clock that moves 10 s with each batch: with 30 s between lines, every third batch has one."""
    clock = iter(range(0, 100_000, 10))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    monkeypatch.chdir(tmp_path)
    data = small_data(tmp_path)
    steps = len(data.train_dataloader())
    callbacks = [ProgressLines(), BestCheckpoint("val/mrr")]
    trainer = small_trainer(tmp_path, max_epochs=2, callbacks=callbacks, enable_checkpointing=True)
    with caplog.at_level(logging.INFO, "dssm_lightning"):
        trainer.fit(small_model(), datamodule=data)
    lines = messages(caplog)
    within = [line for line in lines if "batch" in line and line.startswith("epoch 1 of 2: ")]
    assert len(within) == steps // 3 > 0
    assert within[0].startswith(f"epoch 1 of 2: batch 3 of {steps}, 0.1 batches a second, loss ")
    left = (steps - 3) * 10
    assert within[0].endswith(f"{left // 60}:{left % 60:02} min left of this epoch")
    after = [line for line in lines if "val/mrr" in line]
    assert [line.partition(":")[0] for line in after] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert all("train/loss" in line for line in after)


def test_without_a_terminal_a_fit_has_lines_and_no_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"accelerator": "cpu", "max_epochs": 1, "enable_model_summary": False}
    config = write_config(tmp_path / "texts.yaml", trainer={**settings, "enable_progress_bar": None})
    with caplog.at_level(logging.INFO, "dssm_lightning"):
        cli = main(["fit", "--config", str(config)])
    assert cli.trainer.progress_bar_callback is None
    assert any(line.startswith("epoch 1 of") and "val/mrr" in line for line in messages(caplog))
    caplog.clear()
    with caplog.at_level(logging.INFO, "dssm_lightning"):
        main(["fit", "--config", str(write_config(tmp_path / "quiet.yaml"))])  # enable_progress_bar: false
    assert not [line for line in messages(caplog) if line.startswith("epoch 1 of")]


def test_the_bar_shows_the_monitored_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trainer = small_trainer(tmp_path, callbacks=[BestCheckpoint("val/ndcg@10")], enable_checkpointing=True)
    trainer.fit(small_model(), datamodule=small_data(tmp_path))
    assert set(trainer.progress_bar_metrics) == {"train/loss", "val/ndcg@10"}
