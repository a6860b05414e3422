"""One set of weights on a GPU and on the CPU: metrics of the whole corpus, mined negatives, searches and exports."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.device_cases import made, part
from helpers.small import small_data, small_model, small_trainer, write_config
from torch import Tensor

from dssm_lightning import RetrievalDataModule, TwoTower
from dssm_lightning.api import export_bundle, load_model, load_retriever, make_retriever
from dssm_lightning.cli.main import main
from dssm_lightning.data.negatives import Hard
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.training.hard_negative_mining import mine_once, scored_pools

pytestmark = pytest.mark.gpu

SCORE = 1e-4
"""Of scores up to 10: float32 has 7 digits, and sums of 16 products in another order lose one of them."""
METRIC = 2e-3
"""Of 60 queries and more: a near-tie of two candidates that changes places at the end of a list. One at its head would
move a mean by .008, and is unlikely: scores lie 1e-2 apart, and differ by 1e-5."""
SHAPES = [
    "learnt scale",
    "heads",
    "mlp",
    "int8 vectors",
    "codes",
    "attention, by query",
    "whole candidates",
    "pictures",
]


def trained(name: str, folder: Path) -> tuple[TwoTower, RetrievalDataModule]:
    """A model that was trained for an epoch on the GPU, and lies on the CPU."""
    model, data = made(name, folder)
    torch.manual_seed(3)
    trainer = small_trainer(folder, accelerator="gpu", devices=1, limit_val_batches=1)
    trainer.fit(model, data)
    trainer.save_checkpoint(folder / "gpu.ckpt")
    return model.cpu().eval(), data


def ranked(model: TwoTower, data: RetrievalDataModule) -> Tensor:
    """The scores of the corpus for all queries, as the retriever's own data give them."""
    batches = data.corpus_batches()
    with torch.inference_mode():
        corpus = model.embed_corpus(batches, len(batches.numbers))
        return torch.cat([model.score(features, corpus).cpu() for features in data.query_batches()])


@pytest.mark.parametrize("name", SHAPES)
def test_the_whole_corpus_is_measured_as_on_the_cpu(tmp_path: Path, name: str) -> None:
    model, data = trained(name, tmp_path)
    found = []
    for accelerator in ("gpu", "cpu"):
        trainer = small_trainer(tmp_path, accelerator=accelerator, devices=1)
        [test] = trainer.test(copy.deepcopy(model), data, verbose=False)
        [validation] = trainer.validate(copy.deepcopy(model), data, verbose=False)
        found.append({**test, **validation})
    assert len(found[0]) > 20
    assert found[0] == pytest.approx(found[1], abs=METRIC, rel=1e-3, nan_ok=True)


@pytest.mark.parametrize(
    "settings", [{"evaluate": "event"}, {"source": Synthetic(60, 40, labels=True)}], ids=["events", "labels"]
)
def test_events_and_labels_are_measured_as_on_the_cpu(tmp_path: Path, settings: dict[str, Any]) -> None:
    data, model = small_data(tmp_path / "cache", **settings), small_model()
    torch.manual_seed(3)
    model.build(data.schemas)
    found = [
        small_trainer(tmp_path, accelerator=accelerator, devices=1).test(copy.deepcopy(model), data, verbose=False)[0]
        for accelerator in ("gpu", "cpu")
    ]
    assert found[0] == pytest.approx(found[1], abs=METRIC, rel=1e-3, nan_ok=True)


@pytest.mark.parametrize("name", SHAPES)
def test_scores_are_those_of_the_cpu(tmp_path: Path, name: str) -> None:
    model, data = trained(name, tmp_path)
    on_gpu = ranked(copy.deepcopy(model).cuda(), data)
    torch.testing.assert_close(on_gpu, ranked(model, data), rtol=SCORE, atol=SCORE)


def test_embeddings_that_predict_writes_are_those_of_the_cpu(tmp_path: Path) -> None:
    model, data = trained("learnt scale", tmp_path)
    found = []
    for accelerator in ("gpu", "cpu"):
        trainer = small_trainer(tmp_path, accelerator=accelerator, devices=1)
        parts = trainer.predict(copy.deepcopy(model), data)
        assert parts
        found.append(torch.cat([each.cpu() for each in parts if isinstance(each, Tensor)], dim=1))
    torch.testing.assert_close(found[0], found[1], rtol=SCORE, atol=SCORE)


def test_a_gpu_mines_what_the_cpu_mines(tmp_path: Path) -> None:
    model, data = trained("learnt scale", tmp_path)
    pools = []
    for device in ("cuda", "cpu"):
        sampler = Hard(2, rank_range=(0, 10), margin=0.1)
        moved = copy.deepcopy(model).to(device)
        assert mine_once(sampler, moved, data) > 0
        lists, scores = scored_pools(sampler, moved, data)
        pools.append((lists, scores))
    (one, scores), (two, expected) = pools
    assert torch.equal(one.offsets, two.offsets)
    torch.testing.assert_close(scores, expected, rtol=SCORE, atol=SCORE)  # near-ties may change places, not scores
    assert (one.values == two.values).float().mean() > 0.98


def test_a_retriever_on_a_gpu_finds_what_one_on_the_cpu_finds(tmp_path: Path) -> None:
    model, data = trained("learnt scale", tmp_path)
    texts = [{"text": text} for text in data.data.queries["text"].to_list()[:20]]
    found = [make_retriever(copy.deepcopy(model).to(device), data).search(texts, 5) for device in ("cuda", "cpu")]
    assert_same_hits(*found)


def assert_same_hits(found: Any, expected: Any) -> None:
    """Equal scores by place; equal ids but for near-ties."""
    places = same = 0
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose([hit.score for hit in one], [hit.score for hit in two], rtol=SCORE, atol=SCORE)
        places, same = places + len(one), same + sum(a.id == b.id for a, b in zip(one, two, strict=True))
    assert same >= 0.98 * places > 0


@pytest.mark.parametrize("name", SHAPES)
def test_a_checkpoint_of_a_gpu_is_a_model_of_the_cpu(tmp_path: Path, name: str) -> None:
    """``gpu.ckpt`` is read without a GPU in mind: every tensor comes to the CPU, with the same values."""
    model, data = trained(name, tmp_path)
    loaded = load_model(tmp_path / "gpu.ckpt")
    assert {value.device.type for value in loaded.state_dict().values()} == {"cpu"}
    again = TwoTower.load_from_checkpoint(tmp_path / "gpu.ckpt", map_location="cpu", weights_only=True)
    for name_of, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name_of], value), name_of
    with torch.inference_mode():
        assert torch.isfinite(ranked(again.eval(), data)).all()


def test_a_bundle_of_a_gpus_run_answers_as_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    monkeypatch.chdir(tmp_path)
    main(
        ["fit", "--config", str(write_config(tmp_path / "texts.yaml", trainer={"max_epochs": 1, "accelerator": "gpu"}))]
    )
    [checkpoint] = Path("runs").rglob("last.ckpt")
    export_bundle(checkpoint, tmp_path / "bundle")
    texts = [{"text": text} for text in ("a b c", "baba dudu", "gigi")]
    with Retriever.load(tmp_path / "bundle") as retriever:
        assert_same_hits(retriever.search(texts, 5), load_retriever(checkpoint).search(texts, 5))


def test_the_command_line_fits_tests_and_searches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``accelerator: auto`` takes the GPU; the other verbs read the run as any other."""
    monkeypatch.chdir(tmp_path)
    settings = {"accelerator": "auto", "max_epochs": 2}
    main(["fit", "--config", str(write_config(tmp_path / "texts.yaml", trainer=settings))])
    main(["test"])
    main(["search", "--query", "baba dudu"])


@pytest.mark.parametrize("way", ["sampled", "in batch"])
def test_a_model_learns_on_a_gpu(tmp_path: Path, way: str) -> None:
    """The floor of the synthetic data: a topic has 10 of 40 candidates, so chance finds a tenth of them at 10 in 4."""
    name = "uniform" if way == "sampled" else "learnt scale"
    model, data = made(name, tmp_path)
    torch.manual_seed(3)
    trainer = small_trainer(tmp_path, accelerator="gpu", devices=1, max_epochs=12)
    trainer.fit(model, data)
    [found] = trainer.test(model, data, verbose=False)
    assert found["test/recall@10"] > 0.8


def test_the_optimizers_of_sparse_tables_train_as_on_the_cpu(tmp_path: Path) -> None:
    both = part("SparseAndDense", sparse=part("RowWiseAdagrad", lr=0.1), dense=part("torch.optim.Adam", lr=0.01))
    ends = []
    for accelerator in ("gpu", "cpu"):
        model, data = made("sparse bag", tmp_path)
        model.make_optimizer = small_model(optimizer=both).make_optimizer
        torch.manual_seed(3)
        model.build(data.schemas)
        trainer = small_trainer(tmp_path, accelerator=accelerator, devices=1, max_epochs=2)
        trainer.fit(model, data)
        ends.append(float(trainer.callback_metrics["train/loss"]))
    assert ends[0] == pytest.approx(ends[1], rel=2e-3)  # as LOSS of test_gpu_training.py
