"""Every loss, scorer, encoder and kind of negatives on a device that is not the CPU: no tensor is made elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.device_cases import StepLosses, cases, made, part
from helpers.paths import EVERY_KIND
from helpers.pretended_device import CPU, DEVICE, Elsewhere, MixedDevicesError, Pretending, pretended_trainer
from helpers.small import small_data, small_model, small_trainer
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from dssm_lightning.api import load_datamodule, load_untrained, make_retriever
from dssm_lightning.features.schema import Schemas
from dssm_lightning.losses import Loss, Scores
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.training.callbacks import CodesFromEASE


class WhereWeightsAre(Callback):
    """Keeps the devices of the weights while they are trained; the trainer moves them back to the CPU at its end."""

    def __init__(self) -> None:
        self.found: set[torch.device] = set()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.found |= {value.device for value in [*pl_module.parameters(), *pl_module.buffers()]}


ROUNDING = 1e-6
"""Of sums of float32 in another order."""
ONE_STEP = {"limit_train_batches": 1, "limit_val_batches": 0}
SIBLINGS = {
    *(
        f"SampledSoftmax(repeats='{kind}', symmetric=False)"
        for kind in ("count", "count_log_q", "inclusion", "refined")
    ),
    *(f"TripletMargin(margin=0.5, negatives='{kind}')" for kind in ("all", "semi_hard")),
    *(
        "SampledSoftmax(repeats='count', symmetric=True)",
        "HardestNegative(num_negatives=2, margin=None)",
        "learnt bias",
    ),
    *("fusion Concat", "fusion Sum", "fusion FM", "layers", "dense", "bag of square roots", "convolution"),
    *("bag of liked, by query", "attention, swiglu, by query", "gru, by query", "labels", "weights"),
    *("heads", "greatest head", "int8 vectors", "uniform", "of a column, shared", "mined", "mixed", "taught margins"),
}
"""Cases whose code another case or another test here runs as well: the slow tier alone trains each of them."""


@pytest.mark.parametrize("name", [name for name in cases() if name not in SIBLINGS])
def test_a_training_step_mixes_no_devices(tmp_path: Path, name: str) -> None:
    losses, places = StepLosses(), WhereWeightsAre()
    with Pretending():
        pretended_trainer(tmp_path, callbacks=[losses, places], **ONE_STEP).fit(*made(name, tmp_path))
    assert places.found == {DEVICE}
    assert len(losses.found) == 1


def test_siblings_are_cases() -> None:
    assert cases().keys() > SIBLINGS


@pytest.mark.slow
@pytest.mark.parametrize("name", list(cases()))
def test_a_training_step_is_that_of_the_cpu(tmp_path: Path, name: str) -> None:
    """The loss is that of the CPU but for rounding: torch chooses a few kernels, as of attention, by the device."""
    found = []
    for trainer_of in (small_trainer, pretended_trainer):
        kept = StepLosses()
        with Pretending():
            model, data = made(name, tmp_path)
            torch.manual_seed(3)
            trainer_of(tmp_path, callbacks=[kept], **ONE_STEP).fit(model, data)
        found.append(kept.found)
    assert len(found[0]) == 1
    assert found[1] == pytest.approx(found[0], rel=ROUNDING)


def measured(name: str, folder: Path, trainer_of: Callable[..., Trainer]) -> dict[str, float]:
    """Metrics after two steps, so that a memory holds candidates."""
    with Pretending():
        model, data = made(name, folder)
        torch.manual_seed(3)
        trainer = trainer_of(folder, limit_train_batches=2, limit_val_batches=1, limit_test_batches=1)
        trainer.fit(model, data)
        [found] = trainer.test(model, data, verbose=False)
        return {**found, **{name: float(value) for name, value in trainer.callback_metrics.items()}}


@pytest.mark.parametrize("name", ["heads", "int8 vectors", "labels", "gru, by query"])
def test_an_evaluation_mixes_no_devices(tmp_path: Path, name: str) -> None:
    assert {"test/ndcg@10", "test/mrr"} <= measured(name, tmp_path, pretended_trainer).keys()


MEASURED = ["learnt scale", "heads", "mlp", "codes", "matryoshka", "labels", "gru, by query", "memory"]
"""Not int8 vectors, whose steps magnify rounding."""


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURED)
def test_an_evaluation_is_that_of_the_cpu(tmp_path: Path, name: str) -> None:
    found, expected = measured(name, tmp_path, pretended_trainer), measured(name, tmp_path, small_trainer)
    assert found == pytest.approx(expected, rel=ROUNDING, abs=ROUNDING, nan_ok=True)


def test_a_trainer_draws_weights_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning builds a model with its own device as the default, which would draw other numbers."""
    build, found = TwoTowerModel.build, []

    def watched(model: TwoTowerModel, schemas: Schemas) -> None:
        found.append(torch.get_default_device())
        build(model, schemas)

    monkeypatch.setattr(TwoTowerModel, "build", watched)
    with Pretending():
        pretended_trainer(tmp_path, **ONE_STEP).fit(small_model(ks=[10]), small_data(tmp_path / "cache"))
    assert found == [CPU]


@pytest.mark.parametrize("name", ["memory", "mined"])
def test_a_resumed_fit_mixes_no_devices(tmp_path: Path, name: str) -> None:
    """A checkpoint is read on the CPU: what it counted goes on where the model is."""
    losses, checkpoint = StepLosses(), tmp_path / "stopped.ckpt"
    limits = {"limit_train_batches": 2, "limit_val_batches": 0}
    with Pretending():
        stopped = pretended_trainer(tmp_path, max_steps=1, **limits)
        stopped.fit(*made(name, tmp_path))
        stopped.save_checkpoint(checkpoint)
        resumed = pretended_trainer(tmp_path, callbacks=[losses], max_epochs=2, **limits)
        resumed.fit(*made(name, tmp_path), ckpt_path=checkpoint, weights_only=True)
    assert losses.found


@pytest.mark.parametrize("settings", [{"evaluate": "event"}, {"slice_by": ["group"]}], ids=["events", "slices"])
def test_other_protocols_mix_no_devices(tmp_path: Path, settings: dict[str, Any]) -> None:
    with Pretending():
        model, data = small_model(ks=[10]), small_data(tmp_path / "cache", **settings)
        [found] = pretended_trainer(tmp_path, limit_test_batches=1).test(model, data, verbose=False)
    assert len(found) > 5


def test_every_kind_of_feature_mixes_no_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    places = WhereWeightsAre()
    with Pretending():
        model, data = load_untrained([EVERY_KIND]), load_datamodule([EVERY_KIND])
        limits = {"limit_train_batches": 1, "limit_val_batches": 1}
        pretended_trainer(tmp_path, callbacks=[places], **limits).fit(model, data)
    assert places.found == {DEVICE}


def test_a_checkpoint_as_teacher_mixes_no_devices(tmp_path: Path) -> None:
    trainer, data = small_trainer(tmp_path, **ONE_STEP), small_data(tmp_path / "cache")
    trainer.fit(small_model(ks=[10]), data)
    trainer.save_checkpoint(tmp_path / "teacher.ckpt", weights_only=True)
    teacher = part("CheckpointTeacher", path=str(tmp_path / "teacher.ckpt"))
    student, losses = small_model(ks=[10], teacher=teacher, loss="MarginMSE"), StepLosses()
    with Pretending():
        pretended_trainer(tmp_path, callbacks=[losses], **ONE_STEP).fit(student, data)
    assert len(losses.found) == 1


def test_codes_from_ease_mix_no_devices(tmp_path: Path) -> None:
    callbacks = [CodesFromEASE("history", "candidate_id", l2=10), places := WhereWeightsAre()]
    with Pretending():
        pretended_trainer(tmp_path, callbacks=callbacks, **ONE_STEP).fit(*made("codes", tmp_path))
    assert places.found == {DEVICE}


def test_a_retriever_of_a_model_elsewhere_finds_what_others_find(tmp_path: Path) -> None:
    model, data = made("layers", tmp_path)
    small_trainer(tmp_path, **ONE_STEP).fit(model, data)
    expected = make_retriever(model, data).search({"text": "red lamp"}, k=5)
    with Pretending():
        found = make_retriever(model.to(DEVICE), data).search({"text": "red lamp"}, k=5)
    assert found == expected != []


# -- it can fail -------------------------------------------------------------------------------------------------------


class Planted(Loss):
    """A loss that forgets the device of its tensors."""

    def forward(self, scores: Scores) -> Tensor:
        """Return (Q,)."""
        logits = torch.cat([scores.logits, torch.zeros(len(scores.logits), 1)], dim=1)
        return F.cross_entropy(logits, scores.target, reduction="none")


def test_a_loss_that_makes_a_tensor_on_the_cpu_is_caught(tmp_path: Path) -> None:
    small_trainer(tmp_path, **ONE_STEP).fit(small_model(loss=Planted), small_data(tmp_path / "cache"))  # unseen here
    with Pretending(), pytest.raises(MixedDevicesError, match="cat: tensors of two devices"):
        pretended_trainer(tmp_path, **ONE_STEP).fit(small_model(loss=Planted), small_data(tmp_path / "cache"))


VALUES = torch.arange(6.0).reshape(2, 3)
MIXED = {
    "add": lambda there: there + torch.zeros(3),
    "in place": lambda there: there.add_(torch.zeros(3)),
    "of the cpu in place": lambda there: torch.zeros(3).add_(there[0]),
    "where": lambda there: torch.where(there > 1, there, torch.zeros(2, 3)),
    "product": lambda there: there @ torch.zeros(3, 2),
    "gather": lambda there: there.gather(1, torch.zeros(2, 1, dtype=torch.int64)),
    "values": lambda there: there.index_put((torch.tensor([0]),), torch.zeros(1, 3)),
    "index of what the cpu holds": lambda there: torch.zeros(9)[there[0].long()],
    "mask of what the cpu holds": lambda there: torch.zeros(2, 3)[there > 1],
    "search": lambda there: torch.searchsorted(torch.zeros(3), there[0]),
    "generator": lambda there: torch.rand(3, device=there.device, generator=torch.Generator()),
    "embedding": lambda there: F.embedding(torch.zeros(1, dtype=torch.int64), there),
}


@pytest.mark.parametrize("name", list(MIXED))
def test_mixtures_are_caught(name: str) -> None:
    with Pretending(), pytest.raises(MixedDevicesError):
        MIXED[name](VALUES.to(DEVICE))


def test_what_a_gpu_allows_is_allowed() -> None:
    with Pretending() as pretending:
        there = VALUES.to(DEVICE)
        assert isinstance(there, Elsewhere)
        assert there.device == DEVICE == torch.zeros(2, device=DEVICE).device == torch.zeros_like(there).device
        assert (there + torch.tensor(1.0) * 2).tolist() == (VALUES + 2).tolist()  # a scalar of the CPU
        assert there[torch.tensor([1])].tolist() == [[3.0, 4.0, 5.0]]  # indices on the CPU
        assert torch.tensor([1.0, 2.0], device=DEVICE).cpu().tolist() == [1.0, 2.0]
        assert torch.equal(there.T.contiguous().cpu(), VALUES.T)
        assert not pretending.reads
        assert there.sum().item() == 15
        assert pretending.reads["_local_scalar_dense"] == 1
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()
