"""A gain has its spread beside it; the luck of the best of many trials is taken out."""

from __future__ import annotations

from pathlib import Path

import torch

from dssm_lightning.training.tuning.gain import measure_gain, read_rows, write_rows


def best_of(rows: dict[int, torch.Tensor]) -> int:
    return max(rows, key=lambda number: float(rows[number].nanmean()))


def test_the_best_of_twenty_equal_trials_is_within_chance() -> None:
    torch.manual_seed(2)
    rows = {number: torch.rand(200) for number in range(20)}
    best = best_of(rows)
    found = measure_gain(rows, torch.arange(200), own=0, best=best)
    assert found.difference > 0.03, "the luckiest one seems better"
    assert abs(found.expected) < found.difference / 2
    assert found.within_chance


def test_a_real_gain_is_not() -> None:
    torch.manual_seed(1)
    base = torch.rand(400)
    rows = {number: base + 0.01 * number + 0.05 * torch.randn(400) for number in range(5)}
    found = measure_gain(rows, torch.arange(400), own=0, best=best_of(rows))
    assert found.low <= found.difference <= found.high
    assert abs(found.expected - 0.04) < 0.01
    assert not found.within_chance


def test_lower_may_be_better() -> None:
    rows = {0: torch.ones(50), 1: torch.zeros(50)}
    assert measure_gain(rows, torch.arange(50), own=0, best=1, mode="min").difference == 1.0


def test_rows_without_a_value_count_for_no_trial() -> None:
    rows = {0: torch.tensor([0.0, torch.nan, 0.0, 0.0]), 1: torch.tensor([1.0, 1.0, torch.nan, 1.0])}
    assert measure_gain(rows, torch.arange(4), own=0, best=1).difference == 1.0


def test_rows_come_back_from_the_disk(tmp_path: Path) -> None:
    queries = torch.tensor([3, 1])
    write_rows(tmp_path, 0, (queries, torch.tensor([0.5, 1.0])))
    found = read_rows(tmp_path, [0, 7])
    assert found is not None
    assert found[0][0].tolist() == [0.5, 1.0]
    assert torch.equal(found[1], queries)
    write_rows(tmp_path, 1, (queries + 1, torch.tensor([0.5, 1.0])))
    assert read_rows(tmp_path, [0, 1]) is None, "other queries are no pairs"
