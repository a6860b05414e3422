"""Ids of every type: integers of any size and texts work, all others are refused with a remedy."""

from __future__ import annotations

import uuid
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dssm_lightning.data.sources import Files
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.tables import RawTables, Tables

HASHES = [7, 2**63, 2**64 - 1]


def resolved(ids: pl.Series, others: pl.Series | None = None) -> Tables:
    events = pl.DataFrame({"query_id": ["q"] * len(ids), "candidate_id": ids})
    corpus = None if others is None else pl.DataFrame({"candidate_id": others})
    return RawTables(events, None, corpus, ColumnRoles()).resolve([], [])


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pl.Series([1, 2], dtype=pl.UInt64), [1, 2]),
        (pl.Series([1, 2], dtype=pl.Int128), [1, 2]),
        (pl.Series(HASHES, dtype=pl.UInt64), list(map(str, HASHES))),
        (pl.Series([1, -(2**70)], dtype=pl.Int128), ["1", str(-(2**70))]),
        (pl.Series([Decimal(1), Decimal(2)]), [1, 2]),
        (pl.Series([Decimal("1.00"), Decimal("2.00")]), [1, 2]),
        (pl.Series([Decimal(2**64)]), [str(2**64)]),
        (pl.Series(["b", "a"], dtype=pl.Categorical), ["b", "a"]),
        (pl.Series(["b", "a"], dtype=pl.Enum(["a", "b"])), ["b", "a"]),
    ],
)
def test_ids_that_work(ids: pl.Series, expected: list[Any]) -> None:
    tables = resolved(ids, ids)
    assert tables.candidates["candidate_id"].to_list() == expected
    assert tables.candidate_rows.tolist() == list(range(len(expected)))


def test_both_tables_become_text_if_one_has_a_large_id() -> None:
    few = pl.Series([7], dtype=pl.Int64)
    assert resolved(few, pl.Series(HASHES, dtype=pl.UInt64)).candidate_rows.tolist() == [0]
    assert resolved(pl.Series(HASHES, dtype=pl.UInt64), pl.Series(HASHES, dtype=pl.Int128)).candidates[
        "candidate_id"
    ].to_list() == list(map(str, HASHES))
    assert resolved(pl.Series(["7"]), pl.Series(HASHES, dtype=pl.UInt64)).candidate_rows.tolist() == [0]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
@pytest.mark.parametrize("other", ["parquet", "jsonl", "csv"])
def test_large_ids_work_from_every_format(tmp_path: Path, suffix: str, other: str) -> None:
    events = pl.DataFrame(
        {"query_id": HASHES, "candidate_id": ["a", "b", "c"]}, schema_overrides={"query_id": pl.UInt64}
    )
    paths = []
    for name, frame, ending in (("e", events, suffix), ("q", events.select("query_id"), other)):
        paths.append(tmp_path / f"{name}.{ending}")
        write = {"parquet": frame.write_parquet, "jsonl": frame.write_ndjson, "csv": frame.write_csv}[ending]
        write(paths[-1])
    tables = Files(str(paths[0]), str(paths[1])).tables().resolve([], [])
    assert tables.queries["query_id"].to_list() == list(map(str, HASHES))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0], "Float64.*1.0.*missing values"),
        ([Decimal("1.5")], r"Decimal.*'1\.5'"),
        ([uuid.UUID(int=1).bytes], r"Binary.*encode\('hex'\).*UUID"),
        ([True], "Boolean"),
        ([date(2024, 1, 2)], "Date.*2024"),
        ([datetime(2024, 1, 2)], "Datetime.*2024"),
        ([time(1)], "Time"),
        ([timedelta(1)], "Duration"),
        ([{"a": 1}], r"Struct.*\{'a': 1\}"),
        ([[1]], r"List\(Int64\), such as \[1\]"),
        (pl.Series([[1]], dtype=pl.Array(pl.Int64, 1)), "Array"),
    ],
)
def test_ids_that_are_refused(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"interactions: id column 'candidate_id' is {message}") as caught:
        resolved(pl.Series(values))
    assert "\n" not in str(caught.value)


def test_integers_are_not_compared_with_text() -> None:
    with pytest.raises(ValueError, match=r"Int64 in interactions and String in candidates.*dtypes"):
        resolved(pl.Series([7]), pl.Series(["7"]))
