"""The bound on the values of a file."""

from __future__ import annotations

from typing import Any

import pytest

from dssm_lightning.utils.bounded_values import require_bounded
from dssm_lightning.utils.errors import UserError


def test_values_are_counted_written_out() -> None:
    assert sorted(require_bounded({"a": [1, (2,)], "b": {"c": 3}}, "x")) == [1, 2, 3]
    shared = [0] * 100
    with pytest.raises(UserError, match="x: there are more than 5,000 values"):
        require_bounded([shared] * 100, "x", 5_000)


def test_values_in_themselves_are_refused() -> None:
    values: list[Any] = []
    values.append({"again": values})
    with pytest.raises(UserError, match="x: values are nested deeper than 50"):
        require_bounded(values, "x")
