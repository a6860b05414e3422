"""An answer is JSON, whatever the values are."""

from __future__ import annotations

import asyncio
import datetime
import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from helpers.any_value import QUICK, nested, raw_values
from hypothesis import given
from hypothesis import strategies as st

from dssm_lightning.serving.answers import LARGE, json_bytes, json_later


def read(content: bytes) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(content.decode("utf-8"), parse_constant=refuse)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (math.nan, None),
        ([math.inf, -math.inf, 0.5], [None, None, 0.5]),
        (datetime.date(2024, 1, 31), "2024-01-31"),
        (datetime.datetime(2024, 1, 31, 10), "2024-01-31T10:00:00"),
        (Decimal("1.50"), "1.50"),
        ({7: "a", None: 1, True: 2, 0.5: 3}, {"7": "a", "null": 1, "true": 2, "0.5": 3}),
        (10**400, 10**400),
        ("\ud800", "\\ud800"),
        ({"\udfff": math.nan}, {"\\udfff": None}),
        (b"\x00", "AA=="),
        ({"a": object}, {"a": "<class 'object'>"}),
        ({"a": np.float32(0.5), "b": np.int64(7), "c": np.array([math.nan])}, {"a": 0.5, "b": 7, "c": [None]}),
    ],
    ids=repr,
)
def test_a_value_that_json_does_not_know_is_null_or_a_text(value: Any, found: Any) -> None:
    assert read(json_bytes(value)) == found


@QUICK
@given(value=st.one_of(raw_values(), st.dictionaries(st.one_of(st.none(), st.booleans(), st.integers()), raw_values())))
def test_any_value_is_json(value: Any) -> None:
    read(json_bytes(value))


def test_a_value_of_any_depth_is_json() -> None:
    read(json_bytes(nested(100_000)))


@pytest.mark.parametrize("size", [1, LARGE])
def test_a_large_answer_is_the_same_as_a_small_one(size: int) -> None:
    response = asyncio.run(json_later(lambda: {"a": [1.5]}, size))
    assert response.body == b'{"a":[1.5]}'
    assert response.headers["content-type"] == "application/json"
