"""The files of a run: best and last checkpoints, and embeddings."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
import torch
from helpers.small import small_data, small_model, small_trainer
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from dssm_lightning import TwoTower
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.data.splits import PerQuery
from dssm_lightning.training.callbacks import embedding_writer
from dssm_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from dssm_lightning.training.callbacks.embedding_writer import EmbeddingWriter, write_embeddings
from dssm_lightning.training.callbacks.last_checkpoint import LastCheckpoint
from dssm_lightning.training.callbacks.stop_between_batches import StopBetweenBatches


def fit(tmp_path: Path, *callbacks: Callback, settings: dict[str, Any] | None = None, **changes: Any) -> Trainer:
    data = small_data(tmp_path, **changes)
    own: dict[str, Any] = {"max_epochs": 4, "enable_checkpointing": True, "callbacks": list(callbacks)}
    trainer = small_trainer(tmp_path, **(own | (settings or {})))
    trainer.fit(small_model(), datamodule=data)
    return trainer


class Noted(Callback):
    """Logs the values that a test gives, one for each epoch, and keeps all metrics of each epoch."""

    def __init__(self, values: list[float]) -> None:
        self.values, self.logged = values, list[dict[str, float]]()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log("val/mrr", self.values[trainer.current_epoch])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})


@pytest.fixture
def _given_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TwoTower, "_log_metrics", lambda self, stage: self.evaluations[stage].reset())
    monkeypatch.setattr(BestCheckpoint, "on_fit_start", lambda *_: None)


@pytest.mark.usefixtures("_given_metrics")
@pytest.mark.parametrize(
    ("values", "mode", "best"),
    [
        ([0.1, 0.5, 0.3, 0.4], "max", 1),
        ([0.1, 0.5, 0.3, 0.4], "min", 0),
        ([0.1, 0.2, 0.3, 0.4], "max", 3),
        ([0.5, 0.5, 0.5, 0.5], "max", 0),
    ],
)
def test_best_is_the_best_by_the_monitored_metric(tmp_path: Path, values: list[float], mode: Any, best: int) -> None:
    checkpoint, noted = BestCheckpoint("val/mrr", mode), Noted(values)
    fit(tmp_path, noted, checkpoint)
    content = torch.load(checkpoint.best_model_path, weights_only=True)
    assert content["epoch"] == best
    assert Path(checkpoint.best_model_path) == tmp_path / "checkpoints" / "best.ckpt"
    assert checkpoint.best_metrics["val/mrr"] == pytest.approx(values[best])
    assert checkpoint.best_metrics["train/loss"] == noted.logged[best].get(
        "train/loss", checkpoint.best_metrics["train/loss"]
    )
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["best.ckpt"]


@pytest.mark.filterwarnings("ignore:Total length of `ShardedBatches` across ranks is zero")
@pytest.mark.parametrize("every", [1, 3])
def test_without_validation_rows_the_newest_is_the_best(tmp_path: Path, every: int) -> None:
    checkpoint = BestCheckpoint("val/mrr")
    trainer = fit(tmp_path, checkpoint, settings={"check_val_every_n_epoch": every}, split=PerQuery(0.2, 0))
    assert checkpoint.monitor is None
    assert torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == trainer.global_step
    counted = {"train/negatives", "train/masked_positives", "train/rows_without_negatives"}
    assert set(checkpoint.best_metrics) == {"train/loss", "train/logit_scale", *counted}


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        (
            "val/auroc",
            r"monitor 'val/auroc' is never logged.*label",
        ),
        ("val/ndgc@10", r"checkpoint.monitor 'val/ndgc@10'.*train/loss.*did you mean 'val/ndcg@10'"),
        ("test/mrr", "checkpoint.monitor 'test/mrr'"),
        ("val/recall@100", "checkpoint.monitor 'val/recall@100'"),  # more than the corpus has
    ],
)
def test_a_metric_that_is_never_logged(tmp_path: Path, monitor: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, BestCheckpoint(monitor))
    assert not (tmp_path / "checkpoints").exists()


def test_auroc_can_be_monitored_with_labels(tmp_path: Path) -> None:
    checkpoint = BestCheckpoint("val/auroc")
    fit(tmp_path, checkpoint, source=Synthetic(num_queries=60, num_candidates=40, labels=True))
    assert 0.5 < float(checkpoint.best_model_score or 0) <= 1


def test_last_is_the_newest(tmp_path: Path) -> None:
    trainer = fit(tmp_path, LastCheckpoint())
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == trainer.global_step
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]


def test_last_within_an_epoch(tmp_path: Path) -> None:
    seen = []

    class Look(Callback):
        def on_train_batch_start(
            self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
        ) -> None:
            path = tmp_path / "checkpoints" / "last.ckpt"
            seen.append(torch.load(path, weights_only=True)["global_step"] if path.exists() else 0)

    fit(tmp_path, LastCheckpoint(every_n_train_steps=3), Look())
    assert len(seen) == 28
    assert all(step - number in (0, -1, -2) for number, step in enumerate(seen))  # never more than two steps behind


class Interrupt(Callback):
    """Sends a signal within a batch, once or twice."""

    def __init__(self, number: signal.Signals, times: int) -> None:
        self.number, self.times = number, times

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if trainer.global_step == 2:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("number", "times", "steps", "status"),
    [(signal.SIGINT, 1, 3, 1), (signal.SIGINT, 2, 2, 1), (signal.SIGTERM, 1, 3, 143), (signal.SIGTERM, 2, 3, 143)],
)
def test_an_interrupt_waits_for_the_end_of_a_batch_and_a_second_ctrl_c_does_not(
    tmp_path: Path, number: signal.Signals, times: int, steps: int, status: int
) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stopped:
        fit(tmp_path, Interrupt(number, times), StopBetweenBatches(), LastCheckpoint())
    assert stopped.value.code == status
    assert signal.getsignal(number) == before
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == steps


def test_an_interrupt_waits_for_accumulated_gradients(tmp_path: Path) -> None:
    """The signal comes after the fourth batch; the fit stops after the sixth, with three batches a step."""

    class WithinAStep(Callback):
        def on_train_batch_end(
            self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            if batch_idx == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    settings = {"accumulate_grad_batches": 3}
    with pytest.raises(SystemExit):
        fit(tmp_path, WithinAStep(), StopBetweenBatches(), LastCheckpoint(), settings=settings)
    found = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert (found["global_step"], found["RetrievalDataModule"]["done"]) == (2, 6)


def test_embeddings_are_written_with_their_ids(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "e.parquet"
    write_embeddings(path, pl.Series(["a", "b"]), [np.array([[1.0, 2.0], [3.0, 4.5]], np.float32)])
    found = pl.read_parquet(path)
    assert found.schema == {"id": pl.String, "vector": pl.Array(pl.Float32, 2)}
    assert found["id"].to_list() == ["a", "b"]
    assert found["vector"].to_list() == [[1.0, 2.0], [3.0, 4.5]]
    assert [p.name for p in path.parent.iterdir()] == ["e.parquet"]


@pytest.mark.parametrize("side", ["query", "candidate"])
def test_predict_writes_the_embeddings_of_the_model(tmp_path: Path, side: str) -> None:
    data, model = small_data(tmp_path, predict=side), small_model()
    path = tmp_path / "vectors.parquet"
    trainer = small_trainer(tmp_path, callbacks=[EmbeddingWriter(str(path))])
    trainer.fit(model, datamodule=data)
    trainer.predict(model, datamodule=data, return_predictions=False)
    found = pl.read_parquet(path)
    table = data.candidates if side == "candidate" else data.data.queries
    assert found["id"].to_list() == table.to_series(0).to_list()
    [features] = data.predict_dataloader()
    model.eval()
    with torch.no_grad():
        expected = model.encode_query(features) if side == "query" else model.encode_candidate(features)
    torch.testing.assert_close(torch.tensor(found["vector"].to_list()), expected)


def test_embeddings_are_kept_on_the_disk_and_not_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_writer, "datamodule_of", lambda trainer: trainer.datamodule)
    writer = EmbeddingWriter(str(tmp_path / "new" / "e.parquet"))
    trainer = SimpleNamespace(world_size=3, global_rank=1, datamodule=SimpleNamespace(predict="candidate"))
    trainer.datamodule.candidates = pl.DataFrame({"item": [f"i{number}" for number in range(10)]})  # 4, 4, 2
    batches = torch.arange(2 * 4 * 3).view(2, 4, 3).split(3, dim=1)  # two heads, of 3 rows and of 1
    for number, outputs in enumerate(batches):
        writer.on_predict_batch_end(cast(Trainer, trainer), small_model(), outputs, None, number)
    assert not [value for value in vars(writer).values() if isinstance(value, torch.Tensor)]
    assert list((tmp_path / "new").iterdir()) == []  # files without a name: a killed process leaves nothing
    writer.on_predict_epoch_end(cast(Trainer, trainer), small_model())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["e.1.parquet"]
    found = pl.read_parquet(tmp_path / "new" / "e.1.parquet")
    assert found["id"].to_list() == ["i4", "i5", "i6", "i7"] * 2
    assert found["head"].to_list() == [0] * 4 + [1] * 4
    assert found["vector"].to_list() == torch.arange(24).view(8, 3).tolist()


@pytest.mark.usefixtures("_given_metrics")
@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
def test_a_resumed_run_keeps_its_best_also_in_a_moved_folder(tmp_path: Path) -> None:
    values = [0.9, 0.1, 0.2, 0.3, 0.4, 0.5]
    first = BestCheckpoint("val/mrr")
    fit(tmp_path / "a", Noted(values), first, LastCheckpoint())
    (tmp_path / "a").rename(tmp_path / "b")
    last = tmp_path / "b" / "checkpoints" / "last.ckpt"

    def resume(folder: Path, epochs: int) -> BestCheckpoint:
        best = BestCheckpoint("val/mrr")
        callbacks = [Noted(values), best, LastCheckpoint()]
        trainer = small_trainer(folder, max_epochs=epochs, enable_checkpointing=True, callbacks=callbacks)
        trainer.fit(small_model(), datamodule=small_data(folder), ckpt_path=last, weights_only=True)
        return best

    again = resume(tmp_path / "b", 5)
    assert again.best_model_path == str(tmp_path / "b" / "checkpoints" / "best.ckpt")
    assert again.best_metrics == first.best_metrics
    assert torch.load(again.best_model_path, weights_only=True)["epoch"] == 0
    other = resume(tmp_path / "c", 6)  # another run that starts from this checkpoint has its own best
    assert Path(other.best_model_path).parent == tmp_path / "c" / "checkpoints"
    assert torch.load(other.best_model_path, weights_only=True)["epoch"] == 5
