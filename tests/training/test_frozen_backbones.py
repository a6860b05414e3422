"""Backbones in a fit: kept features, weights that are read once, epochs of rest, learning rates, transforms by YAML."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from helpers.small import TOWER, small_data, small_model, small_trainer
from lightning.pytorch.callbacks import Callback

from dssm_lightning import RetrievalDataModule, TwoTower
from dssm_lightning.api import make_retriever
from dssm_lightning.data.negatives import Hard
from dssm_lightning.features import HashedWords, Image
from dssm_lightning.models.encoders import Backbone
from dssm_lightning.reports.html_report.ranked_sample import rank_sample
from dssm_lightning.training import frozen_backbones
from dssm_lightning.training.hard_negative_mining import mine_once, scored_pools
from dssm_lightning.training.optimizers.parameter_groups import parameter_groups

NET = "shufflenet_v2_x0_5"
QUERY = [HashedWords(name="text", num_buckets=300)]
DENSE = "dssm_lightning.models.encoders.Dense"


def data(folder: Path, **changes: Any) -> RetrievalDataModule:
    return small_data(folder, **{"query": QUERY, "candidate": [Image(name="picture", size=32)], **changes})


def model(dense: bool = False, **options: Any) -> TwoTower:
    backbone: dict[str, Any] = {
        "class_path": "dssm_lightning.models.encoders.Backbone",
        "init_args": {"name": NET, "output_dim": 8, **options},
    }
    if dense:
        backbone = {"class_path": DENSE, "init_args": {"encoder": backbone, "output_dim": 16}}
    init_args = {**TOWER["init_args"], "encoders": {"picture": backbone}}
    return small_model(candidate_tower={**TOWER, "init_args": init_args})


def backbone_of(trained: TwoTower) -> Backbone:
    found = trained.candidate_tower.encoders["picture"]
    assert isinstance(found, Backbone)
    return found


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(torchvision.models.get_model(NET, num_classes=3).state_dict(), tmp_path / "net.pt")
    return tmp_path / "net.pt"


# -- what is computed once ---------------------------------------------------------------------------------------------


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each run of a backbone saw."""
    found: list[int] = []
    run = Backbone.features

    def counted(self: Backbone, pixels: torch.Tensor) -> torch.Tensor:
        found.append(len(pixels))
        return run(self, pixels)

    monkeypatch.setattr(Backbone, "features", counted)
    return found


@pytest.mark.parametrize("dense", [False, True])
def test_a_frozen_backbone_runs_once_for_each_picture(tmp_path: Path, seen: list[int], dense: bool) -> None:
    torch.manual_seed(0)
    made, trained = data(tmp_path), model(dense, frozen=True)
    trainer = small_trainer(tmp_path, max_epochs=2)
    trainer.fit(trained, datamodule=made)
    assert sum(seen) == made.num_candidates == 40  # for two epochs and their validations
    trainer.test(trained, datamodule=made, verbose=False)
    trainer.fit(model(dense, frozen=True), datamodule=data(tmp_path))  # other random weights
    assert sum(seen) == 80
    assert len(list(tmp_path.glob("*/candidate.picture#frozen-*/features.npy"))) == 2


def embedded(trained: TwoTower, made: RetrievalDataModule) -> np.ndarray:
    return make_retriever(trained, made).corpus.embeddings


def ranked(trained: TwoTower, made: RetrievalDataModule) -> np.ndarray:
    sample = rank_sample(trained, made)
    assert sample is not None
    return sample.corpus.numpy()


def mined(trained: TwoTower, made: RetrievalDataModule) -> np.ndarray:
    sampler = Hard(1, (1, 5))
    mine_once(sampler, trained, made)
    _, logits = scored_pools(sampler, trained, made)
    return logits.numpy()


EMBED = [embedded, ranked, mined]


@pytest.mark.parametrize("embed", EMBED)
def test_what_embeds_the_corpus_after_a_fit_reads_the_kept_features(
    tmp_path: Path, seen: list[int], embed: Callable[..., Any]
) -> None:
    """With data of its own; the pictures themselves stay at hand."""
    trained = model(frozen=True)
    small_trainer(tmp_path).fit(trained, datamodule=data(tmp_path))
    trained.eval()
    made = data(tmp_path)
    made.encode_with(trained.schemas)
    embed(trained, made)
    assert made.data.candidate["picture"].dtype == torch.uint8
    assert made.assembler.inputs.candidate["picture"].dtype == torch.float32
    assert sum(seen) == 40


@pytest.mark.parametrize("embed", EMBED)
@pytest.mark.parametrize("other", ["frozen", "not frozen", "no backbone"])
def test_another_model_of_the_same_data_has_its_own_features(
    tmp_path: Path, embed: Callable[..., Any], other: str
) -> None:
    def made_model() -> TwoTower:
        torch.manual_seed(1)
        found = small_model() if other == "no backbone" else model(frozen=other == "frozen")
        found.build(shared.schemas)
        return found.eval()

    shared, first = data(tmp_path), model(frozen=True)
    first.build(shared.schemas)
    embed(first.eval(), shared)
    fresh = data(tmp_path)
    fresh.encode_with(shared.schemas)
    np.testing.assert_array_equal(embed(made_model(), shared), embed(made_model(), fresh))


def test_a_retriever_of_kept_features_is_that_of_the_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained, made = model(frozen=True), data(tmp_path)
    trained.build(made.schemas)
    kept = make_retriever(trained, made).corpus.embeddings
    monkeypatch.setattr(Backbone, "gives_fixed_features", property(lambda self: False))
    np.testing.assert_allclose(kept, make_retriever(trained, data(tmp_path)).corpus.embeddings, atol=1e-5)


class Brighter(torch.nn.Module):
    """A transform whose text does not tell its setting."""

    def __init__(self, by: int) -> None:
        super().__init__()
        self.by = by

    def forward(self, picture: torch.Tensor, coverage: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (picture.int() + self.by).clamp(0, 255).byte(), coverage


def test_transforms_are_told_apart_by_what_they_do(tmp_path: Path) -> None:
    found = []
    for by in (0, 90, 90):
        torch.manual_seed(0)
        step = {"class_path": f"{__name__}.Brighter", "init_args": {"by": by}}
        trained, made = model(frozen=True, evaluation_transforms=[step]), data(tmp_path)
        trained.build(made.schemas)
        found.append(embedded(trained, made))
    assert np.abs(found[0] - found[1]).max() > 1e-3
    np.testing.assert_array_equal(found[1], found[2])
    assert len(list(tmp_path.glob("*/candidate.picture#frozen-*/features.npy"))) == 2


def test_weights_of_bfloat16_have_a_digest(tmp_path: Path) -> None:
    trained, made = model(frozen=True), data(tmp_path)
    trained.build(made.schemas)
    assert embedded(trained.to(torch.bfloat16), made).shape == (40, 16)


def test_given_weights_are_read_before_their_features_are_named(tmp_path: Path, weights: Path) -> None:
    """An untrained model, whose weights no fit has read, finds the features of the same weights, or stores them."""
    untrained, made = model(weights=str(weights), frozen=True), data(tmp_path)
    untrained.build(made.schemas)
    make_retriever(untrained, made)
    small_trainer(tmp_path).fit(model(weights=str(weights), frozen=True), datamodule=data(tmp_path))
    assert len(list(tmp_path.glob("*/candidate.picture#frozen-*"))) == 2  # a folder and its lock


def test_kept_features_train_and_measure_as_pictures_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for kept in (True, False):
        if not kept:
            monkeypatch.setattr(Backbone, "gives_fixed_features", property(lambda self: False))
        torch.manual_seed(0)
        trained, trainer = model(frozen=True), small_trainer(tmp_path, max_epochs=1)
        trainer.fit(trained, datamodule=data(tmp_path))
        [metrics] = trainer.test(trained, datamodule=data(tmp_path), verbose=False)
        found.append((trained.state_dict(), metrics))
    for name, value in found[0][0].items():
        torch.testing.assert_close(value, found[1][0][name], rtol=1e-3, atol=1e-4)
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-3)


def test_damaged_features_are_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One flipped bit of the kept file would else train on other features, in silence."""

    def trained() -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        made = model(frozen=True)
        small_trainer(tmp_path).fit(made, datamodule=data(tmp_path))
        return made.state_dict()

    expected = trained()
    [kept] = tmp_path.glob("*/candidate.picture#frozen-*/features.npy")
    content = bytearray(kept.read_bytes())
    for place in (10, len(content) // 2):
        damaged = content.copy()
        damaged[place] ^= 1
        kept.write_bytes(damaged)
        with pytest.warns(UserWarning, match=r"frozen-\w+: features\.npy missing or damaged"):
            found = trained()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
        assert kept.read_bytes() == content


@pytest.mark.parametrize(("where", "number"), [("FileLock", errno.EACCES), ("checked_folder", errno.ENOSPC)])
def test_features_that_cannot_be_written_are_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: list[int], where: str, number: int
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(number, "refused")

    data(tmp_path).prepare()
    before = {path for path in tmp_path.rglob("*") if path.suffix != ".lock"}
    monkeypatch.setattr(frozen_backbones, where, refused)
    small_trainer(tmp_path).fit(model(frozen=True), datamodule=data(tmp_path))
    assert {path for path in tmp_path.rglob("*") if path.suffix != ".lock"} == before
    assert sum(seen) == 40  # also where the disk is full after they are computed


# -- given weights -----------------------------------------------------------------------------------------------------


def test_a_checkpoint_needs_no_weights_file(tmp_path: Path, weights: Path) -> None:
    """Loaded, tested and resumed after the file is gone."""
    trained, trainer = model(weights=str(weights)), small_trainer(tmp_path)
    trainer.fit(trained, datamodule=data(tmp_path))
    first = backbone_of(trained).backbone.get_parameter("conv1.0.weight")
    assert not torch.equal(first, torch.load(weights, weights_only=True)["conv1.0.weight"])  # was read, and trained on
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    weights.unlink()
    loaded = TwoTower.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert torch.equal(backbone_of(loaded).backbone.get_parameter("conv1.0.weight"), first)
    small_trainer(tmp_path).test(
        model(weights=str(weights)), data(tmp_path), ckpt_path=tmp_path / "a.ckpt", verbose=False
    )
    resumed = model(weights=str(weights))
    small_trainer(tmp_path, max_epochs=2).fit(resumed, datamodule=data(tmp_path), ckpt_path=tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"Backbone of 'picture': weights '.*net.pt'"):
        small_trainer(tmp_path).fit(model(weights=str(weights)), datamodule=data(tmp_path))


def test_given_weights_are_where_training_starts(tmp_path: Path, weights: Path) -> None:
    trained = model(weights=str(weights), frozen=True)
    small_trainer(tmp_path).fit(trained, datamodule=data(tmp_path))
    given = torch.load(weights, weights_only=True)
    assert torch.equal(backbone_of(trained).backbone.get_parameter("conv1.0.weight"), given["conv1.0.weight"])


# -- how they train ----------------------------------------------------------------------------------------------------


class SaveAfterThree(Callback):
    """In the middle of an epoch; a checkpoint that is saved when a fit has ended counts its epoch as whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 3:
            trainer.save_checkpoint(self.path)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended")  # the data module keeps the place
def test_a_backbone_rests_for_some_epochs(tmp_path: Path) -> None:
    """Also where a fit is resumed in the middle of an epoch."""
    made, trained = data(tmp_path), model(frozen_epochs=1)
    trained.build(made.schemas)
    before = {name: value.clone() for name, value in backbone_of(trained).backbone.named_parameters()}
    trainer = small_trainer(tmp_path, limit_val_batches=0, callbacks=[SaveAfterThree(tmp_path / "a.ckpt")])
    trainer.fit(trained, datamodule=made)
    assert all(torch.equal(value, before[name]) for name, value in backbone_of(trained).backbone.named_parameters())
    steps = trainer.global_step
    assert steps == 7
    for count, moved in ((steps, False), (steps + 1, True)):
        resumed = model(frozen_epochs=1)
        trainer = small_trainer(tmp_path, max_steps=count, max_epochs=None, limit_val_batches=0)
        trainer.fit(resumed, datamodule=data(tmp_path), ckpt_path=tmp_path / "a.ckpt")
        now = dict(backbone_of(resumed).backbone.named_parameters())
        assert any(not torch.equal(now[name], value) for name, value in before.items()) == moved


def test_a_learning_rate_of_its_own(tmp_path: Path) -> None:
    made, trained = data(tmp_path), model(learning_rate=1e-5)
    trained.build(made.schemas)
    optimizer = trained.configure_optimizers()
    rest, own = optimizer.param_groups
    assert (rest["lr"], own["lr"]) == (0.02, 1e-5)
    assert set(own["params"]) == set(backbone_of(trained).backbone.parameters())
    assert {*rest["params"], *own["params"]} == {p for p in trained.parameters() if p.requires_grad}
    plain = model()
    plain.build(made.schemas)
    assert parameter_groups(plain) == [p for p in plain.parameters() if p.requires_grad]


def test_transforms_are_settings_and_draw_from_the_batch(tmp_path: Path) -> None:
    """By class path, saved with the model; equal runs see equal pictures."""
    transforms = [
        {"class_path": "torchvision.transforms.v2.RandomResizedCrop", "init_args": {"size": 32, "scale": [0.5, 1.0]}},
        "torchvision.transforms.v2.RandomHorizontalFlip",
        {"class_path": "torchvision.transforms.v2.ColorJitter", "init_args": {"brightness": 0.3}},
    ]
    states = []
    for drawn in range(2):
        torch.manual_seed(0)
        trained, trainer = model(transforms=transforms), small_trainer(tmp_path, limit_train_batches=2)
        made = data(tmp_path)
        trained.build(made.schemas)
        torch.manual_seed(drawn)  # whatever was drawn before
        trainer.fit(trained, datamodule=made)
        states.append(trained.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = TwoTower.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    steps = backbone_of(loaded).transforms.training_steps
    assert [type(step).__name__ for step in steps] == ["RandomResizedCrop", "RandomHorizontalFlip", "ColorJitter"]
