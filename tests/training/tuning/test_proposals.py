"""What is tried next is near the best, new, and within the range."""

from __future__ import annotations

import random

from helpers.tuning import SPACE, quality

from dssm_lightning.training.tuning.proposals import Tried, propose


def search(seed: int, trials: int = 20) -> list[Tried]:
    tried: list[Tried] = []
    for number in range(trials):
        values = propose(SPACE, tried, 1000 * seed + number)
        tried.append(Tried(values, quality(values)))
    return tried


def test_what_helps_is_kept_and_goes_on() -> None:
    tried = search(0, trials=8)
    assert [each.values for each in tried[:5]] == [
        {"lr": 0.01, "width": 64, "repeats": "ignore"},
        {"lr": 0.03, "width": 64, "repeats": "ignore"},  # better
        {"lr": 0.072, "width": 64, "repeats": "ignore"},  # too far
        {"lr": 0.03, "width": 128, "repeats": "ignore"},  # better
        {"lr": 0.03, "width": 128, "repeats": "count_log_q"},  # better
    ]


def test_a_step_that_hurts_is_tried_the_other_way() -> None:
    own, faster = ({"lr": rate, "width": 64, "repeats": "ignore"} for rate in (0.01, 0.03))
    assert propose(SPACE, [Tried(own, 0.5), Tried(faster, 0.4)], seed=1) == {**own, "lr": 0.0033}
    assert propose(SPACE, [Tried(own, 0.5), Tried(faster, None)], seed=1) == {**own, "lr": 0.0033}, "given up, or runs"


def test_no_settings_are_tried_twice_and_all_lie_in_the_range() -> None:
    for seed in range(5):
        tried = [each.values for each in search(seed)]
        assert len({str(values) for values in tried}) == 20
        assert all(0.001 <= values["lr"] <= 0.1 and 16 <= values["width"] <= 256 for values in tried)


def test_twenty_trials_find_more_than_random_places_do() -> None:
    draw = random.Random(1)
    ours, theirs = [], []
    for seed in range(5):
        ours.append(max(each.score or 0.0 for each in search(seed)))
        places = [
            {"lr": 10 ** draw.uniform(-3, -1), "width": draw.randint(16, 256), "repeats": draw.choice(SPACE[2].choices)}
            for _ in range(20)
        ]
        theirs.append(max(map(quality, places)))
    assert min(ours) > 0.515
    assert sum(ours) > sum(theirs)


def test_a_failed_trial_is_no_reason_to_stop() -> None:
    own = {"lr": 0.01, "width": 64, "repeats": "ignore"}
    assert propose(SPACE, [Tried(own, None)], seed=1) != own
