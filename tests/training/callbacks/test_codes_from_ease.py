"""Codes from EASE: the score beside the towers is the baseline's, and the target never scores itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.parity import parity_of
from helpers.small import small_data, small_model, small_trainer, write_config
from lightning.pytorch.callbacks import LearningRateFinder
from torch import Tensor

from dssm_lightning import RetrievalDataModule, TwoTower
from dssm_lightning.cli.main import main
from dssm_lightning.data.interactions import TRAIN, VALIDATION
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.evaluation.baselines import EASE, BaselineData
from dssm_lightning.features import Categorical, CategoricalList, HashedWords, History
from dssm_lightning.training.callbacks import CodesFromEASE
from dssm_lightning.training.checkpoint_model import model_of

WIDTH, L2 = 40, 2.0


def tower(name: str, encoder: str = "Codes", width: int = WIDTH, **codes: Any) -> dict[str, Any]:
    part = {"class_path": encoder, "init_args": {"output_dim": width, **codes}}
    settings = {"fusion": "Concat", "output_dim": 8, "encoders": {name: part}, "bypass": [name]}
    return {"class_path": "Tower", "init_args": settings}


def data(folder: Path, **changes: Any) -> RetrievalDataModule:
    settings: dict[str, Any] = {
        "query": [HashedWords(name="text", num_buckets=300), History(name="liked", of="candidate_id")],
        "candidate": [
            HashedWords(name="text", num_buckets=300),
            Categorical(name="candidate_id"),
            CategoricalList(name="tags"),
        ],
    }
    return small_data(folder / "cache", **(settings | changes))


def model(weight: float = 1.0, **changes: Any) -> TwoTower:
    towers = {"query_tower": tower("liked", weight=weight), "candidate_tower": tower("candidate_id")}
    return small_model(**(towers | changes))


def fitted(folder: Path, module: TwoTower | None = None, **changes: Any) -> tuple[TwoTower, RetrievalDataModule]:
    module, loaded = module or model(), data(folder, **changes)
    trainer = small_trainer(folder, callbacks=[CodesFromEASE("liked", "candidate_id", l2=L2)])
    trainer.fit(module, datamodule=loaded)
    trainer.save_checkpoint(folder / "codes.ckpt")
    return module.eval(), loaded


@torch.no_grad()
def channel(module: TwoTower, loaded: RetrievalDataModule, liked: Any) -> Tensor:
    """(B, N) what the codes add to the dot products."""
    corpus = module.candidate_tower.encoders["candidate_id"](loaded.data.candidate["candidate_id"])
    scores: Tensor = module.query_tower.encoders["liked"](liked) @ corpus.T
    return scores


def baseline(loaded: RetrievalDataModule) -> EASE:
    found = EASE(l2=L2)
    found.fit(BaselineData(positives=loaded.assembler.likes.candidates, num_candidates=loaded.num_candidates))
    return found


def test_the_channel_is_the_weight_times_the_score_of_the_baseline(tmp_path: Path) -> None:
    module, loaded = fitted(tmp_path, model(weight=0.5))
    ease, compared = baseline(loaded), 0
    for batch in loaded.evaluation_batches(VALIDATION):
        found, wanted = channel(module, loaded, batch.query["liked"]), 0.5 * ease.scores(batch)
        seen = torch.zeros_like(wanted, dtype=torch.bool)
        seen[batch.seen.rows, batch.seen.values] = True
        torch.testing.assert_close(found[~seen], wanted[~seen], atol=1e-5, rtol=0)
        compared += int((~seen & (wanted != 0)).sum())
    assert compared > 100


def test_a_training_target_does_not_score_itself(tmp_path: Path) -> None:
    """The naive sum over the other likes of the query, with the zero diagonal of the closed form."""
    module, loaded = fitted(tmp_path)
    interactions = loaded.data.interactions
    rows = interactions.rows(TRAIN)
    matrix = torch.zeros(len(loaded.data.queries), loaded.num_candidates, dtype=torch.float64)
    matrix[interactions.query[rows], interactions.candidate[rows]] = 1.0
    inverse = torch.linalg.inv(matrix.T @ matrix + L2 * torch.eye(loaded.num_candidates))
    weights = (-inverse / inverse.diagonal()).fill_diagonal_(0.0)
    targets = interactions.candidate[rows]
    found = channel(module, loaded, loaded.assembler.event_features(rows)["liked"])
    wanted = matrix[interactions.query[rows]] @ weights
    each = torch.arange(len(rows))
    torch.testing.assert_close(found[each, targets].double(), wanted[each, targets], atol=1e-5, rtol=0)


def test_training_changes_a_learnable_weight_and_no_code(tmp_path: Path) -> None:
    module, loaded = fitted(tmp_path, model(query_tower=tower("liked", learnable=True)))
    encoder = module.query_tower.encoders["liked"]
    assert encoder.weight.item() != 1.0
    batch = next(iter(loaded.evaluation_batches(VALIDATION)))
    found, wanted = channel(module, loaded, batch.query["liked"]), baseline(loaded).scores(batch)
    unseen = torch.ones_like(wanted, dtype=torch.bool)
    unseen[batch.seen.rows, batch.seen.values] = False
    torch.testing.assert_close(found[unseen], (wanted * encoder.weight)[unseen], atol=1e-5, rtol=0)


def test_a_checkpoint_has_the_codes_and_a_resumed_fit_keeps_them(tmp_path: Path, monkeypatch: Any) -> None:
    module, _ = fitted(tmp_path)
    saved = torch.load(tmp_path / "codes.ckpt", weights_only=True)
    alone = model_of(saved, "codes.ckpt")
    key = "query_tower.encoders.liked.table.weight"
    assert torch.equal(alone.state_dict()[key], module.state_dict()[key])
    monkeypatch.setattr("dssm_lightning.training.callbacks.codes_from_ease.ease_factors", None)  # a call would fail
    resumed = model()
    trainer = small_trainer(tmp_path, max_epochs=2, callbacks=[CodesFromEASE("liked", "candidate_id", l2=L2)])
    trainer.fit(resumed, datamodule=data(tmp_path), ckpt_path=tmp_path / "codes.ckpt", weights_only=True)
    assert torch.equal(resumed.state_dict()[key], module.state_dict()[key])


def test_a_callback_of_two_fits_fills_the_codes_of_both(tmp_path: Path) -> None:
    callback = CodesFromEASE("liked", "candidate_id", l2=L2)
    first, second = model(), model()
    for module in (first, second):
        small_trainer(tmp_path, callbacks=[callback]).fit(module, datamodule=data(tmp_path))
    key = "candidate_tower.encoders.candidate_id.table.weight"
    assert torch.equal(first.state_dict()[key], second.state_dict()[key])
    finder = LearningRateFinder(num_training_steps=3)
    third = model()
    small_trainer(tmp_path, callbacks=[callback, finder]).fit(third, datamodule=data(tmp_path))
    assert torch.equal(first.state_dict()[key], third.state_dict()[key])


def test_bundle_and_retriever_rank_as_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = {"class_path": "HashedTrigrams", "init_args": {"name": "text", "num_buckets": 500}}
    history = {"class_path": "History", "init_args": {"name": "liked", "of": "candidate_id"}}
    identity = {"class_path": "Categorical", "init_args": {"name": "candidate_id"}}
    callback = {"class_path": "CodesFromEASE", "init_args": {"history": "liked", "candidate": "candidate_id"}}
    write_config(
        tmp_path / "config.yaml",
        data={"query": [text, history], "candidate": [text, identity]},
        model={"query_tower": tower("liked", width=16), "candidate_tower": tower("candidate_id", width=16)},
        trainer={"max_epochs": 1, "callbacks": [callback]},
    )
    run = main(["fit", "--config", "config.yaml"]).run
    found = parity_of(run / "checkpoints" / "last.ckpt", tmp_path / "bundle", k=20)
    assert found.queries > 20
    assert found.wrong == 0
    assert found.difference < 1e-4


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        (("seen", "candidate_id"), {}, "query feature 'seen' does not exist.*'liked'"),
        (("text", "candidate_id"), {}, "query feature 'text' is HashedWords.*History"),
        (("liked", "text"), {}, "candidate feature 'text' has the encoder EmbeddingBag.*Codes"),
        (("liked", "tags"), {"candidate_tower": tower("tags")}, "'tags' has several ids"),
        (
            ("liked", "candidate_id"),
            {"query_tower": tower("liked", "EmbeddingBag")},
            "query feature 'liked' has the encoder EmbeddingBag.*Codes",
        ),
    ],
)
def test_features_that_cannot_hold_the_codes_are_refused(
    tmp_path: Path, names: tuple[str, str], changes: dict[str, Any], message: str
) -> None:
    trainer = small_trainer(tmp_path, callbacks=[CodesFromEASE(*names)])
    with pytest.raises(ValueError, match=message):
        trainer.fit(model(**changes), datamodule=data(tmp_path))


def test_codes_outside_of_the_bypass_are_refused(tmp_path: Path) -> None:
    sides = {f"{side}_tower": tower(name) for side, name in (("query", "liked"), ("candidate", "candidate_id"))}
    for each in sides.values():
        each["init_args"]["bypass"] = []
    trainer = small_trainer(tmp_path, callbacks=[CodesFromEASE("liked", "candidate_id")])
    with pytest.raises(ValueError, match=r"'liked' is not in the bypass"):
        trainer.fit(model(**sides), datamodule=data(tmp_path))


def test_an_id_of_several_candidates_is_refused(tmp_path: Path) -> None:
    groups = [HashedWords(name="text", num_buckets=300), Categorical(name="candidate_id", column="group")]
    trainer = small_trainer(tmp_path, callbacks=[CodesFromEASE("liked", "candidate_id")])
    with pytest.raises(ValueError, match=r"'candidate_id' gives one id to several liked candidates"):
        trainer.fit(model(), datamodule=data(tmp_path, candidate=groups))


def test_a_penalty_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"l2.*0"):
        CodesFromEASE("liked", "candidate_id", l2=0.0)


def test_the_channel_alone_finds_what_is_liked_together(tmp_path: Path) -> None:
    """Candidates of a topic are liked together: the codes tell the topic before the towers have learnt anything."""
    source = Synthetic(num_queries=60, num_candidates=40, likes=8)
    module, loaded = fitted(tmp_path, source=source)
    interactions = loaded.data.interactions
    rows = interactions.rows(VALIDATION)
    scores = channel(module, loaded, loaded.assembler.query_features(interactions.query[rows])["liked"])
    wanted = scores[torch.arange(len(rows)), interactions.candidate[rows]]
    assert (wanted[:, None] > scores).double().mean() > 0.7
