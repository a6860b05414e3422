"""Hard negatives mined from the model: the pools are the model's ranking, and a model learns from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from helpers.small import TOWER, small_data, small_model, small_trainer
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from dssm_lightning import TwoTower
from dssm_lightning.data.negatives import Hard, Mixed, Uniform
from dssm_lightning.data.sources import Frames, Synthetic
from dssm_lightning.data.splits import RandomQueries, RandomRows
from dssm_lightning.features import Categorical, HashedWords, History, Numeric
from dssm_lightning.losses import BPR, SampledSoftmax
from dssm_lightning.models.evaluating import evaluating

DROPPED = {**TOWER, "init_args": {**TOWER["init_args"], "dropout": 0.3}}


class Mined(Callback):
    """Keeps the weights and the pools at the start of each epoch."""

    def __init__(self, sampler: Hard) -> None:
        self.sampler = sampler
        self.states: list[dict[str, Tensor]] = []
        self.pools: list[list[list[int]] | None] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.states.append({name: value.clone() for name, value in pl_module.state_dict().items()})

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        assert pl_module.training
        if batch_idx == 0:
            state = self.sampler.state_dict()
            lengths = state["offsets"].diff().tolist() if state else []
            self.pools.append([part.tolist() for part in state["pools"].split(lengths)] if state else None)


def test_pools_are_the_ranking_of_the_current_model(tmp_path: Path) -> None:
    """Without dropout, with full histories and without known positives: by a loop, from the scores."""
    sampler = Hard(3, (2, 8), every_n_epochs=2, warm_up=1)
    query = [HashedWords(name="text", num_buckets=300), History(name="history", of="candidate_id", dropout=0.5)]
    data = small_data(tmp_path, query=query, negatives=sampler)
    model, mined = small_model(query_tower=DROPPED, loss=BPR), Mined(sampler)
    small_trainer(tmp_path, max_epochs=4, callbacks=[mined], limit_val_batches=0).fit(model, datamodule=data)
    assert mined.pools[0] is None
    assert mined.pools[1] == mined.pools[2] != mined.pools[3]
    [corpus] = data.corpus_batches()
    for epoch in (1, 3):
        model.load_state_dict(mined.states[epoch])
        model.eval()
        with torch.no_grad():
            scores = model(data.assembler.query_features(torch.arange(60)), corpus)
        likes = data.assembler.likes.candidates
        pools = mined.pools[epoch]
        assert pools is not None
        for row, liked in enumerate(likes.values.split(likes.lengths.tolist())):
            ranked = [c for c in scores[row].argsort(descending=True).tolist() if c not in set(liked.tolist())]
            assert pools[row] == ranked[2:8]


def test_evaluating_restores_the_mode_of_every_part() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Linear(2, 2)))
    model[1][0].eval()  # frozen by the user
    with evaluating(model):
        assert not any(part.training for part in model.modules())
        assert not torch.is_grad_enabled()
    assert [part.training for part in model.modules()] == [True, True, True, False, True]
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("loss", "negatives"),
    [
        (BPR, Hard(2, (0, 20), warm_up=0)),  # no other negatives
        (BPR, Mixed([Hard(2, (0, 20)), Uniform(2, per_row=True)])),
        (SampledSoftmax, Hard(30, (0, 20), per_row=False)),
    ],
    ids=["alone", "mixed", "shared"],
)
def test_a_model_learns_from_hard_negatives(tmp_path: Path, loss: type, negatives: Any) -> None:
    text = HashedWords(name="text", num_buckets=500)
    data = small_data(
        tmp_path,
        source=Synthetic(num_queries=200, num_candidates=100),
        query=[text],
        candidate=[text],
        split=RandomQueries(test=0.2, validation=0.1),
        batch_size=64,
        negatives=negatives,
    )
    model, trainer = small_model(loss=loss), small_trainer(tmp_path, max_epochs=12, limit_val_batches=0)
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    assert trainer.callback_metrics["test/query_auroc"] > 0.95  # queries without training rows
    assert trainer.callback_metrics["test/recall@10"] > 0.7


def test_columns_of_events_are_refused(tmp_path: Path) -> None:
    events = pl.DataFrame(
        {
            "query_id": [f"q{i % 5}" for i in range(40)],
            "candidate_id": [f"c{i * 3 % 20}" for i in range(40)],
            "when": [float(i) for i in range(40)],
        }
    )
    data = small_data(
        tmp_path,
        source=Frames(events),
        split=RandomRows(test=0.2, validation=0),
        query=[Categorical(name="query_id"), Numeric(name="when")],
        candidate=[Categorical(name="candidate_id")],
        evaluate="event",
        negatives=Mixed([Uniform(1, per_row=True), Hard(1, (0, 3))]),
    )
    with pytest.raises(ValueError, match=r"Hard.*\['when'\]"):
        small_trainer(tmp_path).fit(small_model(), datamodule=data)


def test_an_evaluation_reads_no_pools(tmp_path: Path) -> None:
    data = small_data(tmp_path, negatives=Hard(2, (0, 5), warm_up=0))
    trainer = small_trainer(tmp_path)
    trainer.fit(small_model(), datamodule=data)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    content = torch.load(tmp_path / "model.ckpt", weights_only=True)["RetrievalDataModule"]
    assert content["negatives"]["pools"].dtype == torch.int32
    assert len(content["negatives"]["pools"]) == 5 * 60
    model = TwoTower.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    other = small_data(
        tmp_path, source=Synthetic(num_queries=30, num_candidates=50, seed=8), negatives=Hard(2, (0, 5), warm_up=0)
    )
    small_trainer(tmp_path).test(
        model, datamodule=other, ckpt_path=tmp_path / "model.ckpt", weights_only=True, verbose=False
    )
