"""Pooled AUROC over observed pairs: scikit-learn on scores of every scale, where a sigmoid would fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from dssm_lightning.evaluation.metrics import ObservedAUROC
from dssm_lightning.evaluation.metrics.pair_auroc import order_preserving


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 30.0, 1e6, 1e30])
@pytest.mark.parametrize("shift", [0.0, 40.0])
def test_equals_scikit_learn_at_every_scale(scale: float, shift: float) -> None:
    generator = torch.Generator().manual_seed(2)
    target = torch.randint(2, (600,), generator=generator)
    scores = (torch.randn(600, generator=generator) + 0.7 * target + shift) * scale
    metric = ObservedAUROC()
    for rows in (slice(0, 5), slice(5, 300), slice(300, 600)):  # each update has its own range of scores
        metric.update(scores[rows], target[rows])
    expected = roc_auc_score(target.numpy(), scores.numpy().astype(np.float64))
    assert float(metric.compute()) == pytest.approx(expected, abs=1e-6)


def test_a_tie_counts_half() -> None:
    metric = ObservedAUROC()
    # liked 2 and 1 against 1: one pair is won, one tied
    metric.update(torch.tensor([2.0, 1.0, 1.0]), torch.tensor([1, 1, 0]))
    assert float(metric.compute()) == pytest.approx(0.75)


def test_the_order_of_all_floats_is_kept() -> None:
    ends = torch.finfo(torch.float32)
    around = torch.tensor([ends.min, -1e30, -1.0, -1e-30, -1e-45, 0.0, 1e-45, 1e-30, 1.0, 17.0, 40.0, 1e30])
    scores = torch.cat([around, torch.nextafter(around, torch.tensor(torch.inf))]).unique()
    mapped = order_preserving(scores)
    assert bool((mapped[1:] > mapped[:-1]).all())
    assert 0.0 < float(mapped[0]) < float(mapped[-1]) < 1.0
    assert torch.equal(*order_preserving(torch.tensor([0.0, -0.0])).split(1))


@pytest.mark.parametrize("label", [0, 1])
def test_with_one_label_the_area_is_nan(label: int) -> None:
    metric = ObservedAUROC()
    metric.update(torch.rand(5), torch.full((5,), label))
    assert math.isnan(float(metric.compute()))
