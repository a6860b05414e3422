"""A computed order: a bijection, as random as a drawn order."""

from __future__ import annotations

from math import isqrt

import numpy as np
import pytest
import torch

from dssm_lightning.data.batching.permutation import ROUNDS, Permutation
from dssm_lightning.data.batching.shuffling import RowOrder
from dssm_lightning.utils import memory_mapped
from dssm_lightning.utils.hashing import mix64_
from dssm_lightning.utils.seeding import Counter, mix


@pytest.mark.parametrize("total", [1, 2, 3, 4, 5, 15, 16, 17, 99, 10_007, 65_536, 65_537])
def test_each_number_once(total: int) -> None:
    found = Permutation(total, key=3)(torch.arange(total))
    assert torch.equal(found.sort().values, torch.arange(total))


def by_hand(place: int, total: int, key: int) -> int:
    """Compute one number with Python's integers."""
    a = isqrt(total - 1) + 1
    b = -(-total // a)
    while True:
        left, right, sizes = place // b, place % b, (a, b)
        for number in range(ROUNDS):
            mixed = int(mix64_(np.array([right ^ mix(key, number)], np.uint64))[0])
            left, right, sizes = right, (left + mixed) % sizes[0], sizes[::-1]
        place = left * b + right
        if place < total:
            return place


def test_each_place_is_computed_separately() -> None:
    total = 9_999_991
    places = torch.randint(total, (300,), generator=torch.Generator().manual_seed(0))
    found = Permutation(total, key=5)(places)
    assert found.tolist() == [by_hand(place, total, 5) for place in places.tolist()]
    assert torch.equal(Permutation(total, key=5)(places[7:9]), found[7:9])


def test_all_orders_of_four_are_about_equally_likely() -> None:
    draws = 12_000
    counts: dict[tuple[int, ...], int] = {}
    for key in range(draws):
        order = tuple(Permutation(4, mix(key))(torch.arange(4)).tolist())
        counts[order] = counts.get(order, 0) + 1
    # even and odd orders are equally frequent only on average over the rounds; all 24 orders occur
    assert len(counts) == 24
    assert max(counts.values()) < 2 * draws / 24


def test_numbers_are_uniform_and_neighbours_are_independent() -> None:
    total, keys = 1009, 400
    orders = torch.stack([Permutation(total, mix(key))(torch.arange(total)) for key in range(keys)])
    # the number at a place is uniform: chi-square of 10 equal bins over keys, for each of the places
    bins = (orders * 10 // total).T  # (total, keys)
    counts = torch.stack([(bins == b).sum(1) for b in range(10)], 1).double()
    share = torch.bincount(torch.arange(total) * 10 // total, minlength=10).double() / total * keys
    chi = ((counts - share) ** 2 / share).sum(1)  # (total,), each of mean 9 and variance 18
    assert abs(chi.mean() - 9) < 5 * (18 / total) ** 0.5
    # the distance between neighbours is distributed as in a drawn order: triangular, with mean total / 3
    step = (orders[:, 1:] - orders[:, :-1]).abs().double()
    assert abs(step.mean() - total / 3) < total / 3 * 0.01
    # the orders of two keys agree by chance only: in one place on average
    same = (orders[1:] == orders[:-1]).sum(1).double()
    assert abs(same.mean() - 1) < 5 / (keys - 1) ** 0.5


def test_processes_share_the_rows_of_a_large_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_mapped, "BLOCK", 50)
    rows = torch.arange(1000, 2003)
    orders = [RowOrder(rows, 16, Counter(seed=4, process_rank=rank), 3) for rank in range(3)]
    assert len(orders[0]) == 1003 // 48
    epochs = [[order.epoch(epoch) for order in orders] for epoch in (0, 1)]
    seen = [torch.cat([take(step) for step in range(20) for take in ranks]) for ranks in epochs]
    for taken in seen:
        assert len(taken.unique()) == 960
        assert bool(((taken >= 1000) & (taken < 2003)).all())
    assert not torch.equal(seen[0], seen[1])
    together = orders[1].epoch(0, all_processes=True)(7)
    assert torch.equal(together, torch.cat([take(7) for take in epochs[0]]))
    assert torch.equal(RowOrder(rows, 16, Counter(seed=4), 3).epoch(1)(3), epochs[1][0](3))  # a resumed process
