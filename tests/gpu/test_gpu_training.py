"""Fits on a GPU: the losses and metrics of the same fits on the CPU, half precision, and compiled towers."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from helpers.device_cases import PAST, StepLosses, cases, made, part, tower
from helpers.paths import EVERY_KIND
from helpers.small import small_data, small_model, small_trainer
from torch import Tensor

from dssm_lightning import RetrievalDataModule, TwoTower
from dssm_lightning.api import load_datamodule, load_untrained

pytestmark = pytest.mark.gpu

LOSS = 2e-3
"""Relative. One step differs by about 1e-6, the rounding of float32 sums in another order; Adam divides small gradients
by their own size, so that a step of .02 may differ wherever a gradient is nearly 0, and later losses with it."""
METRIC = 0.03
"""Absolute, of 60 queries: weights that differ so little exchange near-ties; two queries may gain or lose their hit."""
ROUNDED = 0.02
"""Relative, of int8 vectors: a weight that differs by rounding moves single codes by 1 of 127; seen: .006."""
CHOICES = ("TripletMargin(margin=0.5, negatives='semi_hard')",)
"""Losses that pick one negative by its score: rounding decides near-ties, so only the first is compared."""
DRAWN = ("WARP(margin=1.0, max_trials=None, weight='harmonic')",)
"""Losses that draw by the generator of their device: other draws, so other losses."""
HALF = 0.05
"""Relative. bfloat16 has 8 bits: single products differ by .4 %, and sums of them by less."""


class Fitted(NamedTuple):
    """What a fit has found."""

    losses: list[float]
    metrics: dict[str, float]
    weights: dict[str, Tensor]


def fitted(model: TwoTower, data: RetrievalDataModule, folder: Path, accelerator: str, **settings: Any) -> Fitted:
    """Train from weights that were drawn on the CPU."""
    torch.manual_seed(3)
    model.build(data.schemas)
    kept = StepLosses()
    trainer = small_trainer(folder, accelerator=accelerator, devices=1, callbacks=[kept], **settings)
    trainer.fit(model, data)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return Fitted(kept.found, metrics, {name: value.cpu() for name, value in model.state_dict().items()})


def metrics_of(found: dict[str, float]) -> dict[str, float]:
    """Metrics of rankings, which lie between 0 and 1."""
    return {name: value for name, value in found.items() if name.startswith(("val/ndcg", "val/recall", "val/mrr"))}


def assert_close(found: Fitted, expected: Fitted, loss: float = LOSS, metric: float = METRIC) -> None:
    assert len(found.losses) == len(expected.losses) > 0
    assert found.losses == pytest.approx(expected.losses, rel=loss, abs=1e-5)
    assert metrics_of(found.metrics) == pytest.approx(metrics_of(expected.metrics), abs=metric)
    assert all(value.isfinite().all() for value in found.weights.values() if value.is_floating_point())


@pytest.mark.parametrize("name", list(cases()))
def test_every_case_trains_as_on_the_cpu(tmp_path: Path, name: str) -> None:
    """Three steps and a validation; the first loss is that of equal weights."""
    limits = {"limit_train_batches": 3}
    found = fitted(*made(name, tmp_path), tmp_path, "gpu", **limits)
    expected = fitted(*made(name, tmp_path), tmp_path, "cpu", **limits)
    if name not in DRAWN:  # the first: sums of float32 in another order
        assert found.losses[0] == pytest.approx(expected.losses[0], rel=1e-4, abs=1e-6)
    if name in CHOICES + DRAWN:
        assert all(math.isfinite(loss) for loss in found.losses)
    else:
        assert_close(found, expected, loss=ROUNDED if name == "int8 vectors" else LOSS)


def text_model(**settings: Any) -> TwoTower:
    return small_model(query_tower=tower(hidden_dims=[24]), candidate_tower=tower(hidden_dims=[24]), **settings)


def history_model(**settings: Any) -> TwoTower:
    attention = part("SelfAttention", output_dim=16, num_heads=2, dropout=0.0)
    return small_model(query_tower=tower(encoders={"history": attention}), **settings)


def history_data(folder: Path, **settings: Any) -> RetrievalDataModule:
    return small_data(folder / "cache", query=[PAST], **{"batch_by": "query", "rows_per_query": 3, **settings})


@pytest.mark.parametrize("kind", ["texts", "histories"])
def test_whole_fits_are_those_of_the_cpu(tmp_path: Path, kind: str) -> None:
    """With SGD, under which rounding stays small over a whole fit."""
    sgd = part("torch.optim.SGD", lr=0.5)
    found = []
    for accelerator in ("gpu", "cpu"):
        model, data = text_model(optimizer=sgd), small_data(tmp_path / "cache")
        if kind == "histories":
            model, data = history_model(optimizer=sgd), history_data(tmp_path)
        found.append(fitted(model, data, tmp_path, accelerator, max_epochs=4))
    assert_close(*found)
    assert found[0].losses[-1] < found[0].losses[0]
    for name, value in found[1].weights.items():  # 1e-2: of weights of about 1, after 4 epochs of rounded sums
        torch.testing.assert_close(
            found[0].weights[name], value, rtol=1e-2, atol=1e-2, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize(
    "name", ["attention, by query", "sparse bag", "codes", "term bag", "memory", "mlp", "pictures"]
)
def test_a_trainer_builds_the_model_itself(tmp_path: Path, name: str) -> None:
    """Lightning builds the model on the GPU; initial weights are drawn on the CPU all the same, so they are equal."""
    found = []
    for accelerator in ("gpu", "cpu"):
        model, data = made(name, tmp_path)
        torch.manual_seed(3)
        kept = StepLosses()
        limits = {"limit_train_batches": 1, "limit_val_batches": 1}
        trainer = small_trainer(tmp_path, accelerator=accelerator, devices=1, callbacks=[kept], **limits)
        trainer.fit(model, data)
        found.append(kept.found)
    assert found[0] == pytest.approx(found[1], rel=1e-4, abs=1e-6)  # one forward pass of equal weights


def test_every_kind_of_feature_trains_and_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout of every kind, which draws other numbers on a GPU: the losses are only near."""
    monkeypatch.chdir(tmp_path)
    ends = {}
    for accelerator in ("gpu", "cpu"):
        torch.manual_seed(3)
        trainer = small_trainer(tmp_path, accelerator=accelerator, devices=1, max_epochs=2)
        model, data = load_untrained([EVERY_KIND]), load_datamodule([EVERY_KIND])
        trainer.fit(model, data)
        ends[accelerator] = float(trainer.callback_metrics["train/loss"])
        [found] = trainer.test(model, data, verbose=False)
        assert all(math.isfinite(value) for name, value in found.items() if "/ndcg" in name)
    assert ends["gpu"] == pytest.approx(ends["cpu"], rel=0.25)  # dropout of 10 % to 20 % of the inputs


@pytest.mark.parametrize(
    "name",
    ["SampledSoftmax(repeats='count', symmetric=True)", "chunks", "attention, by query", "matryoshka", "memory", "mlp"],
)
def test_half_precision_is_finite_and_close(tmp_path: Path, name: str) -> None:
    limits = {"limit_train_batches": 3, "limit_val_batches": 1}
    half = fitted(*made(name, tmp_path), tmp_path, "gpu", precision="bf16-mixed", **limits)
    whole = fitted(*made(name, tmp_path), tmp_path, "gpu", **limits)
    assert half.losses == pytest.approx(whole.losses, rel=HALF)
    assert half.losses != whole.losses  # bfloat16 was in use
    assert all(value.dtype != torch.bfloat16 for value in half.weights.values())
    assert all(value.isfinite().all() for value in half.weights.values() if value.is_floating_point())


@pytest.mark.skipif(
    shutil.which("gcc") is None and shutil.which("cc") is None, reason="no C compiler, which Triton needs"
)
@pytest.mark.parametrize("kind", ["texts", "histories"])
def test_compiled_towers_train_as_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The compiler fuses operations and so rounds otherwise: as far as another device."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    found = []
    for compiled in (False, True):
        if kind == "texts":
            model, data = text_model(compile_towers=compiled), small_data(tmp_path / "cache")
        else:
            model, data = history_model(compile_towers=compiled), history_data(tmp_path)
        found.append(fitted(model, data, tmp_path, "gpu", limit_train_batches=4, limit_val_batches=1))
        assert (model.query_tower._compiled_call_impl is not None) == compiled
    assert found[1].losses == pytest.approx(found[0].losses, rel=LOSS)
    assert list(found[1].weights) == list(found[0].weights)  # no `_orig_mod`
