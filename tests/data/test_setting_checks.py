"""Settings of the data module that cannot go together, and messages."""

from __future__ import annotations

import pytest

from dssm_lightning.data.setting_checks import check_rows_per_query
from dssm_lightning.features import History


@pytest.mark.parametrize(
    ("batch_by", "rows_per_query", "max_length", "message"),
    [
        ("row", 5, None, "rows_per_query is 5.*batch_by"),
        ("query", 0, None, "rows_per_query is 0"),
        ("query", 9, 8, "rows_per_query is 9.*'h'.*max_length 8"),
        ("query", None, 8, "rows_per_query is not given.*'h'.*max_length 8"),
    ],
)
def test_stretches_that_cannot_be(
    batch_by: str, rows_per_query: int | None, max_length: int | None, message: str
) -> None:
    history = History(name="h", of="movie", order="time", max_length=max_length)
    with pytest.raises(ValueError, match=message):
        check_rows_per_query(batch_by, rows_per_query, [history])
    check_rows_per_query("query", 8, [history])
    check_rows_per_query("query", None, [History(name="h", of="movie", max_length=8)])  # each row has its own
