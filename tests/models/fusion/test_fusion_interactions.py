"""Fusions with products of features: hand arithmetic, naive loops over pairs, and dot products of both sides."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dssm_lightning.features import Vector
from dssm_lightning.features.schema import Schema
from dssm_lightning.models.factories import make
from dssm_lightning.models.fusion import (
    FM,
    MLP,
    Concat,
    Cross,
    FMScore,
    Fusion,
    FusionFactory,
    Gated,
    Parallel,
    SENet,
    Sum,
)
from dssm_lightning.models.scorers import Dot
from dssm_lightning.models.tower import Tower, TowerFactory


def encodings(rows: int, *widths: int) -> list[Tensor]:
    """Normally distributed encodings (rows, width)."""
    return [torch.randn(rows, width) for width in widths]


def set_weights(module: nn.Module, **values: Any) -> None:
    """Overwrite the named parameters; a double underscore stands for a dot."""
    with torch.no_grad():
        for name, value in values.items():
            module.get_parameter(name.replace("__", ".")).copy_(torch.tensor(value))


# -- SENet ------------------------------------------------------------------------------------------------------------


def test_senet_by_hand() -> None:
    # squeezed 2, -1; hidden ReLU(1·2 + 1·(−1)) = 1; gates σ(2 · 1), σ(−1 · 1)
    fusion = SENet([2, 1])
    set_weights(fusion, excitation__0__weight=[[1.0, 1.0]], excitation__2__weight=[[2.0], [-1.0]])
    fused = fusion([torch.tensor([[1.0, 3.0]]), torch.tensor([[-1.0]])])
    a, b = torch.tensor(2.0).sigmoid(), torch.tensor(-1.0).sigmoid()
    torch.testing.assert_close(fused, torch.stack([a, 3 * a, -b])[None])
    assert fusion.output_dim == 3


@pytest.mark.parametrize(("squeeze", "number"), [("mean", 2.0), ("sum", 4.0), ("max", 3.0)])
def test_senet_squeezes(squeeze: Any, number: float) -> None:
    fusion = SENet([2, 2], squeeze=squeeze)
    set_weights(fusion, excitation__0__weight=[[1.0, 0.0]], excitation__2__weight=[[1.0], [0.0]])
    weights = fusion.weights([torch.tensor([[1.0, 3.0]]), torch.zeros(1, 2)])
    torch.testing.assert_close(weights, torch.tensor([[number, 0.0]]).sigmoid())


def test_senet_double_sigmoid_starts_as_concat() -> None:
    parts = encodings(5, 3, 4)
    fusion = SENet([3, 4], gate="double_sigmoid")
    nn.init.zeros_(fusion.get_parameter("excitation.2.weight"))
    torch.testing.assert_close(fusion(parts), Concat([3, 4])(parts))


@pytest.mark.parametrize(("features", "reduction", "hidden"), [(6, 2, 3), (6, 4, 1), (5, 2, 2), (2, 8, 1), (3, 0.5, 6)])
def test_senet_reduces(features: int, reduction: float, hidden: int) -> None:
    fusion = SENet([4] * features, reduction=reduction)
    assert sum(p.numel() for p in fusion.parameters()) == 2 * features * hidden


# -- Cross ------------------------------------------------------------------------------------------------------------


def test_cross_by_hand() -> None:
    # x0 = (1, 2), W swaps, b = (1, 0): x1 = (1·(2 + 1) + 1, 2·1 + 2) = (4, 4); x2 = (1·(4 + 1) + 4, 2·4 + 4) = (9, 12)
    fusion = Cross([1, 1], num_layers=2)
    for layer in ("0", "1"):
        set_weights(
            fusion, **{f"layers__{layer}__weight": [[0.0, 1.0], [1.0, 0.0]], f"layers__{layer}__bias": [1.0, 0.0]}
        )
    torch.testing.assert_close(fusion([torch.tensor([[1.0]]), torch.tensor([[2.0]])]), torch.tensor([[9.0, 12.0]]))


def test_cross_of_low_rank_is_cross_with_the_product() -> None:
    low, full = Cross([3, 5], num_layers=2, rank=2), Cross([3, 5], num_layers=2)
    with torch.no_grad():
        for a, b in zip(low.layers, full.layers, strict=True):
            assert isinstance(a, nn.Sequential)
            assert isinstance(b, nn.Linear)
            b.weight.copy_(a.get_parameter("1.weight") @ a.get_parameter("0.weight"))
            b.bias.copy_(a.get_parameter("1.bias"))
    parts = encodings(4, 3, 5)
    torch.testing.assert_close(low(parts), full(parts))
    assert sum(p.numel() for p in low.parameters()) == 2 * (2 * 8 * 2 + 8)
    assert low.output_dim == full.output_dim == 8


# -- FM, Gated, MLP ---------------------------------------------------------------------------------------------------


def test_fm_is_the_sum_over_all_pairs() -> None:
    parts = encodings(6, 4, 4, 4, 4)
    naive = torch.zeros(6, 4)
    for i, j in itertools.combinations(range(4), 2):
        naive = naive + parts[i] * parts[j]
    fusion = FM([4] * 4)
    torch.testing.assert_close(fusion(parts), naive)
    assert fusion.output_dim == 4
    assert not list(fusion.parameters())


@pytest.mark.parametrize(("per_dimension", "gates"), [(False, 3), (True, 6)])
def test_gated_is_a_naive_loop(per_dimension: bool, gates: int) -> None:
    parts, fusion = encodings(5, 2, 2, 2), Gated([2, 2, 2], per_dimension)
    torch.testing.assert_close(fusion(parts), torch.stack(parts).mean(0))  # before training
    nn.init.normal_(fusion.gate.weight)
    nn.init.normal_(fusion.gate.bias)
    assert fusion.gate.weight.shape == (gates, 6)
    expected = torch.zeros(5, 2)
    for row, column in itertools.product(range(5), range(2)):
        logits = fusion.gate(torch.cat([part[row] for part in parts]))
        mine = logits[column::2] if per_dimension else logits
        expected[row, column] = (mine.softmax(0) * torch.stack([part[row, column] for part in parts])).sum()
    torch.testing.assert_close(fusion(parts), expected)


def test_mlp_has_no_activation_after_its_last_layer() -> None:
    parts, fusion = encodings(3, 2, 4), MLP([2, 4], [5, 7], activation="Tanh")
    first, last = (layer for layer in fusion.layers if isinstance(layer, nn.Linear))
    torch.testing.assert_close(fusion(parts), last(torch.tanh(first(torch.cat(parts, 1)))))
    assert fusion.output_dim == 7


# -- the dot product of both sides ------------------------------------------------------------------------------------


def test_parallel_is_the_sum_of_the_branches_dot_products() -> None:
    """Two query features and three candidate features of width 4: `branch_dim` makes the branches equally wide."""
    branches: list[FusionFactory] = [lambda dims: MLP(dims, [6]), Cross, FM]
    query, candidate = (Parallel([4] * m, branches, branch_dim=5) for m in (2, 3))
    assert query.output_dim == candidate.output_dim == 15
    query_parts, candidate_parts = encodings(3, 4, 4), encodings(7, 4, 4, 4)
    total = torch.zeros(3, 7)
    for i in range(3):
        ours = query.outputs[i](query.branches[i](query_parts))
        total = total + ours @ candidate.outputs[i](candidate.branches[i](candidate_parts)).T
    torch.testing.assert_close(Dot()(query(query_parts), candidate(candidate_parts)), total)


def test_parallel_without_branch_dim_concatenates() -> None:
    parts = encodings(2, 3, 3)
    fusion = Parallel([3, 3], [Sum, Concat, FM])
    expected = torch.cat([Sum([3, 3])(parts), Concat([3, 3])(parts), FM([3, 3])(parts)], 1)
    assert fusion.output_dim == 12
    assert torch.equal(fusion(parts), expected)


def test_parallel_nests_in_plain_settings() -> None:
    deep = {"class_path": "Parallel", "init_args": {"branches": ["Sum", "SENet"]}}
    branches = [{"class_path": "MLP", "init_args": {"hidden_dims": [5]}}, "dssm_lightning.models.fusion.FM", deep]
    fusion = {
        "class_path": "dssm_lightning.models.fusion.Parallel",
        "init_args": {"branches": branches, "branch_dim": 8},
    }
    description = {"class_path": "dssm_lightning.Tower", "init_args": {"fusion": fusion, "normalize": False}}
    tower = make(TowerFactory, description)(Schema((Vector(name="a", length=3), Vector(name="b", length=3))))
    assert isinstance(tower, Tower)
    assert tower.output_dim == 24
    assert tower({"a": torch.randn(4, 3), "b": torch.randn(4, 3)}).shape == (4, 24)


def test_fm_score_is_the_factorisation_machine_over_both_sides() -> None:
    """score = b + Σ w + Σ_{i<j} <v_i, v_j>, over 2 features of the query and 3 of the candidate."""
    query, candidate = FMScore([5, 5], "query"), FMScore([5, 5, 5], "candidate")
    set_weights(query, bias=[0.5])
    set_weights(candidate, bias=[-2.0])
    query_parts, candidate_parts = encodings(4, 5, 5), encodings(6, 5, 5, 5)
    expected = torch.empty(4, 6)
    for q, c in itertools.product(range(4), range(6)):
        fields = [part[q] for part in query_parts] + [part[c] for part in candidate_parts]
        score = -1.5 + sum(field[0] for field in fields)
        expected[q, c] = score + sum(a[1:] @ b[1:] for a, b in itertools.combinations(fields, 2))
    torch.testing.assert_close(Dot()(query(query_parts), candidate(candidate_parts)), expected)
    assert query.output_dim == candidate.output_dim == 6


# -- all --------------------------------------------------------------------------------------------------------------

KINDS: dict[str, Any] = {
    "SENet": SENet,
    "Cross": Cross,
    "FM": FM,
    "Gated": Gated,
    "MLP": lambda dims: MLP(dims, [3]),
    "Parallel": lambda dims: Parallel(dims, [SENet, FM]),
    "FMScore": lambda dims: FMScore(dims, "query"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_independent_and_gradients_reach_every_encoding(kind: str) -> None:
    fusion: Fusion = KINDS[kind]([4, 4, 4])
    parts = [part.requires_grad_() for part in encodings(6, 4, 4, 4)]
    fused = fusion(parts)
    assert fused.shape == (6, fusion.output_dim)
    torch.testing.assert_close(fused[2:3], fusion([part[2:3] for part in parts]))
    F.mse_loss(fused, torch.zeros_like(fused)).backward()
    for tensor in [*parts, *fusion.parameters()]:
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SENet([4], squeeze="min"), "SENet: squeeze is 'min'.*mean, sum, max"),  # type: ignore[arg-type]  # YAML may hold it
        (lambda: SENet([4], gate="tanh"), "SENet: gate is 'tanh'.*sigmoid, double_sigmoid"),  # type: ignore[arg-type]  # YAML may hold it
        (lambda: SENet([4], reduction=0), "SENet: reduction is 0"),
        (lambda: Cross([4], num_layers=0), "Cross: num_layers is 0"),
        (lambda: Cross([4], rank=0), "Cross: rank is 0"),
        (lambda: FM([4]), "FM .*1 feature"),
        (lambda: FM([4, 2]), r"FM .*\[4, 2\]"),
        (lambda: Gated([4, 2]), r"Gated .*\[4, 2\]"),
        (lambda: MLP([4], []), r"MLP: hidden_dims is \[\]"),
        (lambda: MLP([4], [2, 2], activation="Relu"), r"activation 'Relu'.*\['ReLU'"),
        (lambda: MLP([4], [2, 0]), r"MLP: .*hidden_dims \[2, 0\] is 0"),
        (lambda: MLP([4], [2], dropout=1.5), r"MLP: dropout is 1\.5"),
        (lambda: Parallel([4], []), r"Parallel: branches is \[\]"),
        (lambda: Parallel([4], [Sum], 0), "Parallel: branch_dim is 0"),
        (lambda: FMScore([4], "left"), "FMScore: side is 'left'.*query, candidate"),  # type: ignore[arg-type]  # YAML may hold it
        (lambda: FMScore([4, 3], "query"), r"FMScore .*\[4, 3\]"),
        (lambda: FMScore([1, 1], "query"), "FMScore: .* 1;"),
        (lambda: Cross([]), "Cross: .*feature"),
    ],
)
def test_bad_arguments_are_named(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
