"""Rows without a valid negative: no weight in a loss that compares, counted, and logged once an epoch."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from helpers.resuming import Stop, StopAt
from helpers.small import small_data, small_model, small_trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from dssm_lightning import RetrievalDataModule, losses
from dssm_lightning.data.batch import Batch, Candidates
from dssm_lightning.data.negatives import FromColumn, NegativeSampler
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import PublishedFold
from dssm_lightning.features import Categorical
from dssm_lightning.losses import (
    GBCE,
    BinaryCrossEntropy,
    CosineEmbedding,
    EmbeddingMSE,
    Loss,
    RatingHead,
    SampledSoftmax,
    SigLIP,
)
from dssm_lightning.losses.base import Scores
from dssm_lightning.models.scorers import Dot
from dssm_lightning.training.callbacks.last_checkpoint import LastCheckpoint
from dssm_lightning.training.candidate_pool import Pool
from dssm_lightning.training.objective import per_query_loss
from dssm_lightning.utils.ragged import Ragged

ITEMS = [f"c{number}" for number in range(6)]
# "all" likes the whole corpus, so that its six rows have no negative; the data name no negative for the two rows of q0.
EVENTS = pl.DataFrame(
    {
        "query_id": ["all"] * 6 + [f"q{number}" for number in (0, 0, 1, 1, 2, 2, 3)],
        "candidate_id": [*ITEMS, "c0", "c1", "c1", "c2", "c3", "c4", "c0"],
        "worse": [[]] * 8 + [["c4"]] * 2 + [["c5"]] * 3,
        "weight": [float(number) for number in range(1, 14)],
        "fold": ["train"] * 12 + ["test"],
    }
)


def events(tmp_path: Path, negatives: NegativeSampler | None = None) -> RetrievalDataModule:
    """Twelve rows in one batch."""
    return small_data(
        tmp_path,
        source=Frames(EVENTS, weight="weight"),
        query=[Categorical(name="query_id")],
        candidate=[Categorical(name="candidate_id")],
        split=PublishedFold("fold"),
        batch_size=12,
        negatives=negatives,
    )


class Place(Loss):
    """The place of each row as its loss, so that the mean shows which rows count."""

    def forward(self, scores: Scores) -> Tensor:
        return scores.positive.squeeze(1) * 0 + torch.arange(1.0, len(scores.target) + 1)


class PlaceByItself(Place):
    compares = False


class Losses(Callback):
    """Keeps the rows and the value of each batch."""

    def __init__(self) -> None:
        self.found: list[tuple[list[int], float]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.found.append((batch.row.tolist(), float(outputs["loss"])))


@pytest.mark.parametrize(
    ("negatives", "alone"), [(None, range(6)), (FromColumn("worse"), range(8))], ids=["known", "none named"]
)
def test_such_rows_have_no_weight_and_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, negatives: NegativeSampler | None, alone: range
) -> None:
    seen = Losses()
    trainer = small_trainer(tmp_path, max_epochs=2, limit_val_batches=0, callbacks=[seen])
    with caplog.at_level(logging.INFO):
        trainer.fit(small_model(loss=Place), datamodule=events(tmp_path, negatives))
    for rows, value in seen.found:
        counted = {place: row + 1 for place, row in enumerate(rows, start=1) if row not in alone}
        mean = sum(place * weight for place, weight in counted.items()) / sum(counted.values())
        assert value == pytest.approx(mean, rel=1e-5)
    assert trainer.callback_metrics["train/rows_without_negatives"] == len(alone)
    lines = [record.message for record in caplog.records if "no valid negative" in record.message]
    assert [line.split(" had")[0] for line in lines] == [f"epoch {epoch}: {len(alone)} rows" for epoch in (0, 1)]


@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_a_resumed_epoch_counts_all_its_rows(tmp_path: Path) -> None:
    def run(ckpt_path: Path | None = None, *also: Callback) -> Any:
        settings = {"limit_val_batches": 0, "enable_checkpointing": True}
        trainer = small_trainer(tmp_path, callbacks=[*also, LastCheckpoint()], **settings)
        data = events(tmp_path)
        data.batch_size = 4
        trainer.fit(small_model(), datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        return trainer.callback_metrics["train/rows_without_negatives"]

    with pytest.raises(Stop):  # within the second of three batches; its rows are repeated
        run(None, StopAt("on_before_optimizer_step", 2))
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert 0 < torch.load(last, weights_only=True)["rows_without_negatives"] < 6
    assert run(last) == 6


def test_a_pointwise_loss_keeps_such_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen = Losses()
    trainer = small_trainer(tmp_path, limit_val_batches=0, callbacks=[seen])
    with caplog.at_level(logging.INFO):
        trainer.fit(small_model(loss=PlaceByItself), datamodule=events(tmp_path))
    [(rows, value)] = seen.found
    expected = sum(place * (row + 1) for place, row in enumerate(rows, start=1)) / sum(range(1, 13))
    assert value == pytest.approx(expected, rel=1e-5)
    assert "train/rows_without_negatives" not in trainer.callback_metrics
    assert "no valid negative" not in caplog.text


def test_a_batch_of_such_rows_changes_nothing(tmp_path: Path) -> None:
    data = small_data(
        tmp_path,
        source=Frames(pl.concat([EVENTS.head(6), EVENTS.tail(1)])),
        query=[Categorical(name="query_id")],
        candidate=[Categorical(name="candidate_id")],
        split=PublishedFold("fold"),
    )
    model, seen = small_model(loss=SampledSoftmax), Losses()
    model.build(data.schemas)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.warns(match="no row of epoch 0 had a valid negative"):
        small_trainer(tmp_path, limit_val_batches=0, callbacks=[seen]).fit(model, datamodule=data)
    assert [value for _, value in seen.found] == [0.0]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items() if name in before)


def test_which_losses_compare() -> None:
    """A loss that is not zero for a row whose only column is its target does not compare."""
    alone = Scores(
        torch.tensor([[0.3]]),
        torch.tensor([0]),
        torch.ones(1, 1, dtype=torch.bool),
        *torch.zeros(2, 1),
        None,
        losses.Taught(torch.zeros(1, 1), error=torch.ones(1)),
        5,
        objectives={"click": torch.ones(1)},
        rating=torch.ones(1),
        pair=(torch.ones(1, 2), torch.ones(1, 2)),
        liked=torch.ones(1, 1, dtype=torch.bool),
        own=torch.ones(1),
    )
    needed = {"HardestNegative": (2,), "WeightedSum": ([SampledSoftmax],), "Matryoshka": (SampledSoftmax, [4])}
    needed["Objectives"] = ({"click": SampledSoftmax},)
    for name in set(losses.__all__) - {"Loss", "Scores", "Taught"}:
        kind = getattr(losses, name)
        loss = kind(*needed.get(name, ()))
        loss.build((2, 2))
        assert loss.compares == (loss(alone).item() == 0), name
        pointwise = (GBCE, BinaryCrossEntropy, CosineEmbedding, EmbeddingMSE, RatingHead, SigLIP)
        assert loss.compares != (kind in pointwise), name


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("symmetric", [False, True])
def test_which_rows_have_a_negative(chunk_size: int | None, symmetric: bool) -> None:
    """Rows 0 and 3 like both columns; their queries are negatives of no candidate of the other rows."""
    known = Ragged(torch.tensor([0, 1, 0, 1]), torch.tensor([0, 2, 2, 2, 4]))
    candidates = Candidates({}, torch.arange(2), torch.ones(2), torch.zeros(2))
    batch = Batch({}, candidates, torch.tensor([0, 0, 1, 1]), None, known, None, None, torch.arange(4))
    pool, query = Pool(torch.randn(2, 3), *candidates[1:]), torch.randn(4, 3)
    loss = SampledSoftmax(symmetric=symmetric)
    found = per_query_loss(batch, query, pool, Dot(), loss, gather=False, chunk_size=chunk_size)
    # transposed, candidate 0 of row 0 is compared with the query of row 2, candidate 1 of row 3 with that of row 1
    assert found.compared.tolist() == [symmetric, True, True, symmetric]
    assert ((found.value == 0) == ~found.compared).all()
