"""MLPScorer: an MLP over every pair, without building the pairs, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dssm_lightning.models.factories import make
from dssm_lightning.models.scorers import Dot, MLPScorer, Scorer


def naive(scorer: MLPScorer, query: Tensor, candidate: Tensor) -> Tensor:
    """(Q, C): each pair's concatenation through the same layers."""
    rows = [torch.stack([scorer.layers(scorer.input(torch.cat([q, c]))).squeeze() for c in candidate]) for q in query]
    return torch.stack(rows)


@pytest.mark.parametrize("hidden_dims", [None, [5], [8, 3]])
def test_logits_are_the_mlp_of_each_pair(hidden_dims: list[int] | None) -> None:
    scorer = MLPScorer(4, 6, hidden_dims)
    query, candidate = torch.randn(3, 4), torch.randn(7, 6)
    torch.testing.assert_close(scorer(query, candidate), naive(scorer, query, candidate))
    assert not scorer.indexable


def test_the_deep_match_model_has_as_many_parameters_as_published() -> None:
    tables = nn.Embedding(944, 32), nn.Embedding(1683, 64)
    assert sum(p.numel() for part in (*tables, MLPScorer(32, 64)) for p in part.parameters()) == 144_193


class Pairs:
    """Forward hook that records the number of floats in the largest hidden layer."""

    def __init__(self, scorer: MLPScorer) -> None:
        self.largest = 0
        scorer.layers[0].register_forward_hook(self)

    def __call__(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.largest = max(self.largest, output.numel())


def test_chunks_change_neither_logits_nor_gradients_and_bound_memory() -> None:
    whole, sliced = MLPScorer(4, 6, [64], memory_mib=64), MLPScorer(4, 6, [64], memory_mib=1)
    sliced.load_state_dict(whole.state_dict())
    seen = Pairs(sliced)
    inputs = [torch.randn(50, 4, requires_grad=True), torch.randn(300, 6, requires_grad=True)]
    wanted = torch.autograd.grad(whole(*inputs).square().mean(), [*inputs, *whole.parameters()])
    logits = sliced(*inputs)
    torch.testing.assert_close(logits, whole(*inputs))
    found = torch.autograd.grad(logits.square().mean(), [*inputs, *sliced.parameters()])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)  # other orders of summation
    assert 0 < seen.largest <= 2**18
    with torch.inference_mode():
        torch.testing.assert_close(sliced(*inputs), logits)


def test_a_chunk_has_at_least_one_query() -> None:
    scorer = MLPScorer(2, 2, [64], memory_mib=1)
    assert scorer(torch.randn(3, 2), torch.randn(10_000, 2)).shape == (3, 10_000)
    assert scorer(torch.randn(0, 2), torch.randn(5, 2)).shape == (0, 5)


def test_dropout_of_a_chunk_is_equal_when_the_chunk_is_computed_again() -> None:
    """The gradient of Σ logits by the last bias is their number; by the last weights, the sum of kept activations."""
    scorer = MLPScorer(2, 2, [64], dropout=0.5, memory_mib=1)
    query, candidate = torch.randn(20, 2), torch.randn(500, 2)
    logits = scorer(query, candidate)
    last = scorer.get_submodule("layers.2")
    assert isinstance(last, nn.Linear)
    (gradient,) = torch.autograd.grad(logits.sum(), last.weight)
    torch.testing.assert_close((gradient * last.weight).sum() + last.bias.sum() * logits.numel(), logits.sum())
    scorer.eval()
    torch.testing.assert_close(scorer(query, candidate)[:2, :3], naive(scorer, query[:2], candidate[:3]))


def test_float32_under_autocast() -> None:
    scorer = MLPScorer(4, 6)
    query, candidate = torch.randn(3, 4), torch.randn(7, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = scorer(query, candidate)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, scorer(query, candidate))


def test_it_is_described_by_plain_values() -> None:
    description = {"class_path": "MLPScorer", "init_args": {"query_dim": 3, "candidate_dim": 5, "hidden_dims": [7]}}
    scorer = make(Callable[[], Scorer], description)()
    assert isinstance(scorer, MLPScorer)
    assert scorer.input.weight.shape == (7, 8)


def test_towers_that_do_not_fit_are_named() -> None:
    MLPScorer(32, 64).check_widths(32, 64)
    Dot().check_widths(32, 32)
    with pytest.raises(ValueError, match=r"query_dim is 32 and candidate_dim is 64.* 32 and 32"):
        MLPScorer(32, 64).check_widths(32, 32)
    with pytest.raises(ValueError, match="query 32, candidate 64"):
        Dot().check_widths(32, 64)
    with pytest.raises(ValueError, match=r"query_dim is 4 and candidate_dim is 6.* 3 and 5"):
        MLPScorer(4, 6)(torch.randn(2, 3), torch.randn(2, 5))


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"hidden_dims is \[\]"):
        MLPScorer(4, 6, [])
    with pytest.raises(ValueError, match="query_dim is 0"):
        MLPScorer(0, 6)
    with pytest.raises(ValueError, match=r"hidden_dims \[8, 0\] is 0"):
        MLPScorer(4, 6, [8, 0])
    with pytest.raises(ValueError, match=r"dropout is 1\.5"):
        MLPScorer(4, 6, dropout=1.5)
