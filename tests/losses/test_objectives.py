"""Objectives by hand and against loops; learnt weights by their formula; the rating head; sums with rows of label 0."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.scores import make_scores, negative_columns, random_scores
from torch import Tensor, nn

from dssm_lightning.losses import (
    BPR,
    BinaryCrossEntropy,
    Loss,
    Matryoshka,
    Objectives,
    RatingHead,
    SampledSoftmax,
    Scores,
    WeightedSum,
)
from dssm_lightning.models.factories import make

CLICK = torch.tensor([1.0, 1, 1, 0, 1, 0, 1, 1])
BUY = torch.tensor([0.0, 1, 0, 1, 1, 0, 0, 1])


def labelled(scores: Scores | None = None, **changes: Any) -> Scores:
    """Eight rows of which some are clicks, some purchases, and row 5 neither."""
    found = scores or random_scores()
    return found._replace(**{"objectives": {"buy": BUY, "click": CLICK}, "label": torch.maximum(CLICK, BUY), **changes})


def softmax_of(scores: Scores, q: int) -> float:
    logits = scores.logits[q].tolist()
    columns = [int(scores.target[q]), *negative_columns(scores, q)]
    return math.log(sum(math.exp(logits[c]) for c in columns)) - logits[columns[0]]


def test_against_a_loop() -> None:
    scores = labelled()
    found = Objectives({"click": SampledSoftmax, "buy": SampledSoftmax}, {"click": 0.5, "buy": 3.0})(scores)
    for q, value in enumerate(found.tolist()):
        weight = 0.5 * CLICK[q].item() + 3.0 * BUY[q].item()
        assert value == pytest.approx(weight * softmax_of(scores, q), abs=1e-5)
    assert found[5] == 0


def test_weights_belong_to_names_in_any_order() -> None:
    scores, losses = labelled(), {"click": SampledSoftmax, "buy": BPR}
    one = Objectives(losses, {"click": 0.5, "buy": 3.0})(scores)
    assert torch.equal(Objectives(losses, {"buy": 3.0, "click": 0.5})(scores), one)
    other = Objectives(dict(reversed(losses.items())), {"click": 0.5, "buy": 3.0})(scores)
    torch.testing.assert_close(other, one)


def test_a_pointwise_loss_reads_the_objective_as_its_label() -> None:
    scores = labelled()
    found = Objectives({"click": SampledSoftmax, "buy": BinaryCrossEntropy})
    assert found.uses_labels
    assert not found.compares
    for q, value in enumerate(found(scores).tolist()):
        own = scores.logits[q, scores.target[q]].item()
        terms = [math.log1p(math.exp(scores.logits[q, c].item())) for c in negative_columns(scores, q)]
        terms.append(math.log1p(math.exp(-own if BUY[q] else own)))
        expected = CLICK[q].item() * softmax_of(scores, q) + sum(terms) / len(terms)
        assert value == pytest.approx(expected, abs=1e-5)


def test_one_objective_with_all_rows_is_its_loss() -> None:
    scores = labelled(objectives={"seen": torch.ones(8)}, label=None)
    assert torch.equal(Objectives({"seen": SampledSoftmax})(scores), SampledSoftmax()(scores))


# -- learnt weights -------------------------------------------------------------------------------------------------


def test_learnt_weights_by_the_formula_and_its_gradient() -> None:
    """Σ y (L / σ² + ½ log σ²) with σ² = exp(s) + .01; ∂/∂s = Σ y (½ σ² − L) exp(s) / σ⁴."""
    scores = labelled()
    loss = Objectives({"click": SampledSoftmax, "buy": SampledSoftmax}, "learned")
    assert loss.learned_weights == {"click": pytest.approx(1.0), "buy": pytest.approx(1.0)}
    with torch.no_grad():
        loss.get_parameter("log_variance_click").fill_(0.3)
        loss.get_parameter("log_variance_buy").fill_(-1.2)
    found = loss(scores)
    parameters = [loss.get_parameter(f"log_variance_{name}") for name in ("click", "buy")]
    gradient = torch.stack(torch.autograd.grad(found.sum(), parameters))
    expected, slopes = [0.0] * 8, [0.0, 0.0]
    for number, (s, positive) in enumerate(((0.3, CLICK), (-1.2, BUY))):
        variance = math.exp(s) + 0.01
        for q in range(8):
            if positive[q]:
                value = softmax_of(scores, q)
                expected[q] += value / variance + math.log(variance) / 2
                slopes[number] += math.exp(s) * (0.5 / variance - value / variance**2)
    assert found.tolist() == pytest.approx(expected, abs=1e-5)
    assert gradient.tolist() == pytest.approx(slopes, rel=1e-4)
    assert loss.learned_weights["buy"].item() == pytest.approx(1 / (math.exp(-1.2) + 0.01))


class Constant(Loss):
    """A loss of one value, which no embedding changes."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, scores: Scores) -> Tensor:
        return torch.full_like(scores.logits[:, 0], self.value)


def test_weights_end_at_the_inverse_of_twice_the_loss_whatever_the_frequency() -> None:
    loss = Objectives({"click": partial(Constant, 4.0), "buy": partial(Constant, 0.25)}, "learned")
    optimizer, scores = torch.optim.Adam(loss.parameters(), lr=0.05), labelled()
    for _ in range(400):
        optimizer.zero_grad()
        loss(scores).sum().backward()
        optimizer.step()
    assert loss.learned_weights["click"].item() == pytest.approx(1 / 8, rel=1e-2)
    assert loss.learned_weights["buy"].item() == pytest.approx(2.0, rel=1e-2)


def test_the_weight_of_a_loss_of_zero_stays_bounded() -> None:
    loss = Objectives({"click": partial(Constant, 0.0)}, "learned")
    optimizer = torch.optim.SGD(loss.parameters(), lr=5.0)
    for _ in range(200):
        optimizer.zero_grad()
        loss(labelled()).sum().backward()
        optimizer.step()
    assert 50 < loss.learned_weights["click"].item() <= 100


# -- the rating head ------------------------------------------------------------------------------------------------


def rated(ratings: list[float]) -> Scores:
    generator = torch.Generator().manual_seed(2)
    pair = (torch.randn(8, 3, generator=generator), torch.randn(8, 3, generator=generator))
    return random_scores()._replace(rating=torch.tensor(ratings), pair=pair)


def test_the_head_is_a_small_network_of_both_embeddings_and_their_product() -> None:
    scores, head = rated([1.0, math.nan, -2.0, 0.5, 0.0, 1.0, math.nan, 3.0]), RatingHead(5)
    head.build((3, 3))
    first, _, last = head.layers  # type: ignore[misc]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    for q, value in enumerate(head(scores).tolist()):
        query, candidate = (side[q].tolist() for side in scores.pair or ())
        read = [*query, *candidate, *(a * b for a, b in zip(query, candidate, strict=True))]
        hidden = [
            max(0.0, sum(w * x for w, x in zip(row, read, strict=True)) + bias)
            for row, bias in zip(first.weight.tolist(), first.bias.tolist(), strict=True)
        ]
        predicted = sum(w * x for w, x in zip(last.weight[0].tolist(), hidden, strict=True)) + last.bias.item()
        rating = scores.rating[q].item()  # type: ignore[index]
        assert value == pytest.approx(0.0 if math.isnan(rating) else (predicted - rating) ** 2, abs=1e-5)


def test_sides_of_other_widths_have_no_product() -> None:
    head = RatingHead(5)
    head.build((3, 4))
    assert head.predict(torch.ones(2, 3), torch.ones(2, 4)).shape == (2,)
    layers = head.layers
    head.build((3, 4))
    assert head.layers is layers


def test_rows_without_a_rating_have_no_gradient_and_no_part_in_a_learnt_weight() -> None:
    scores = labelled(rated([math.nan] * 8))
    scores = scores._replace(pair=tuple(side.requires_grad_() for side in scores.pair or ()))
    loss = Objectives({"stars": RatingHead}, "learned")
    loss.build((3, 3))
    found = loss(scores)
    assert found.tolist() == [0.0] * 8
    found.sum().backward()
    assert loss.get_parameter("log_variance_stars").grad == 0
    assert all(side.grad.abs().sum() == 0 for side in scores.pair or ())  # type: ignore[union-attr]


def test_a_rating_counts_half_its_squared_error() -> None:
    scores, loss = labelled(rated([2.0] * 8)), Objectives({"stars": RatingHead}, "learned")
    loss.build((3, 3))
    for parameter in loss.losses.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(loss(scores), torch.full((8,), 4 / 2))  # σ² = 1


def test_a_head_stands_beside_a_symmetric_loss() -> None:
    loss = WeightedSum([partial(SampledSoftmax, symmetric=True), RatingHead], [1.0, 0.1])
    assert (loss.symmetric, loss.uses_rating, loss.uses_labels, loss.compares) == (True, True, True, False)


# -- rows with label 0 ----------------------------------------------------------------------------------------------


def test_in_a_sum_only_the_losses_of_labels_learn_from_rows_that_are_not_liked() -> None:
    scores = random_scores()._replace(label=CLICK)
    found = WeightedSum([SampledSoftmax, BinaryCrossEntropy])(scores)
    torch.testing.assert_close(found, SampledSoftmax()(scores) * CLICK + BinaryCrossEntropy()(scores))
    plain = WeightedSum([SampledSoftmax, BPR])(scores)  # rows of label 0 have no weight in the step
    torch.testing.assert_close(plain, SampledSoftmax()(scores) + BPR()(scores))


# -- settings -------------------------------------------------------------------------------------------------------

SOFTMAX: Any = SampledSoftmax


def test_a_head_in_a_sum_of_one_objective_leaves_the_other_loss_to_its_positives() -> None:
    scores = labelled(rated([1.0, math.nan, -1.0, 0.5, 2.0, 0.0, math.nan, 1.5]))
    head = RatingHead(hidden_dim=4)
    head.build((3, 3))
    found = Objectives({"buy": lambda: WeightedSum([SampledSoftmax, lambda: head], [2.0, 0.5])})
    assert found.objectives == ("buy",)
    expected = [2.0 * BUY[q].item() * softmax_of(scores, q) + 0.5 * float(head(scores)[q].detach()) for q in range(8)]
    assert found(scores).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"losses": {}}, r"losses is \[\]"),
        ({"losses": {"click": SOFTMAX}, "weights": {"click": 0.0}}, "weights is 0"),
        ({"losses": {"click": SOFTMAX}, "weights": {"click": -1.0}}, r"weights is -1"),
        ({"losses": {"click": SOFTMAX}, "weights": {"click": math.nan}}, "weights is nan"),
        ({"losses": {"click": SOFTMAX}, "weights": {"buy": 1.0}}, "weights is for buy, and losses for click"),
        ({"losses": {"click": SOFTMAX}, "weights": {}}, "weights is for nothing"),
        ({"losses": {"click": SOFTMAX}, "weights": "equal"}, "weights is 'equal'"),
        ({"losses": {"all": lambda: Objectives({"click": SOFTMAX})}}, "one of its losses is Objectives"),
        ({"losses": {"a": SOFTMAX, "b": lambda: SampledSoftmax(symmetric=True)}}, "Objectives: symmetric"),
    ],
)
def test_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Objectives(**arguments)


def test_a_sum_and_other_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="WeightedSum: one of its losses is Objectives"):
        WeightedSum([lambda: Objectives({"click": SampledSoftmax}), BPR])
    with pytest.raises(ValueError, match="loss is RatingHead"):
        Matryoshka(RatingHead, [2, 4])
    with pytest.raises(ValueError, match="hidden_dim is 0"):
        RatingHead(0)
    with pytest.raises(ValueError, match=r"data\.rating"):
        RatingHead()(random_scores())
    with pytest.raises(ValueError, match="no objective 'buy'"):
        Objectives({"buy": SampledSoftmax})(random_scores())


def test_plain_values_and_widths() -> None:
    settings = {
        "class_path": "Objectives",
        "init_args": {
            "losses": {"click": {"class_path": "Matryoshka", "init_args": {"loss": "SampledSoftmax", "dims": [1, 2]}}},
            "weights": {"click": 2},
        },
    }
    found = make(Callable[[], Loss], settings)()
    assert (found.dims, found.objectives, found.weights) == ((1, 2), ("click",), [2])
    scores = labelled(make_scores(torch.randn(8, 9)), narrow=(torch.randn(8, 9),))
    expected = sum(F.cross_entropy(each, scores.target, reduction="none") for each in (scores.logits, *scores.narrow))
    torch.testing.assert_close(found(scores), 2 * CLICK * expected)
