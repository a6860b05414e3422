"""What a batch will take is learnt from those before it."""

from __future__ import annotations

import pytest

from dssm_lightning.serving.costs import Costs


def learnt(*batches: tuple[int, float]) -> Costs:
    costs = Costs()
    for size, seconds in batches:
        costs.add(size, seconds)
    return costs


def test_nothing_is_known_first() -> None:
    assert Costs().estimate(3) is None
    assert Costs().fitting(1.0) == 0


def test_batches_of_one_size_tell_the_time_of_an_item() -> None:
    costs = learnt(*[(4, 0.004)] * 9)
    assert costs.estimate(8) == pytest.approx(0.008)
    assert costs.fitting(0.002) == 2
    assert costs.fitting(0.0005) == 0


def test_a_time_that_does_not_depend_on_the_size_fits_any_number() -> None:
    costs = learnt((1, 0.001), (64, 0.001), (9, 0.001))
    assert costs.fitting(0.002) >= 10_000


def test_a_larger_batch_that_was_faster_gives_no_negative_time() -> None:
    costs = learnt((1, 0.01), (64, 0.001))
    estimate = costs.estimate(1_000)
    assert estimate is not None
    assert estimate > 0


def test_what_was_slow_once_is_forgotten() -> None:
    costs = learnt((1, 1.0), *[(1, 0.0001)] * 200)
    assert costs.fitting(0.002) > 1


def test_what_becomes_slow_is_noticed_at_once() -> None:
    assert learnt(*[(1, 0.0001)] * 200, (1, 1.0)).fitting(0.002) == 0
