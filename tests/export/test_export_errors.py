"""What cannot be exported is one line that names the part; and what an export leaves on the disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers.programs import build
from helpers.small import small_model
from safetensors.torch import load_file
from torch import Tensor
from torchvision.transforms import v2

from dssm_lightning import Tower
from dssm_lightning.export import export_towers, flatten, towers
from dssm_lightning.export.shared_weights import read_header
from dssm_lightning.features import Categorical, Feature, HashedWords, Image, Vector
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.models.encoders import ConvNet, Dense, Embedding, EmbeddingBag, Encoder
from dssm_lightning.models.fusion import Concat, Fusion
from dssm_lightning.models.scorers import Dot
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column, Ragged

CITY = Categorical(name="city", vocabulary=("Bonn", "Rome"))
WORDS = HashedWords(name="title", num_buckets=40)


class Longest(Encoder):
    """An encoder of a user, which reads a value in Python."""

    def __init__(self, feature: Feature) -> None:
        super().__init__()
        self.output_dim = 1

    def forward(self, column: Column) -> Tensor:
        """Ragged -> (B, 1)."""
        assert isinstance(column, Ragged)
        return column.lengths[:, None].float() / (1 + max(column.lengths.tolist()))


class Sorted(Encoder):
    """An encoder of a user, with an operation that ONNX does not have."""

    def __init__(self, feature: Feature) -> None:
        super().__init__()
        self.output_dim = 3

    def forward(self, column: Column) -> Tensor:
        """(B, 3) -> (B, 3)."""
        assert isinstance(column, Tensor)
        return torch.special.bessel_j0(column)


class OneRow(Encoder):
    """An encoder of a user that gives other numbers in a program than in torch."""

    def __init__(self, feature: Feature) -> None:
        super().__init__()
        self.output_dim = 3

    def forward(self, column: Column) -> Tensor:
        """(B, 3) -> (B, 3)."""
        assert isinstance(column, Tensor)
        return column + 1 if torch.compiler.is_exporting() else column


class Inverse(Fusion):
    """A fusion of a user."""

    def __init__(self, input_dims: list[int]) -> None:
        super().__init__(input_dims)
        self.output_dim = 3

    def forward(self, encodings: list[Tensor]) -> Tensor:
        """[(B, 3)] -> (B, 3)."""
        return torch.special.bessel_j0(encodings[0])


class Foreign(Feature):
    """A feature of a user."""


def tower(
    feature: Feature, encoder: Callable[..., Encoder], fusion: Callable[..., Fusion] = Concat
) -> Callable[..., Tower]:
    return partial(Tower, fusion=fusion, encoders={feature.name: encoder}, output_dim=3)


@pytest.mark.parametrize(
    ("feature", "encoder", "message"),
    [
        (WORDS, Longest, r"Longest.*query feature 'title'.*is_exporting"),
        (Vector(name="v", length=3), Sorted, r"Sorted.*'v'.*bessel"),
        (WORDS, partial(Dense, encoder=Longest, output_dim=3), r"Dense of Longest.*'title'"),
        (Vector(name="v", length=3), OneRow, "query tower differs from torch by"),
    ],
)
def test_an_encoder_that_cannot_be_exported_is_named(
    feature: Feature, encoder: Callable[..., Encoder], message: str, tmp_path: Path
) -> None:
    model = build([feature], [CITY], tower(feature, encoder), partial(Tower, fusion=Concat, output_dim=3))
    with pytest.raises(UserError, match=message) as caught:
        export_towers(model, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_fusion_and_transforms_that_cannot_be_exported_are_named(tmp_path: Path) -> None:
    vector, picture = Vector(name="v", length=3), Image(name="p", size=16)
    candidate = partial(Tower, fusion=Concat, output_dim=3)
    model = build([vector], [CITY], partial(Tower, fusion=Inverse), candidate)
    with pytest.raises(UserError, match=r"Inverse.*fusion of the query tower"):
        export_towers(model, tmp_path / "fusion")
    net = partial(ConvNet, output_dim=3, channels=[4], evaluation_transforms=[partial(v2.CenterCrop, 8)])
    model = build([picture], [CITY], tower(picture, net), candidate)
    with pytest.raises(UserError, match=r"ConvNet.*query feature 'p'"):
        export_towers(model, tmp_path / "transforms")


def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build([WORDS], [CITY])
    with pytest.raises(UserError, match="no towers yet"):
        export_towers(TwoTowerModel(model.make_query_tower, None, Dot()), tmp_path)
    (tmp_path / "query.onnx").touch()
    with pytest.raises(UserError, match=r"already has query\.onnx"):
        export_towers(model, tmp_path)
    assert model.schemas is not None
    one = {"title": Ragged(torch.zeros(2, dtype=torch.int32), torch.tensor([0, 2]))}
    with pytest.raises(UserError, match=r"query example has 1 rows.*at least 2"):
        export_towers(model, tmp_path / "one", examples=(one, {"city": torch.zeros(2, dtype=torch.int32)}))
    with pytest.raises(UserError, match="input named 'a__values'"):
        flatten({"a": one["title"], "a__values": torch.zeros(1)})
    with pytest.raises(UserError, match=r"Foreign feature 'x'.*examples"):
        towers.example_columns(Schema((Foreign(name="x"),)), Schema(()))
    monkeypatch.setattr(towers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"onnxruntime is not installed.*dssm-lightning\[onnx\]"):
        export_towers(model, tmp_path / "new")


def test_tied_tables_are_stored_once_for_both_programs(tmp_path: Path) -> None:
    words = HashedWords(name="words", num_buckets=20_000)
    query = partial(Tower, fusion=Concat, encoders={"title": partial(EmbeddingBag, output_dim=32)})
    candidate = partial(Tower, fusion=Concat, encoders={"words": partial(EmbeddingBag, output_dim=32)})
    title = HashedWords(name="title", num_buckets=20_000)
    model = build([title], [words], query, candidate, tied_embeddings={"title": "words"})
    export_towers(model, tmp_path)
    distinct = sum(p.nbytes for p in model.parameters())
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1.3 * distinct
    for name in ("query.onnx", "candidate.onnx"):
        stored = onnx.load(tmp_path / name, load_external_data=False).graph.initializer
        assert {entry.value for tensor in stored for entry in tensor.external_data if entry.key == "location"} == {
            "model.safetensors"
        }
    places, tied = read_header(tmp_path / "model.safetensors")
    assert tied == {"candidate_tower.encoders.words.table.weight": "query_tower.encoders.title.table.weight"}
    saved = load_file(tmp_path / "model.safetensors")
    assert set(saved) == set(places)
    state = model.state_dict()
    assert set(state) == {*saved, *tied}
    assert all(torch.equal(saved[tied.get(name, name)], tensor) for name, tensor in state.items())


@pytest.mark.slow
def test_the_model_keeps_its_mode_and_half_precision_is_converted(tmp_path: Path) -> None:
    model = build([WORDS], [CITY]).train()
    model.query_tower.hidden.eval()
    export_towers(model, tmp_path / "float32")
    assert model.training
    assert model.query_tower.training
    assert not model.query_tower.hidden.training
    model.to(torch.bfloat16)
    export_towers(model, tmp_path / "bfloat16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    saved = load_file(tmp_path / "bfloat16" / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}


@pytest.mark.slow
def test_a_module_of_the_trainer_is_exported_without_its_loss(tmp_path: Path) -> None:
    model = small_model()
    model.build(Schemas(Schema((WORDS,)), Schema((CITY,))))
    programs = export_towers(model, tmp_path)
    names = load_file(tmp_path / "model.safetensors")
    assert {name.partition(".")[0] for name in names} == {"query_tower", "candidate_tower", "scorer"}
    assert json.dumps([each.name for each in programs.query.inputs]) == '["title__values", "title__offsets"]'
    assert programs.query.difference < 1e-5
    assert np.isfinite(programs.scorer.difference)
    assert isinstance(model.candidate_tower.encoders["city"], Embedding)
