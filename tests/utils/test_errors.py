"""Checks of settings: which values pass, and what a refusal names."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from dssm_lightning.utils.errors import (
    UserError,
    require_at_least,
    require_choice,
    require_fraction,
    require_positive,
)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (require_at_least, [1, 2.5, math.inf, None], [0, -1, math.nan]),
        (require_positive, [1e-9, 3, None], [0, -1, math.inf, math.nan]),
        (require_fraction, [0, 0.5, None], [1, -0.1, math.nan]),
    ],
)
def test_numbers(check: Callable[..., None], good: list[float | None], bad: list[float]) -> None:
    for value in good:
        check("Owner", "size", value)
    for value in bad:
        with pytest.raises(UserError, match=f"Owner: size is {value}; .*hint me"):
            check("Owner", "size", value, hint="hint me")


def test_a_minimum_of_its_own() -> None:
    require_at_least("Owner", "size", 0, 0)
    with pytest.raises(UserError, match=r"size is 1; .* 2"):
        require_at_least("Owner", "size", 1, 2)


def test_choices_suggest_the_nearest() -> None:
    require_choice("Owner", "mode", "mean", ["mean", "sum"])
    with pytest.raises(UserError, match=r"Owner: mode is 'maen'; possible are mean, sum.*'mean'"):
        require_choice("Owner", "mode", "maen", ["mean", "sum"])


def test_it_is_a_value_error() -> None:
    assert issubclass(UserError, ValueError)
