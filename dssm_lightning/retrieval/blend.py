"""How the scores of a model and of BM25 become one ranking: by their ranks, or as a weighted mean of both scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.utils.errors import MAX_FLOAT32, UserError, is_number
from dssm_lightning.utils.text_files import parse_json, read_utf8

K = 60
"""Constant of the reciprocal ranks: the larger it is, the less the first ranks stand out."""
HYBRID = "hybrid.json"
"""Name of the file in a run folder that has the chosen blend."""

Form = Literal["ranks", "range", "deviation", "max"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Blend:
    """A rule that makes one score of a model's and BM25's.

    With the form ``"ranks"``, a candidate gets 1 / (60 + r) + weight / (60 + r'), where r and r' are its 1-based ranks
    in the two lists (:func:`reciprocal_ranks`). A candidate that shares no word with the query is not in BM25's list.

    The other forms are convex: (1 − weight) × the model's score + weight × BM25's, after the scores of each query are
    made comparable. ``"range"`` moves them to 0 … 1, ``"deviation"`` to mean 0 and standard deviation 1, and ``"max"``
    divides them by the largest. Ranks forget by how much a candidate leads; scores keep it.

    Sources: Cormack, Clarke and Büttcher, SIGIR 2009, doi 10.1145/1571941.1572114 (ranks); Bruch, Gai and Ingber,
    arXiv 2210.11934 (convex combinations).

    Raises:
        UserError: an unknown form; a weight that is negative or not finite; a weight above 1 of a convex form.

    Example:
        >>> model, words = np.array([[0.9, 0.5, 0.1]]), np.array([[0.0, 4.0, 8.0]])
        >>> Blend("range", 0.25).combine(model, words)
        array([[0.75, 0.5 , 0.25]])
    """

    form: Form = "ranks"
    weight: float = 1.0

    KEYS: ClassVar[tuple[str, ...]] = ("form", "weight")

    def __post_init__(self) -> None:
        if self.form not in get_args(Form):
            raise UserError(f"hybrid: form is {self.form!r}; possible are {', '.join(get_args(Form))}")
        if not (is_number(self.weight) and 0 <= self.weight < MAX_FLOAT32):
            raise UserError(f"hybrid: weight is {self.weight!r}; it must be at least 0 and finite")
        if self.form != "ranks" and self.weight > 1:
            raise UserError(f"hybrid: weight is {self.weight!r}; with the form {self.form!r}, it must be at most 1")

    def __str__(self) -> str:
        """Return the rule in a few words."""
        return f"{self.form} with weight {self.weight:g}"

    def combine(self, scores: NDArray[Any], words: NDArray[Any]) -> Floats:
        """Return the blended scores (Q, N) float64 of the model's (Q, N) and BM25's (Q, N).

        A candidate whose model score is −∞ is excluded: the others are blended as if it were not there. Its blended
        score is 0 with the form "ranks", which gives no other candidate less, and −∞ with the other forms.
        """
        excluded = scores == -math.inf
        if self.form == "ranks":
            listed = np.where((words <= 0) | excluded, -math.inf, words)
            return reciprocal_ranks(scores) + self.weight * reciprocal_ranks(listed)
        return self.mixed(self.comparable(scores), self.comparable(np.where(excluded, -math.inf, words)))

    def comparable(self, scores: NDArray[Any]) -> Floats:
        """Return the scores (Q, N) as the form makes them comparable; −∞ stays −∞."""
        return _SCALES[self.form](np.asarray(scores, np.float64))

    def mixed(self, scores: Floats, words: Floats) -> Floats:
        """Return the weighted mean of comparable scores (Q, N)."""
        mean: Floats = (1 - self.weight) * scores + self.weight * words if 0 < self.weight < 1 else scores
        return words if self.weight == 1 else mean

    @classmethod
    def of(cls, values: Mapping[str, Any], source: str) -> Blend:
        """Return the blend that the values of a file describe.

        Raises:
            UserError: they describe none.
        """
        missing = [name for name in cls.KEYS if name not in values]
        if missing:
            raise UserError(f"{source}: hybrid has no {missing[0]}; choose it again with `fit`, or export again")
        try:
            return cls(values["form"], values["weight"])
        except UserError as error:
            raise UserError(f"{source}: {error}") from error


def chosen_blend(run: Path | None) -> Blend | None:
    """Return the blend that the fit of a run has chosen; None if it chose none.

    Raises:
        UserError: the file is damaged.
    """
    path = None if run is None else run / HYBRID
    if path is None or not path.is_file():
        return None
    values: Any = parse_json(read_utf8(path), str(path))
    return Blend.of(values if isinstance(values, dict) else {}, str(path))


def reciprocal_ranks(scores: NDArray[Any], k: int = K) -> Floats:
    """(Q, N) -> (Q, N) float64: 1 / (k + rank) with 1-based ranks, and 0 for a score of −∞.

    Equal scores share the first of their ranks.

    Example:
        >>> reciprocal_ranks(np.array([[0.5, 0.9, 0.5]]), k=1).tolist()
        [[0.3333333333333333, 0.5, 0.3333333333333333]]
    """
    found = np.zeros(scores.shape)
    for row, values in zip(found, scores, strict=True):
        places = np.flatnonzero(values != -math.inf)  # few, of BM25's list
        ascending = places[np.argsort(values[places])]
        ordered = values[ascending]
        row[ascending] = 1.0 / (k + 1.0 + (len(ordered) - np.searchsorted(ordered, ordered, side="right")))
    return found


def _by_range(scores: Floats) -> Floats:
    finite = scores != -math.inf
    least = scores.min(axis=1, keepdims=True, initial=math.inf, where=finite)
    most = scores.max(axis=1, keepdims=True, initial=-math.inf, where=finite)
    return _scaled(scores, least, most - least)


def _by_deviation(scores: Floats) -> Floats:
    finite = scores != -math.inf
    count = np.maximum(finite.sum(axis=1, keepdims=True), 1)
    mean = scores.sum(axis=1, keepdims=True, where=finite) / count
    squares = np.where(finite, scores - mean, 0.0) ** 2
    return _scaled(scores, mean, np.sqrt(squares.sum(axis=1, keepdims=True) / count))


def _by_max(scores: Floats) -> Floats:
    most = np.abs(scores).max(axis=1, keepdims=True, initial=0, where=scores != -math.inf)
    return _scaled(scores, np.zeros((len(scores), 1)), most)


def _scaled(scores: Floats, start: Floats, unit: Floats) -> Floats:
    """(scores − start) / unit by row; 0 in a row whose scores are all equal."""
    equal = ~(unit > 0) | ~np.isfinite(unit)
    found: Floats = (scores - np.where(np.isfinite(start), start, 0.0)) / np.where(equal, 1.0, unit)
    return np.where(equal & (scores != -math.inf), 0.0, found)


_SCALES: dict[str, Callable[[Floats], Floats]] = {"range": _by_range, "deviation": _by_deviation, "max": _by_max}
