"""What to try next: one setting at a time from the best trial, then the same again, then small changes."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from dssm_lightning.training.tuning.dimension import Dimension

LOCAL = 60
"""Trials up to which a search stays near the best one; then Optuna's TPE has enough to learn from."""
FACTORS = {"lr": 3.0, "logit_scale": 2.0, "width": 2.0, "num_negatives": 3.0}
"""The first step of a setting that is searched by its logarithm."""
SUM = 0.3
"""The first step of a dropout."""
LATER = ("weight_decay", "smoothing", "width#2", "id_dropout", "encoder_dropout", "feature_dropout")
"""Settings that change little by themselves: they wait until all others had a step."""
AGAIN = 0.8
"""How far a step goes that follows one that has helped, in steps."""
SPREAD = {"log": 0.7, "linear": 0.15}
"""Standard deviation of a small change: of a logarithm, and of the range of a number."""
TRIES = 50


class Tried(NamedTuple):
    """The settings of a trial, and what they reached; higher is better, None = it was given up, or runs.

    Example:
        >>> Tried({"lr": 0.1}, 0.5).score
        0.5
    """

    values: dict[str, Any]
    score: float | None


def propose(space: Sequence[Dimension], tried: Sequence[Tried], seed: int) -> dict[str, Any]:
    """Return the settings of the next trial.

    A person who has 20 fits changes one setting at a time, keeps what helps, and goes on in the same direction. So does
    this: random places in ten dimensions are rarely as good as a config that a person has written.

    Args:
        space: what may change, the most important first.
        tried: the trials so far; those that run count as tried.
        seed: of this proposal.

    Example:
        >>> rate = Dimension("lr", (("model", "lr"),), 0.01, "number", 0.001, 0.1, log=True)
        >>> propose([rate], [], seed=1), propose([rate], [Tried({"lr": 0.01}, 0.3)], seed=1)
        ({'lr': 0.01}, {'lr': 0.03})
        >>> propose([rate], [Tried({"lr": 0.01}, 0.3), Tried({"lr": 0.03}, 0.4)], seed=1)
        {'lr': 0.072}
    """
    own = {each.name: each.own for each in space}
    if not any(each.values == own for each in tried):
        return own
    scored = [each for each in tried if each.score is not None]
    best = max(scored, key=lambda each: each.score or 0.0).values if scored else own
    for candidate in _steps(space, best, tried):
        if all(candidate != each.values for each in tried):
            return candidate
    return _changed(space, best, random.Random(seed), tried)


def _steps(space: Sequence[Dimension], best: dict[str, Any], tried: Sequence[Tried]) -> Iterator[dict[str, Any]]:
    """Yield the best settings with one step: first each setting once, then on, back, or to the next choice."""
    for name, value in _ordered(space, best, tried):
        yield {**best, name: value}


def _ordered(space: Sequence[Dimension], best: dict[str, Any], tried: Sequence[Tried]) -> Iterator[tuple[str, Any]]:
    seen = {each.name: [trial.values[each.name] for trial in tried] for each in space}
    fresh = [each for each in space if all(value == each.own for value in seen[each.name])]
    rates = [each for each in space if each.name.startswith("lr") and each not in fresh]
    for each in rates:  # a rate decides more than all others: it goes on, or back, before they have their steps
        yield from ((each.name, value) for value in _next(each, best[each.name], seen[each.name]))
    for each in (*(d for d in fresh if d.name not in LATER), *(d for d in fresh if d.name in LATER)):
        yield from ((each.name, value) for value in _first(each))
    for each in space:
        yield from ((each.name, value) for value in _next(each, best[each.name], seen[each.name]))


def _first(dimension: Dimension) -> list[Any]:
    """Return the first step of a setting: up, or down where there is nothing above it."""
    if dimension.kind == "choice":
        return [each for each in dimension.choices if each != dimension.own][:1]
    steps = [_moved(dimension, dimension.own, sign) for sign in (1.0, -1.0)]
    return [each for each in steps if each != dimension.own][:1]


def _back(dimension: Dimension, seen: Sequence[Any]) -> list[Any]:
    """Return the first step in the other direction, if none of its values was tried."""
    if all(value >= dimension.own for value in seen):
        value = _moved(dimension, dimension.own, -1.0)
        return [value] if value != dimension.own else []
    return []


def _next(dimension: Dimension, best: Any, seen: Sequence[Any]) -> list[Any]:
    """Return a step further where one has helped, the other direction where none has, or a choice that is left."""
    if dimension.kind == "choice":
        return [] if dimension.name in LATER else [each for each in dimension.choices if each not in seen][:1]
    if best == dimension.own:
        return _back(dimension, seen)
    sign = 1.0 if best > dimension.own else -1.0
    if all(sign * value <= sign * best for value in seen):
        value = _moved(dimension, best, sign * AGAIN)
        return [value] if value != best else []
    return []


def _moved(dimension: Dimension, value: Any, steps: float) -> Any:
    name = dimension.name.partition("#")[0]
    if dimension.log:
        return _inside(dimension, value * FACTORS.get(name, 2.0) ** steps)
    return _inside(dimension, value + SUM * steps)


def _changed(
    space: Sequence[Dimension], best: dict[str, Any], draw: random.Random, tried: Sequence[Tried]
) -> dict[str, Any]:
    """Return the best settings with one to three small changes, such as were not tried before."""
    found = dict(best)
    weights = [1.0 / (2 + place) for place in range(len(space))]  # the most important first
    for _ in range(TRIES):
        found = dict(best)
        for each in draw.choices(space, weights, k=draw.choice((1, 1, 2, 2, 3))):
            found[each.name] = _drawn(each, found[each.name], draw)
        if all(found != each.values for each in tried):
            return found
    return found


def _drawn(dimension: Dimension, value: Any, draw: random.Random) -> Any:
    if dimension.kind == "choice":
        return draw.choice([each for each in dimension.choices if each != value] or [value])
    if dimension.log:
        return _inside(dimension, value * math.exp(draw.gauss(0, SPREAD["log"])))
    return _inside(dimension, value + draw.gauss(0, SPREAD["linear"]) * (dimension.high - dimension.low))


def _inside(dimension: Dimension, value: float) -> Any:
    inside = min(max(value, dimension.low), dimension.high)
    return dimension.value_of(round(inside) if dimension.kind == "whole" else inside)
