"""``configs/dssm.yaml`` is the paper's network, and the options in its head have the described effect."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from helpers.paths import CONFIGS
from torch import nn

from dssm_lightning import TwoTower
from dssm_lightning.api import load_untrained
from dssm_lightning.cli.main import main
from dssm_lightning.features import HashedTrigrams
from dssm_lightning.features.schema import Schema, Schemas

CONFIG = CONFIGS / "dssm.yaml"
QUERY = HashedTrigrams(name="trigrams", column="query", num_buckets=30_000)
PAGE = HashedTrigrams(name="trigrams", column="text", num_buckets=30_000)
SHORT = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=0"]
SHORT += ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def model() -> TwoTower:
    torch.manual_seed(0)
    built = load_untrained([str(CONFIG)])
    built.build(Schemas(Schema((QUERY,)), Schema((PAGE,))))
    return built


def with_two_towers(folder: Path) -> Path:
    """The config, changed as its head says."""
    text = CONFIG.read_text(encoding="utf-8")
    assert "\n  candidate_tower: null" in text
    path = folder / "two.yaml"
    path.write_text(text.replace("\n  candidate_tower: null", "\n  candidate_tower: *tower"), encoding="utf-8")
    return path


def test_it_has_the_papers_layers(model: TwoTower) -> None:
    tower = model.query_tower
    sizes = [tuple(parameter.shape) for parameter in tower.parameters()]
    assert sorted(sizes) == sorted([(30_000, 300), (300,), (300, 300), (300,), (128, 300), (128,)])
    assert sum(isinstance(layer, nn.Tanh) for layer in tower.modules()) == 3
    assert model.candidate_tower is tower
    assert model.scorer.logit_scale.item() == pytest.approx(10)


def test_it_computes_what_the_paper_writes(model: TwoTower) -> None:
    """y = tanh(W₃ tanh(W₂ tanh(W₁ x + b₁) + b₂) + b₃) of the term vector x; R = cosine; γ R."""
    texts = {"query": pl.Series(["show disk usage", "usage"]), "text": pl.Series(["du Disk usage: estimate"])}
    embeddings = []
    for feature, tower in ((QUERY, model.query_tower), (PAGE, model.candidate_tower)):
        ragged = feature.encode(texts[feature.source_column])
        x = torch.zeros(len(ragged.lengths), 30_000)
        x.index_put_((ragged.rows, ragged.values.long()), torch.ones(len(ragged.values)), accumulate=True)
        w2, w3 = (layer for layer in tower.modules() if isinstance(layer, nn.Linear))
        hidden = torch.tanh(x @ tower.encoders["trigrams"].table.weight + tower.fusion.bias)
        embeddings.append(torch.tanh(w3(torch.tanh(w2(hidden)))))
    expected = 10 * torch.cosine_similarity(embeddings[0], embeddings[1])
    columns = [{"trigrams": feature.encode(texts[feature.source_column])} for feature in (QUERY, PAGE)]
    torch.testing.assert_close(model(*columns)[:, 0], expected)


def test_weights_start_within_the_papers_range(model: TwoTower) -> None:
    for sizes in ((30_000, 300), (300, 300), (128, 300)):
        [weight] = [p for p in model.query_tower.parameters() if tuple(p.shape) == sizes]
        limit = math.sqrt(6 / sum(sizes))
        assert weight.abs().max().item() == pytest.approx(limit, rel=0.01)
        assert weight[1:].std().item() == pytest.approx(limit / math.sqrt(3), rel=0.02)  # uniform


# -- the options in the head -------------------------------------------------------------------------------------------


def options() -> dict[str, list[str]]:
    """The option of each variant in the head of the config, as words of a command line, by its name."""
    head = [
        line.removeprefix("#").strip() for line in CONFIG.read_text(encoding="utf-8").splitlines() if line[:1] == "#"
    ]
    words = [shlex.split(line) for line in head if line.startswith("--")]
    return {option[0]: option for option in words}


NEGATIVES, LEARNABLE, OPTIMIZER = "--data.negatives", "--model.scorer.init_args.learnable", "--model.optimizer"
OUTPUT, TRIGRAMS = "--model.query_tower.init_args.output_activation", "--data.query"


def fit(*arguments: str, config: Path = CONFIG) -> Any:
    return main(["fit", "--config", str(config), *arguments, *SHORT])


@pytest.fixture
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_option_is_tested_below() -> None:
    assert set(options()) == {NEGATIVES, LEARNABLE, OPTIMIZER, OUTPUT, TRIGRAMS}


@pytest.mark.usefixtures("_elsewhere")
def test_four_negatives_and_a_learnt_gamma() -> None:
    found = options()
    cli = fit(*found[NEGATIVES], *found[LEARNABLE])
    [batch] = list(cli.datamodule.train_dataloader())[:1]
    assert batch.negatives.shape == (1024, 4)
    per_query = cli.model.per_query_loss(batch).value
    with torch.no_grad():
        query = cli.model.encode_query(batch.query)
        page = cli.model.encode_candidate(batch.candidates.features)
    for row in range(3):  # the positive against its own four (fewer where it liked one, or one came twice)
        known = {batch.target[row].item()} | _known_columns(batch, row)
        others = [column for column in batch.negatives[row].tolist() if column not in known]
        cosines = page[[batch.target[row].item(), *others]] @ query[row]
        expected = -torch.log_softmax(cli.model.scorer.logit_scale * cosines, 0)[0]
        torch.testing.assert_close(per_query[row], expected, atol=1e-5, rtol=1e-5)
    assert cli.model.scorer.logit_scale.item() != pytest.approx(10, abs=1e-6)


def _known_columns(batch: Any, row: int) -> set[int]:
    known = batch.known.values[batch.known.offsets[row] : batch.known.offsets[row + 1]]
    return set(torch.isin(batch.candidates.id, known).nonzero().squeeze(1).tolist())


@pytest.mark.usefixtures("_elsewhere")
def test_gradient_descent_and_a_linear_output() -> None:
    found = options()
    cli = fit(*found[OPTIMIZER], *found[OUTPUT])
    assert isinstance(cli.trainer.optimizers[0], torch.optim.SGD)
    assert cli.datamodule.batch_size == 1024
    assert sum(isinstance(layer, nn.Tanh) for layer in cli.model.query_tower.modules()) == 2


@pytest.mark.usefixtures("_elsewhere")
def test_two_towers_and_fitted_trigrams(tmp_path: Path) -> None:
    cli = fit(*options()[TRIGRAMS], config=with_two_towers(tmp_path))
    assert cli.model.candidate_tower is not cli.model.query_tower
    tables = [tower.encoders["trigrams"].table.weight for tower in cli.model.towers.values()]
    assert len(tables[0]) == len(cli.datamodule.schemas.query["trigrams"].vocabulary) + 1 > 5000
    assert len(tables[1]) == 30_000
