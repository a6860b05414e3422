"""Training on several objectives: against separate losses, in chunks, resumed, saved, refused; retrieval unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from helpers.shop import objectives, shop_data, shop_log
from helpers.small import small_model, small_trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor

from dssm_lightning import TwoTower
from dssm_lightning.api import load_model, make_retriever
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.negatives import Uniform
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import PublishedFold
from dssm_lightning.losses import Objectives
from dssm_lightning.training.callbacks import BestCheckpoint
from dssm_lightning.training.checkpoint_files import read_checkpoint
from dssm_lightning.training.checkpoint_model import loss_of
from dssm_lightning.training.objective import row_weights
from dssm_lightning.utils.seeding import Counter

ALL_KINDS = {"click": "SampledSoftmax", "buy": "BinaryCrossEntropy", "stars": "RatingHead"}
RATED = {"class_path": "WeightedSum", "init_args": {"losses": ["SampledSoftmax", "RatingHead"], "weights": [1, 0.5]}}


def built(data: RetrievalDataModule, **settings: Any) -> TwoTower:
    torch.manual_seed(2)
    model = small_model(**settings)
    model.build(data.schemas)
    return model


def step(model: TwoTower, data: RetrievalDataModule, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The mean loss of a batch and its gradients, as of a training step."""
    batch = data.assembler.batch(rows, Counter(0))
    weight = row_weights(batch, model.loss)
    losses = model.per_query_loss(batch, weight)
    loss = losses.total / (weight * losses.compared if model.loss.compares else weight).sum()
    trained = [each for each in model.parameters() if each.requires_grad]
    return loss, list(torch.autograd.grad(loss, trained))


def close(found: tuple[Tensor, list[Tensor]], expected: tuple[Tensor, list[Tensor]]) -> None:
    torch.testing.assert_close(found[0], expected[0])
    for mine, theirs in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


# -- one step -------------------------------------------------------------------------------------------------------


def test_a_step_is_the_weighted_sum_over_the_positives_of_each_objective(tmp_path: Path) -> None:
    """Against a softmax with the objective's 1 and 0 as weights of the rows."""
    data = shop_data(tmp_path)
    rows = torch.arange(50)
    batch = data.assembler.batch(rows, Counter(0))
    assert batch.objectives is not None
    model, plain = built(data, loss=objectives({"click": 0.5, "buy": 3.0})), built(data)
    expected = 0.5 * plain.per_query_loss(batch, batch.objectives["click"]).total
    expected = expected + 3.0 * plain.per_query_loss(batch, batch.objectives["buy"]).total
    positives = torch.maximum(batch.objectives["click"], batch.objectives["buy"]).sum()
    gradients = torch.autograd.grad(expected / positives, [each for each in plain.parameters() if each.requires_grad])
    assert positives < len(rows)
    close(step(model, data, rows), (expected / positives, list(gradients)))


def test_rows_of_other_objectives_have_no_weight(tmp_path: Path) -> None:
    data = shop_data(tmp_path)
    batch = data.assembler.batch(torch.arange(50), Counter(0))
    assert batch.objectives is not None
    assert row_weights(batch, built(data, loss=objectives(buy="SampledSoftmax")).loss).equal(batch.objectives["buy"])
    assert row_weights(batch, built(data, loss=objectives(buy="BinaryCrossEntropy")).loss).sum() == 50
    assert row_weights(batch, built(data).loss).equal(batch.label)


@pytest.mark.parametrize("negatives", [None, Uniform(3, per_row=True), Uniform(5)], ids=["batch", "own", "drawn"])
@pytest.mark.parametrize(
    "loss",
    [
        objectives("learned"),
        objectives("learned", **ALL_KINDS),
        objectives(click={"class_path": "SampledSoftmax", "init_args": {"symmetric": True}}, stars="RatingHead"),
        {"class_path": "Matryoshka", "init_args": {"loss": objectives("learned"), "dims": [4, 16]}},
    ],
    ids=["learned", "all kinds", "symmetric", "widths"],
)
def test_chunks_change_nothing(tmp_path: Path, loss: Any, negatives: Any) -> None:
    data, rows = shop_data(tmp_path, rating="stars", negatives=negatives), torch.arange(40)
    whole = step(built(data, loss=loss), data, rows)
    for size in (1, 7):
        close(step(built(data, loss=loss, score_chunk_size=size), data, rows), whole)


# -- a fit ----------------------------------------------------------------------------------------------------------


def fitted(folder: Path, loss: Any, data: Any = None, **settings: Any) -> TwoTower:
    torch.manual_seed(2)
    model = small_model(loss=loss, **(settings.pop("model", {})))
    trainer = small_trainer(folder, **{"limit_val_batches": 0, **settings})
    trainer.fit(model, data or shop_data(folder))
    return model


def test_one_objective_of_every_row_trains_to_the_bits_of_its_loss(tmp_path: Path) -> None:
    plain = fitted(tmp_path, "SampledSoftmax", shop_data(tmp_path, objectives=None)).state_dict()
    data = shop_data(tmp_path, objectives={"shown": None, "buy": "price > 0"})
    found = fitted(tmp_path, objectives(shown="SampledSoftmax"), data).state_dict()
    assert plain.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in plain.items())


def test_towers_begin_the_same_with_and_without_a_rating_head(tmp_path: Path) -> None:
    source = Frames(shop_log(), query_id="visitor", candidate_id="item", label="clicked")
    data = shop_data(tmp_path, source=source, objectives=None, rating="stars")
    plain, rated = built(data).state_dict(), built(data, loss=RATED).state_dict()
    assert all(torch.equal(rated[name], value) for name, value in plain.items())
    assert {name for name in rated if name not in plain} == {
        f"loss.losses.1.layers.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")
    }


def test_both_objectives_are_learnt_above_chance(tmp_path: Path) -> None:
    loss = objectives("learned", **{**ALL_KINDS, "buy": "SampledSoftmax"})
    data = shop_data(tmp_path, shop_log(300, 40, 20), rating="stars")
    trainer = small_trainer(tmp_path, max_epochs=8)
    torch.manual_seed(2)
    trainer.fit(small_model(loss=loss), data)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert metrics["val/click/query_auroc"] > 0.65
    assert metrics["val/buy/query_auroc"] > 0.65
    weights = {name: metrics[f"train/weight_{name}"] for name in ALL_KINDS}
    assert weights["stars"] > 1 > weights["click"]  # errors below 1 have more weight, losses above ½ less


@pytest.mark.parametrize("resumed_kinds", [ALL_KINDS, dict(reversed(ALL_KINDS.items()))], ids=["order", "reversed"])
def test_a_resumed_fit_has_the_same_bits(tmp_path: Path, resumed_kinds: dict[str, Any]) -> None:
    def run(epochs: int, path: str | None = None) -> TwoTower:
        torch.manual_seed(2)
        model = small_model(loss=objectives("learned", **(ALL_KINDS if path is None else resumed_kinds)))
        trainer = small_trainer(tmp_path, max_epochs=epochs, limit_val_batches=0)
        trainer.fit(model, shop_data(tmp_path, rating="stars"), ckpt_path=path, weights_only=True if path else None)
        if path is None:
            trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return model

    whole = run(3).state_dict()
    run(1)
    resumed = run(3, str(tmp_path / "1.ckpt")).state_dict()
    assert whole.keys() == resumed.keys()
    assert {f"loss.log_variance_{name}" for name in ("click", "buy", "stars")} <= whole.keys()
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_a_checkpoint_holds_weights_and_head_and_retrieval_does_without(tmp_path: Path) -> None:
    data = shop_data(tmp_path, rating="stars")
    torch.manual_seed(2)
    model, trainer = small_model(loss=objectives("learned", **ALL_KINDS)), small_trainer(tmp_path, limit_val_batches=0)
    trainer.fit(model, data)
    path = tmp_path / "a.ckpt"
    trainer.save_checkpoint(path)
    loaded = TwoTower.load_from_checkpoint(path)
    assert isinstance(loaded.loss, Objectives)
    assert isinstance(model.loss, Objectives)
    assert loaded.loss.learned_weights == model.loss.learned_weights != {"click": 1, "buy": 1, "stars": 1}
    retrieving = load_model(path)
    assert not [name for name in retrieving.state_dict() if name.startswith("loss")]
    described = loss_of(read_checkpoint(path), retrieving.widths)
    assert all(torch.equal(value, model.loss.state_dict()[name]) for name, value in described.state_dict().items())
    hits = make_retriever(retrieving, shop_data(tmp_path, objectives=None)).search([{"visitor": 3}], k=5)
    assert len(hits[0]) == 5


def test_objectives_stand_beside_tied_and_remembered_candidates(tmp_path: Path) -> None:
    found = fitted(tmp_path, objectives("learned"), model={"memory_size": 50, "score_chunk_size": 9})
    assert found.memory is not None
    assert len(found.memory.ids) > 0


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "data", "message"),
    [
        (objectives(clicks="SampledSoftmax"), {}, "no objective 'clicks'; there are click, buy; did you mean 'click'"),
        (objectives(), {"objectives": None}, "no objective 'click'; there are none"),
        (objectives(click="RatingHead"), {}, r"RatingHead predicts .* data\.rating"),
        (RATED, {}, r"RatingHead predicts .* data\.rating"),
        ("SampledSoftmax", {"rating": "stars"}, r"data\.rating is 'stars', and model\.loss SampledSoftmax"),
    ],
    ids=str,
)
def test_refused_before_the_data_are_prepared(
    tmp_path: Path, loss: Any, data: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepared(self: Any) -> None:
        raise AssertionError("the data were prepared")

    monkeypatch.setattr(RetrievalDataModule, "prepare_data", prepared)
    with pytest.raises(ValueError, match=message):
        small_trainer(tmp_path).fit(small_model(loss=loss), shop_data(tmp_path, **data))


@pytest.mark.parametrize("callback", [BestCheckpoint, EarlyStopping, ModelCheckpoint])
def test_no_metric_of_an_objective_without_a_validation_positive_is_watched(tmp_path: Path, callback: Any) -> None:
    kind = pl.int_range(pl.len()) % 5
    fold = pl.when(kind == 0).then(pl.lit("validation")).when(kind == 1).then(pl.lit("test")).otherwise(pl.lit("train"))
    log = shop_log().with_columns(fold=fold, price=pl.when(kind == 0).then(0.0).otherwise("price"))
    data = shop_data(tmp_path, log, split=PublishedFold("fold"))

    def fit(monitor: str) -> None:
        saves = callback is not EarlyStopping
        watching = [callback(monitor=monitor, mode="max")]
        small_trainer(tmp_path, callbacks=watching, enable_checkpointing=saves).fit(
            small_model(loss=objectives()), data
        )

    with pytest.raises(ValueError, match=r"monitor.*'val/buy/ndcg@10' is never logged"):
        fit("val/buy/ndcg@10")
    fit("val/click/ndcg@10")


def test_a_checkpoint_is_tested_on_data_without_its_objectives(tmp_path: Path) -> None:
    model = fitted(tmp_path, objectives())
    (found,) = small_trainer(tmp_path).test(model, shop_data(tmp_path, objectives=None))
    assert "test/mrr" in found
    assert "test/buy/mrr" not in found
