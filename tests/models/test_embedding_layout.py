"""Embeddings that are cut to fewer numbers: by a loop, with bypass features, biases and heads."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from helpers.small import TOWER, small_model
from torch import Tensor

from dssm_lightning.features import Categorical, Vector
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.models.encoders import Codes
from dssm_lightning.models.fusion import Concat
from dssm_lightning.models.scorers import Dot, MLPScorer, MultiHeadDot, Scorer
from dssm_lightning.models.tower import Tower
from dssm_lightning.models.two_tower import TwoTowerModel

SCHEMA = Schema((Vector(name="vector", length=6), Categorical(name="shown", vocabulary=("a", "b", "c"))))
FEATURES = {
    "vector": torch.randn(4, 6, generator=torch.Generator().manual_seed(0)),
    "shown": torch.tensor([0, 1, 2, 3]),
}
ENCODERS = {"shown": partial(Codes, output_dim=3)}


def built(scorer: Scorer | None = None, candidate: dict[str, Any] | None = None, **options: Any) -> TwoTowerModel:
    """Two towers with layers of 8 numbers."""
    torch.manual_seed(1)
    settings: dict[str, Any] = {"fusion": Concat, "output_dim": 8, "encoders": ENCODERS, **options}
    towers = partial(Tower, **settings), partial(Tower, **{**settings, **(candidate or {})})
    model = TwoTowerModel(*towers, scorer or Dot(5.0))
    model.build(Schemas(SCHEMA, SCHEMA))
    return model.eval()


def cut_by_loop(row: Tensor, width: int, heads: int, normalize: bool) -> list[float]:
    """The first numbers of each head of eight numbers, scaled to length 1, and everything after them."""
    found: list[float] = []
    for head in row[:8].reshape(heads, -1).tolist():
        kept = head[: width // heads]
        length = sum(each**2 for each in kept) ** 0.5 if normalize else 1.0
        found += [each / length for each in kept]
    return found + row[8:].tolist()


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(
    ("others", "heads"),
    [({}, 1), ({}, 2), ({"bypass": ["shown"]}, 1), ({"bias": True}, 1), ({"bypass": ["shown"], "bias": True}, 1)],
)
def test_by_a_loop(others: dict[str, Any], normalize: bool, heads: int) -> None:
    model = built(num_heads=heads, normalize=normalize, **others)
    whole = model.encode_query(FEATURES), model.encode_candidate(FEATURES)
    logits = model(FEATURES, FEATURES)
    model.truncate(4)
    for side, found in zip(whole, (model.encode_query(FEATURES), model.encode_candidate(FEATURES)), strict=True):
        expected = torch.tensor([cut_by_loop(row, 4, heads, normalize) for row in side])
        torch.testing.assert_close(found, expected)
    assert model.widths == (found.shape[1], found.shape[1])
    assert model.direction_widths() == (4, 4)
    assert not torch.allclose(model(FEATURES, FEATURES), logits)
    model.truncate(8)
    assert torch.equal(model(FEATURES, FEATURES), logits)


def test_it_equals_towers_of_this_width() -> None:
    wide, narrow = built(), built(output_dim=4)
    for side, tower in narrow.towers.items():
        for value, kept in zip(tower.parameters(), wide.towers[side].parameters(), strict=True):
            value.data.copy_(kept[: len(value)])
    wide.truncate(4)
    torch.testing.assert_close(wide(FEATURES, FEATURES), narrow(FEATURES, FEATURES))


@pytest.mark.parametrize("reduce", ["mean", "max"])
def test_every_head_keeps_its_first_numbers(reduce: Any) -> None:
    model = built(MultiHeadDot(4, reduce), num_heads=2)  # a head of the tower is two of the scorer
    query, candidate = model.encode_query(FEATURES), model.encode_candidate(FEATURES)
    model.truncate(4)
    sides = [torch.tensor([cut_by_loop(row, 4, 4, False) for row in side]) for side in (query, candidate)]
    q, c = (side / side.reshape(4, 2, 2).norm(dim=2).repeat_interleave(2, 1) for side in sides)
    products = q[:, None] * c[None]  # one number in each of the four heads
    expected = products.mean(2) if reduce == "mean" else products.amax(2)
    torch.testing.assert_close(model(FEATURES, FEATURES), expected)
    assert model.scorer.vectors(model.encode_query(FEATURES)).shape == ((1, 4, 4) if reduce == "mean" else (4, 4, 1))


def test_a_scorer_of_ones_own_gets_cut_embeddings() -> None:
    class Distance(Scorer):
        def forward(self, query: Tensor, candidate: Tensor) -> Tensor:
            return -torch.cdist(query, candidate)

    model = built(Distance())
    query, candidate = model.encode_query(FEATURES), model.encode_candidate(FEATURES)
    model.truncate(2)
    q, c = (torch.nn.functional.normalize(side[:, :2]) for side in (query, candidate))
    torch.testing.assert_close(model(FEATURES, FEATURES), -torch.cdist(q, c))


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({}, 0, "truncate_dim is 0"),
    ({}, -4, "truncate_dim is -4"),
    ({}, 9, "truncate_dim is 9; the embedding is 8 wide"),
    ({"bias": True}, 9, "truncate_dim is 9; the embedding is 8 wide"),
    ({"bypass": ["shown"]}, 10, r"truncate_dim is 10; the layers make 8 numbers .*bypass.*\(shown\)"),
    ({"num_heads": 4}, 6, "truncate_dim is 6, which cuts heads apart: num_heads is 4"),
    ({"num_heads": 2, "scorer": MultiHeadDot(4)}, 6, "truncate_dim is 6, which cuts heads apart: num_heads is 4"),
    ({"scorer": MultiHeadDot(2), "candidate": {}}, 3, "truncate_dim is 3, which cuts heads apart: num_heads is 2"),
    ({"scorer": MultiHeadDot(11), "bypass": ["shown"]}, 4, "truncate_dim is 4, and MultiHeadDot with num_heads 11"),
    ({"scorer": MLPScorer(8, 8)}, 4, "truncate_dim is 4, but MLPScorer"),
    ({"scorer": MLPScorer(8, 4), "candidate": {"output_dim": 4}}, 4, "truncate_dim is 4, but MLPScorer"),
]


@pytest.mark.parametrize(("options", "width", "message"), REFUSED)
def test_refused_widths(options: dict[str, Any], width: int, message: str) -> None:
    model = built(**options)
    with pytest.raises(ValueError, match=message):
        model.truncate(width)
    with pytest.raises(ValueError, match=message.replace("truncate_dim", "Matryoshka: a width of dims")):
        model.check_dims([width], "Matryoshka")
    assert model.truncate_dim is None


def test_sides_of_different_widths_are_refused() -> None:
    class First(Scorer):
        def check_widths(self, query_dim: int, candidate_dim: int) -> None:
            """Any widths."""

    model = built(First(), {"output_dim": 6})
    with pytest.raises(ValueError, match=r"truncate_dim is 4, .* query tower make 8 .* candidate tower 6"):
        model.truncate(4)


def test_dims_without_the_whole_width_are_refused() -> None:
    model = small_model(
        loss={"class_path": "Matryoshka", "init_args": {"loss": "BPR", "dims": [4, 8]}}, query_tower=TOWER
    )
    schema = Schema((Vector(name="vector", length=6),))
    with pytest.raises(ValueError, match="last width of dims is 8, and embeddings are 16 wide"):
        model.build(Schemas(schema, schema))
