"""Matryoshka: the weighted sum of any loss at each width, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.case_names import named
from helpers.scores import make_scores, random_scores

from dssm_lightning.losses import (
    BPR,
    EmbeddingMSE,
    HardestNegative,
    KLDivergence,
    Loss,
    Matryoshka,
    SampledSoftmax,
    Scores,
    SigLIP,
    WeightedSum,
)


def with_narrow(number: int) -> Scores:
    """Scores with the logits of further widths."""
    whole, generator = random_scores(), torch.Generator().manual_seed(2)
    return whole._replace(narrow=tuple(torch.randn(8, 12, generator=generator) for _ in range(number)))


def test_by_hand() -> None:
    narrow = torch.tensor([[0.0, 0.0, 9.0]])  # column 2 is a known positive at every width
    valid = torch.tensor([[True, True, False]])
    scores = make_scores(torch.tensor([[3.0, 1.0, 9.0]]).log(), [0], valid=valid)._replace(narrow=(narrow,))
    value = Matryoshka(SampledSoftmax, [8, 32], [3.0, 1.0])(scores)
    assert value.item() == pytest.approx(3 * 0.693147 + 0.287682, abs=1e-5)  # 3 log 2 + log 4/3


@pytest.mark.parametrize("make", [BPR, SigLIP, lambda: SampledSoftmax("refined"), lambda: HardestNegative(2)])
def test_against_a_loop_over_widths(make: Callable[[], Loss]) -> None:
    scores, weights = with_narrow(2), [0.5, 2.0, 1.0]
    found, inner = Matryoshka(make, [2, 4, 6], weights)(scores), make()
    logits = [*scores.narrow, scores.logits]
    for q, value in enumerate(found.tolist()):
        terms = [
            w * inner(scores._replace(logits=s, narrow=()))[q].item() for w, s in zip(weights, logits, strict=True)
        ]
        assert value == pytest.approx(sum(terms), abs=1e-5)


@pytest.mark.parametrize("inner", [SampledSoftmax("count", symmetric=True), SigLIP(), KLDivergence()], ids=named)
def test_it_has_the_properties_of_its_loss(inner: Loss) -> None:
    outer = Matryoshka(lambda: inner, [2, 4])
    names = ("uses_labels", "uses_teacher", "compares", "symmetric")
    assert [getattr(outer, name) for name in names] == [getattr(inner, name) for name in names]
    assert list(outer.parameters()) == list(inner.parameters())
    assert outer.dims == (2, 4)


def test_the_whole_width_alone_is_the_loss() -> None:
    scores = random_scores()
    assert torch.equal(Matryoshka(SampledSoftmax, [16])(scores), SampledSoftmax()(scores))


def test_a_sum_hands_on_the_widths() -> None:
    scores = with_narrow(1)
    both = WeightedSum([lambda: Matryoshka(BPR, [4, 8]), SampledSoftmax], [2.0, 1.0])
    assert both.dims == (4, 8)
    expected = 2 * Matryoshka(BPR, [4, 8])(scores) + SampledSoftmax()(scores)
    torch.testing.assert_close(both(scores), expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dims": []}, r"dims is \[\]"),
        ({"dims": [4, 4]}, r"dims is \[4, 4\].*ascend"),
        ({"dims": [8, 4]}, r"dims is \[8, 4\].*ascend"),
        ({"dims": [0, 4]}, r"width of dims is 0"),
        ({"dims": [2.5, 4]}, r"width of dims is 2\.5"),
        ({"dims": [True, 4]}, r"width of dims is True"),
        ({"dims": [4, 8], "weights": [1.0]}, r"weights has 1 values, and dims has 2"),
        ({"dims": [4, 8], "weights": []}, r"weights has 0 values, and dims has 2"),
        ({"dims": [4], "weights": [1.0, 2.0]}, r"weights has 2 values, and dims has 1"),
        ({"dims": [4, 8], "weights": [1.0, 0.0]}, r"weight of weights is 0\.0"),
        ({"dims": [4, 8], "weights": [-1.0, 1.0]}, r"weight of weights is -1\.0"),
        ({"dims": [4, 8], "weights": [float("nan"), 1.0]}, r"weight of weights is nan"),
        ({"loss": lambda: Matryoshka(BPR, [2, 4]), "dims": [4, 8]}, r"loss is Matryoshka"),
        ({"loss": EmbeddingMSE, "dims": [4, 8]}, r"loss is EmbeddingMSE"),
    ],
)
def test_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Matryoshka(**{"loss": BPR, **settings})


def test_scores_without_the_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="dims has 2 widths"):
        Matryoshka(BPR, [4, 8])(random_scores())


def test_a_sum_of_different_widths_is_refused() -> None:
    with pytest.raises(ValueError, match=r"different dims, \[\[2, 8\], \[4, 8\]\]"):
        WeightedSum([lambda: Matryoshka(BPR, [4, 8]), lambda: Matryoshka(BPR, [2, 8])])
