"""Draws depend only on the place in a run."""

from __future__ import annotations

import torch

from dssm_lightning.utils.seeding import Counter, mix, run_seed


def naive_mix(*parts: int) -> int:
    """splitmix64's finaliser over a sequence, by the definition in unlimited integers."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state ^= part % 2**64
        state = state * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ state // 2**27) * 0x94D049BB133111EB % 2**64
        state ^= state // 2**31
    return state // 2


def test_mix_is_a_function_of_all_its_parts_in_order() -> None:
    places = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (-1,), (2**63 - 1,), (42, 3, 7, 1)]
    values = [mix(*place) for place in places]
    assert len(set(values)) == len(places)
    assert values == [naive_mix(*place) for place in places]
    assert all(0 <= value < 2**63 for value in values)


def test_equal_places_draw_equal_numbers_and_others_do_not() -> None:
    def draw(counter: Counter, purpose: str) -> list[float]:
        return torch.rand(4, generator=counter.generator(purpose)).tolist()

    here = Counter(seed=1, epoch=2, step=3, process_rank=0)
    assert draw(here, "negatives") == draw(Counter(1, 2, 3, 0), "negatives")
    others = [here._replace(**{field: 9}) for field in here._fields]
    assert all(draw(other, "negatives") != draw(here, "negatives") for other in others)
    assert draw(here, "shuffle") != draw(here, "negatives")


def test_run_seed_is_lightnings(monkeypatch) -> None:
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    assert run_seed() == 0
    monkeypatch.setenv("PL_GLOBAL_SEED", "17")
    assert run_seed() == 17
