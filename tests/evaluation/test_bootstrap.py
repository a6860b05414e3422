"""Resampled means against a loop over rows, intervals against SciPy, clusters, pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from dssm_lightning.evaluation import bootstrap


def random_values(rows: int, metrics: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(6)
    values = torch.rand(rows, metrics, generator=generator)
    values[torch.rand(rows, generator=generator) < 0.2, 1:] = torch.nan  # two metrics that count on the same rows
    values[::7, 0] = torch.nan
    return values


@pytest.mark.parametrize("chunk", [1 << 22, 30])
def test_resampled_means_equal_a_loop_over_rows(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(bootstrap, "DRAW_CHUNK", chunk)
    values, query = random_values(40), torch.arange(40) * 5 % 13 + 100  # several rows each, in no order
    found = bootstrap.resampled_means(values, query, 20)
    draws = torch.cat(list(bootstrap._draws(13, 20)))
    assert draws.sum(1).tolist() == [13.0] * 20
    queries = sorted(set(query.tolist()))
    for resample in range(20):
        rows = [
            row
            for place, each in enumerate(queries)
            for row in (query == each).nonzero().squeeze(1).tolist() * int(draws[resample, place])
        ]
        np.testing.assert_allclose(found[resample], np.nanmean(values[rows].double().numpy(), axis=0), atol=1e-12)


def test_draws_are_the_same_every_time_and_uniform() -> None:
    first, second = (torch.cat(list(bootstrap._draws(50, 4000))) for _ in range(2))
    assert torch.equal(first, second)
    assert first.mean(0).tolist() == pytest.approx([1.0] * 50, abs=0.08)  # five standard errors
    assert float(first.var()) == pytest.approx(1 - 1 / 50, abs=0.03)


def test_intervals_equal_scipys() -> None:
    values = random_values(300)
    found = bootstrap.intervals(values, torch.arange(300), resamples=4000)
    for metric in range(3):
        column = values[:, metric].double().numpy()
        column = column[~np.isnan(column)]
        theirs = stats.bootstrap(
            (column,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(0)
        ).confidence_interval
        assert found[metric].tolist() == pytest.approx([theirs.low, theirs.high], abs=0.004)


def test_the_width_of_an_interval_depends_on_queries_not_rows() -> None:
    values, query = torch.rand(60, 1, generator=torch.Generator().manual_seed(1)), torch.arange(60)
    alone = bootstrap.intervals(values, query)
    repeated = bootstrap.intervals(values.repeat(10, 1), query.repeat(10))  # ten equal events of each query
    torch.testing.assert_close(repeated, alone)


def test_a_metric_without_a_value_has_no_interval() -> None:
    values = torch.stack([torch.ones(5), torch.full((5,), torch.nan)], dim=1)
    low_high = bootstrap.intervals(values, torch.arange(5))
    assert low_high[0].tolist() == [1.0, 1.0]
    assert low_high[1].isnan().all()


def test_equal_sides_do_not_differ() -> None:
    values = random_values(200)
    found = bootstrap.compare(values, values, torch.arange(200))
    assert (found.low.tolist(), found.high.tolist(), found.p.tolist()) == ([0.0] * 3, [0.0] * 3, [1.0] * 3)
    assert torch.equal(found.a, found.b)


def test_a_difference_on_every_query_is_certain() -> None:
    values = random_values(200).double()
    found = bootstrap.compare(values, values - 0.125, torch.arange(200), resamples=999)
    assert found.low.tolist() == pytest.approx([-0.125] * 3)
    assert found.high.tolist() == pytest.approx([-0.125] * 3)
    assert found.p.tolist() == pytest.approx([2 / 1000] * 3)


def test_the_p_value_equals_a_paired_t_test() -> None:
    generator = torch.Generator().manual_seed(3)
    a = torch.rand(400, 4, generator=generator).double()
    b = a + torch.tensor([0.0, 0.01, 0.02, -0.02]) + 0.2 * torch.randn(400, 4, generator=generator)
    found = bootstrap.compare(a, b, torch.arange(400), resamples=4000)
    theirs = stats.ttest_rel(b.numpy(), a.numpy())
    assert found.p.tolist() == pytest.approx(theirs.pvalue.tolist(), abs=0.03)
    interval = theirs.confidence_interval(0.95)
    assert found.low.tolist() == pytest.approx(interval.low.tolist(), abs=0.002)
    assert found.high.tolist() == pytest.approx(interval.high.tolist(), abs=0.002)


def test_a_row_counts_only_if_it_counts_for_both_sides() -> None:
    a, b = torch.tensor([[1.0], [0.0], [torch.nan]]), torch.tensor([[0.5], [torch.nan], [1.0]])
    found = bootstrap.compare(a, b, torch.arange(3))
    assert (found.a.item(), found.b.item()) == (1.0, 0.5)
    nothing = bootstrap.compare(a[1:], b[1:], torch.arange(2))
    assert nothing.p.isnan().all()
