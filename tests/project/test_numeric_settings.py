"""Numeric settings of losses, samplers, splits and callbacks: each value is accepted or refused in one line."""

from __future__ import annotations

import inspect
import math
import re
from typing import Any

import numpy as np
import pytest

from dssm_lightning import losses
from dssm_lightning.data import negatives, splits
from dssm_lightning.data.negatives.frequency import StreamingFrequency
from dssm_lightning.losses import Loss
from dssm_lightning.models.scorers import Dot
from dssm_lightning.training.callbacks import AveragedWeights, LastCheckpoint
from dssm_lightning.training.cross_batch_memory import Memory
from dssm_lightning.training.teachers import GuidedNegatives
from dssm_lightning.utils.errors import UserError

REQUIRED: dict[str, dict[str, Any]] = {
    "Uniform": {"num_negatives": 2},
    "Popularity": {"num_negatives": 2},
    "LogUniform": {"num_negatives": 2},
    "FromColumn": {"column": "worse"},
    "FromShown": {"num_negatives": 2},
    "Hard": {"num_negatives": 1, "rank_range": (0, 2)},
    "SameAttribute": {"column": "genre", "num_negatives": 2},
    "HardestNegative": {"num_negatives": 2},
    "Matryoshka": {"loss": losses.BPR, "dims": [4]},
    "WeightedSum": {"losses": [losses.BPR]},
    "Objectives": {"losses": {"click": losses.BPR}},
    "ByTime": {"folds": 3},
    "PublishedFold": {"column": "fold"},
    "Memory": {"size": 3, "width": 2},
}
KINDS: list[Any] = [
    *(kind for module in (losses, negatives, splits) for kind in vars(module).values() if isinstance(kind, type)),
    StreamingFrequency,
    AveragedWeights,
    LastCheckpoint,
    Memory,
    Dot,
    GuidedNegatives,
]
ABSTRACT = {"Loss", "Scores", "Taught", "NegativeSampler", "SamplerTables", "Split"}
SETTINGS = [
    (kind, name, str(parameter.annotation))
    for kind in KINDS
    if kind.__name__ not in ABSTRACT
    for name, parameter in inspect.signature(kind).parameters.items()
    if re.search("int|float", str(parameter.annotation)) and name != "width"  # no setting
]
WRONG = [math.nan, math.inf, -math.inf, 1e39, True, "3"]


def make(kind: Any, name: str, annotation: str, value: Any) -> Any:
    if annotation.startswith("tuple"):
        value = (0, value)
    if annotation.startswith("list"):
        value = [value]
    return kind(**{**REQUIRED.get(kind.__name__, {}), name: value})


@pytest.mark.parametrize(("kind", "name", "annotation"), SETTINGS, ids=lambda value: getattr(value, "__name__", value))
def test_what_is_no_finite_number_is_refused(kind: Any, name: str, annotation: str) -> None:
    for value in WRONG:
        with pytest.raises(UserError, match=name) as error:
            make(kind, name, annotation, value)
        assert "\n" not in str(error.value)
        assert str(error.value).startswith((f"{kind.__name__}: ", "last: ", "model: "))


@pytest.mark.parametrize(
    ("kind", "name", "annotation"),
    [each for each in SETTINGS if "float" not in each[2]],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_whole_numbers_are_whole(kind: Any, name: str, annotation: str) -> None:
    with pytest.raises(UserError, match=f"{name} is .*2.5"):
        make(kind, name, annotation, 2.5)
    if name != "seed":
        with pytest.raises(UserError, match=f"{name} is .*-1"):
            make(kind, name, annotation, -1)
    make(kind, name, annotation, np.int64(2 if name == "rank_range" else 1))


def test_the_list_is_complete() -> None:
    """A new class or setting is in the list without a change of this file."""
    names = {kind.__name__ for kind, _, _ in SETTINGS}
    assert {"WARP", "SigLIP", "Hard", "ByTime", "RandomQueries", "StreamingFrequency"} <= names
    assert all(issubclass(getattr(losses, name), Loss) for name in losses.__all__ if name not in ABSTRACT)
