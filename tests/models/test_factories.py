"""Descriptions as plain values become the callables that build the parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

from dssm_lightning.features import Vector
from dssm_lightning.features.schema import Schema
from dssm_lightning.losses import Loss, SampledSoftmax
from dssm_lightning.models.factories import make, plain_settings
from dssm_lightning.models.fusion import Sum
from dssm_lightning.models.tower import Tower, TowerFactory

SCHEMA = Schema((Vector(name="vector", length=3),))


def test_a_description_becomes_a_factory() -> None:
    description = {
        "class_path": "dssm_lightning.Tower",
        "init_args": {"fusion": "dssm_lightning.models.fusion.Sum", "output_dim": 2},
    }
    factory = make(TowerFactory, description)
    first, second = factory(SCHEMA), factory(SCHEMA)
    assert isinstance(first, Tower)
    assert isinstance(first.fusion, Sum)
    assert first.output_dim == 2
    assert first is not second
    assert isinstance(make(TowerFactory | None, description)(SCHEMA), Tower)


def test_nested_descriptions() -> None:
    encoder = {"class_path": "dssm_lightning.models.encoders.Linear", "init_args": {"output_dim": 5}}
    description = {
        "class_path": "dssm_lightning.Tower",
        "init_args": {"fusion": {"class_path": "dssm_lightning.models.fusion.Concat"}, "encoders": {"vector": encoder}},
    }
    assert make(TowerFactory, description)(SCHEMA).output_dim == 5


def test_names_of_classes_and_callables() -> None:
    assert isinstance(make(Callable[[], Loss], "SampledSoftmax")(), SampledSoftmax)
    assert make(Callable[[], Loss], SampledSoftmax) is SampledSoftmax
    assert make(TowerFactory | None, None) is None
    adam = make(OptimizerCallable, {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.25}})
    assert adam([torch.nn.Parameter(torch.zeros(1))]).defaults["lr"] == 0.25
    schedule = make(
        LRSchedulerCallable | None, {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 3}}
    )
    assert schedule(adam([torch.nn.Parameter(torch.zeros(1))])).step_size == 3


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("SampledSoftmx", "SampledSoftmx"),
        ({"class_path": "dssm_lightning.losses.SampledSoftmax", "init_args": {"corection": "count"}}, "corection"),
        ({"class_path": "torch.nn.Linear"}, "torch.nn.Linear"),
    ],
    ids=["unknown class", "unknown argument", "another kind"],
)
def test_descriptions_that_do_not_fit(description: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(Callable[[], Loss], description)


def test_only_plain_values_are_kept() -> None:
    plain = {"a": 1, "b": None, "c": [1.5, "x", {"d": True}], "e": {"f": [None]}}
    live = {"g": torch.nn.Linear, "h": [torch.zeros(1)], "i": {"j": lambda: 0}, "k": torch.float32}
    assert plain_settings({**plain, **live}) == plain
