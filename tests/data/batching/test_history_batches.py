"""Histories in data, towers and retriever: by row or by query, of ids or of whole candidates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from helpers.small import SCORER, small_model, small_trainer
from lightning.pytorch.callbacks import Callback

from dssm_lightning import RetrievalDataModule, TwoTower, make_retriever
from dssm_lightning.data.batching.assembler import Assembler
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import LeaveLastN
from dssm_lightning.features import Categorical, History
from dssm_lightning.utils.ragged import Prefixes
from dssm_lightning.utils.seeding import Counter

ITEMS, USERS, LENGTH = 30, 120, 9
SELF_ATTENTION = {"class_path": "SelfAttention", "init_args": {"output_dim": 16, "num_heads": 2, "dropout": 0.1}}
GATED = {"class_path": "GRU", "init_args": {"output_dim": 16}}
DECAYED = {"class_path": "DecayedEmbeddingBag", "init_args": {"output_dim": 16, "half_life": 2.0, "learnable": True}}


def walks() -> Frames:
    """Make users who go from item i to item i + 7, modulo 30: only the last item determines the next one."""
    generator = torch.Generator().manual_seed(0)
    item = torch.randint(0, ITEMS, (USERS,), generator=generator)
    rows: list[dict[str, int]] = []
    for step in range(LENGTH):
        rows += [{"user": user, "item": int(i), "time": 60 * step} for user, i in enumerate(item)]
        item = (item + 7) % ITEMS
    corpus = pl.DataFrame({"item": range(ITEMS), "colour": ["red", "blue", "green"] * (ITEMS // 3)})
    return Frames(pl.DataFrame(rows), None, corpus, query_id="user", candidate_id="item", time="time")


def data(folder: Path, history: dict[str, Any] | None = None, **changes: Any) -> RetrievalDataModule:
    feature = {"name": "history", "of": "item", "order": "time", "max_length": LENGTH, **(history or {})}
    settings: dict[str, Any] = {
        "source": walks(),
        "query": [History(**feature)],
        "candidate": [Categorical(name="item"), Categorical(name="colour")],
        "split": LeaveLastN(test=1, validation=0),
        "batch_size": 20,
        "batch_by": "query",
        "rows_per_query": LENGTH,
        "mask_known": False,
        "cache_dir": str(folder),
    }
    return RetrievalDataModule(**(settings | changes))


def model(encoder: dict[str, Any], **changes: Any) -> TwoTower:
    tower = {"class_path": "Tower", "init_args": {"fusion": "Sum", "encoders": {"history": encoder}}}
    both = {name: {"class_path": "Embedding", "init_args": {"output_dim": 16}} for name in ("item", "colour")}
    candidate = {"class_path": "Tower", "init_args": {"fusion": "Sum", "encoders": both}}
    return small_model(**({"query_tower": tower, "candidate_tower": candidate, "scorer": SCORER} | changes))


@pytest.mark.parametrize("of", ["item", "candidate"])
@pytest.mark.parametrize("encoder", [SELF_ATTENTION, GATED, DECAYED], ids=lambda encoder: encoder["class_path"])
def test_a_batch_by_query_equals_the_batch_of_its_rows(tmp_path: Path, encoder: dict[str, Any], of: str) -> None:
    """Losses and gradients are equal for a sequence that is read once and for the history of each row."""
    made = data(tmp_path, {"of": of})
    rows = made.train_dataloader().order.epoch(0)(0)
    by_query = made.assembler.batch(rows, Counter(0))
    by_row = Assembler(made.data, mask_known=False).batch(rows, Counter(0))
    assert isinstance(by_query.query["history"], Prefixes)
    assert not isinstance(by_row.query["history"], Prefixes)
    assert len(by_query.query["history"].sequences.offsets) - 1 == 20
    tower = model(encoder)
    tower.build(made.schemas)
    tower.eval()
    gradients = []
    for batch in (by_query, by_row):
        losses = tower.per_query_loss(batch).value
        tower.zero_grad()
        losses.sum().backward()
        gradients.append([losses.detach(), *(p.grad for p in tower.parameters() if p.grad is not None)])
    assert len(gradients[0]) == len(gradients[1]) > 3
    for together, alone in zip(*gradients, strict=True):
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def fitted(folder: Path, made: RetrievalDataModule, tower: TwoTower, epochs: int) -> dict[str, float]:
    trainer = small_trainer(folder, max_epochs=epochs, limit_val_batches=0)
    trainer.fit(tower, datamodule=made)
    [metrics] = trainer.test(tower, datamodule=made, verbose=False)
    return {name: float(value) for name, value in metrics.items()}


@pytest.mark.parametrize("encoder", [SELF_ATTENTION, GATED], ids=lambda encoder: encoder["class_path"])
def test_the_order_of_a_history_is_learned(tmp_path: Path, encoder: dict[str, Any]) -> None:
    torch.manual_seed(1)
    metrics = fitted(tmp_path, data(tmp_path), model(encoder), epochs=25)
    assert metrics["test/seen_kept/hit_rate@1"] > 0.9  # without the order, the best guess is right in 1 of 30


@pytest.mark.parametrize("of", ["item", "candidate"])
def test_a_served_history_ranks_as_the_evaluation_does(tmp_path: Path, of: str) -> None:
    made, tower = data(tmp_path, {"of": of}), model(SELF_ATTENTION)
    fitted(tmp_path, made, tower, epochs=1)
    tower.eval()
    retriever = make_retriever(tower, made)
    [batch] = made.test_dataloader()
    with torch.inference_mode():
        scores = tower.scorer(tower.encode_query(batch.query), torch.from_numpy(retriever.corpus.embeddings))
    likes = made.assembler.likes.candidates
    for query in (0, 5, 119):
        liked = likes.values[likes.offsets[query] : likes.offsets[query + 1]]
        ids = made.candidates["item"].to_numpy()[liked.numpy()].tolist()
        hits = retriever.search({"history": ids}, k=ITEMS)
        found = torch.tensor([hit.score for hit in hits])
        torch.testing.assert_close(found, scores[query].sort(descending=True).values, rtol=1e-5, atol=1e-5)
        assert made.candidates["item"][int(scores[query].argmax())] == hits[0].id


def test_widths_that_do_not_meet(tmp_path: Path) -> None:
    made = data(tmp_path, {"of": "candidate"})
    narrow = {"class_path": "GRU", "init_args": {"output_dim": 8}}
    wide = {"fusion": "Sum", "encoders": {"history": narrow}, "output_dim": 16}
    tower = model(narrow, query_tower={"class_path": "Tower", "init_args": wide})
    with pytest.raises(ValueError, match=r"'history' .*output_dim is 8 .*16"):
        tower.build(made.schemas)


def test_a_candidate_feature_that_is_called_candidate(tmp_path: Path) -> None:
    made = data(tmp_path, {"of": "candidate"}, candidate=[Categorical(name="candidate", column="colour")])
    with pytest.raises(ValueError, match=r"'history': .*candidate"):
        made.prepare_data()


def test_an_unknown_feature_of_the_candidate(tmp_path: Path) -> None:
    made = data(tmp_path, {"of": "itme"})
    with pytest.raises(ValueError, match=r"'history': .*'itme'.*'item', 'colour'"):
        made.prepare_data()


class SaveAt(Callback):
    """Write a checkpoint after a number of batches."""

    def __init__(self, path: Path, number: int) -> None:
        super().__init__()
        self.path, self.number = path, number

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.number:
            trainer.save_checkpoint(self.path)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_batches_by_query_resume_in_mid_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")

    def fit(ckpt_path: Path | None = None, **changes: Any) -> dict[str, torch.Tensor]:
        torch.manual_seed(7)
        made = data(tmp_path, {"dropout": 0.3, "max_length": 5}, rows_per_query=5)
        tower = model(SELF_ATTENTION)
        trainer = small_trainer(tmp_path, max_epochs=3, limit_val_batches=0, **changes)
        trainer.fit(tower, datamodule=made, ckpt_path=ckpt_path, weights_only=True)
        return tower.state_dict()

    part = tmp_path / "part.ckpt"
    whole = fit(callbacks=[SaveAt(part, 8)])  # three epochs of six batches
    resumed = fit(part)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
