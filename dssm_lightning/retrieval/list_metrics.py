"""Metrics of one ranked list, as :mod:`dssm_lightning.evaluation` computes them, without torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

CUT = 10
LIST_METRICS = ("map", "mrr", f"ndcg@{CUT}", "precision@1")
"""Average precision, reciprocal rank, NDCG of the first ten places, and precision of the first place."""


class Tied(NamedTuple):
    """The candidates of one score: ``above`` candidates score higher, ``size`` tie, ``relevant`` of these are right."""

    above: int
    size: int
    relevant: int
    gain: float


def list_metrics(scores: Sequence[float], labels: Sequence[float]) -> dict[str, float]:
    """Return the metrics of a list, by the names of ``LIST_METRICS``; NaN without a positive.

    A label above 0 is a positive, and the gain of NDCG. With ties, each metric is its expectation over a random order
    of the tied candidates.

    Args:
        scores: (n,) finite scores.
        labels: (n,) 0 or more.

    Example:
        >>> list_metrics([0.9, 0.5, 0.1], [0, 1, 1])["precision@1"], list_metrics([0.5, 0.5], [1, 0])["mrr"]
        (0.0, 0.75)
    """
    positives = sum(label > 0 for label in labels)
    if not positives:
        return dict.fromkeys(LIST_METRICS, math.nan)
    precision, gained, reciprocal, found, first = 0.0, 0.0, 0.0, 0, 0.0
    for group in _groups(scores, labels):
        if group.above == 0:
            first = group.relevant / group.size
        if group.relevant and not found:
            reciprocal = _expected_reciprocal(group)
        precision += _precisions(group, found)
        gained += group.gain / group.size * _discounts(group.above, group.above + group.size)
        found += group.relevant
    ideal = sum(gain / math.log2(place + 2) for place, gain in enumerate(sorted(labels, reverse=True)[:CUT]))
    return dict(zip(LIST_METRICS, (precision / positives, reciprocal, gained / ideal, first), strict=True))


def _groups(scores: Sequence[float], labels: Sequence[float]) -> Iterator[Tied]:
    """Yield the groups of equal scores, the highest first."""
    own: dict[float, list[float]] = {}
    for score, label in zip(scores, labels, strict=True):
        own.setdefault(score, []).append(label)
    above = 0
    for score in sorted(own, reverse=True):
        group = own[score]
        yield Tied(above, len(group), sum(label > 0 for label in group), math.fsum(group))
        above += len(group)


def _expected_reciprocal(group: Tied) -> float:
    """Return E[1 / (above + J)], where J is the place of the first of the relevant candidates in random order."""
    above, size, relevant, _ = group
    total, share = 0.0, relevant / size  # P(J = 1); then P(J = j + 1) from P(J = j)
    for place in range(1, size - relevant + 2):
        total += share / (above + place)
        share *= (size - place - relevant + 1) / max(1, size - place)
    return total


def _precisions(group: Tied, found: int) -> float:
    """Return the expected sum of the precisions at the group's relevant candidates; ``found`` of others are above."""
    above, size, relevant, _ = group
    slope = (relevant - 1) / max(1, size - 1)
    places = range(1, size + 1) if relevant else ()
    return relevant / size * sum((found + 1 + slope * (place - 1)) / (above + place) for place in places)


def _discounts(start: int, stop: int) -> float:
    return sum(1 / math.log2(place + 2) for place in range(start, min(stop, CUT)))
