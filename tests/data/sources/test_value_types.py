"""Columns of text are text as written; numbers, times and labels are read from it, strictly."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dssm_lightning.data.sources import Files
from dssm_lightning.data.sources.positive_rows import PositiveRows
from dssm_lightning.data.sources.value_types import as_numbers, as_times


def events(folder: Path, values: list[str], **settings: Any) -> pl.DataFrame:
    path = folder / "e.csv"
    lines = "".join(f"q,{number},{value}\n" for number, value in enumerate(values))
    path.write_text("query_id,candidate_id,x\n" + lines, encoding="utf-8")
    return Files(str(path), **settings).tables().resolve([], []).interactions


def column(folder: Path, values: list[str], **settings: Any) -> list[Any]:
    return events(folder, values, **settings)["x"].to_list()


WRITTEN = ["01234", "1E5", "000", "1.50", "true", " 7", "2024-01-31", "NaN", "9" * 30]


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_columns_are_text_as_written(tmp_path: Path, ending: str) -> None:
    assert column(tmp_path, WRITTEN) == WRITTEN
    separator = "\t" if ending == "tsv" else ","
    for value in WRITTEN:  # also if all values look like numbers of one type
        (tmp_path / f"e.{ending}").write_text(
            "query_id,candidate_id,x\nq,1,V\n".replace(",", separator).replace("V", value)
        )
        assert Files(str(tmp_path / f"e.{ending}")).tables().interactions["x"].to_list() == [value]


# -- declared types ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("text", ["007", "8"], ["007", "8"]),
        ("number", ["007", "1.50", ""], [7.0, 1.5, None]),
        ("integer", ["007", str(2**63 - 1), "3.0"], [7, 2**63 - 1, 3]),
        ("boolean", ["true", "False", "1", "0"], [True, False, True, False]),
        ("date", ["2024-01-31"], [datetime(2024, 1, 31, tzinfo=timezone.utc)]),
    ],
)
def test_declared_types(tmp_path: Path, kind: str, values: list[str], expected: list[Any]) -> None:
    assert column(tmp_path, values, dtypes={"x": kind}) == expected


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("number", "1O", "1 of 2 values are no numbers, first '1O' in row 1"),
        ("integer", "1.5", "no integers.*'1.5' in row 1"),
        ("integer", "9" * 19, "no integers.*'9{19}' in row 1"),
        ("boolean", "yes", "neither true nor false, first 'yes' in row 1"),
        ("date", "31.01.2024", "first '31.01.2024' in row 1"),
    ],
)
def test_values_of_other_types(tmp_path: Path, kind: str, value: str, message: str) -> None:
    first = {"date": "2024-01-31"}.get(kind, "1")
    with pytest.raises(ValueError, match=f"interactions: column 'x': .*{message}"):
        events(tmp_path, [first, value], dtypes={"x": kind})


def test_settings_of_types_are_checked_first(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Files: dtypes of 'x' is 'int'.*'integer'"):
        Files("e.csv", dtypes={"x": "int"})
    with pytest.raises(ValueError, match=r"Files: dtypes names 'y'.*candidate_id"):
        events(tmp_path, ["1"], dtypes={"y": "text"})
    with pytest.raises(ValueError, match=r"Files: time_format is '%Y'.*`time`"):
        Files("e.csv", time_format="%Y")


def test_ids_stay_text_if_declared(tmp_path: Path) -> None:
    assert events(tmp_path, ["1", "2"], dtypes={"candidate_id": "text"})["candidate_id"].to_list() == ["0", "1"]


# -- labels, weights, grades -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "values", "expected"),
    [
        ("label", ["1", "0"], [1, 0]),
        ("label", ["true", "False"], [1, 0]),
        ("label", ["1.0", "0.0"], [1.0, 0.0]),
        ("weight", ["0.5", " 1e3"], [0.5, 1000.0]),
        ("grade", ["3", "01"], [3, 1]),
    ],
)
def test_roles_are_numbers(tmp_path: Path, role: str, values: list[str], expected: list[float]) -> None:
    assert column(tmp_path, values, **{role: "x"}) == expected


@pytest.mark.parametrize(
    ("role", "value", "message"),
    [
        ("label", "yes", "label column 'x': 1 of 2 .*'yes' in row 1.*positive"),
        ("label", "5", "label column 'x'.*found 5; .*label_above"),
        ("weight", "1,5", "weight column 'x'.*'1,5' in row 1"),
        ("weight", "inf", "weight column 'x'.*infinite"),
        ("weight", "", "weight column 'x'.*missing"),
        ("grade", "A", "grade column 'x'.*'A' in row 1"),
    ],
)
def test_roles_that_are_no_numbers(tmp_path: Path, role: str, value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        events(tmp_path, ["1", f'"{value}"'], **{role: "x"})


def test_large_integers_keep_their_digits() -> None:
    assert as_numbers(pl.Series(["1700000000000000001", "-5"]), "").to_list() == [1700000000000000001, -5]


# -- liked rows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [
        ({"label": "x", "label_above": 3}, ["3", "3.5", "5"], [0, 1, 1]),
        ({"positive": "x > 3"}, ["3", "3.5", "5"], [0, 1, 1]),
        ({"positive": "x>=7"}, ["7", "6.9", "10"], [1, 0, 1]),
        ({"positive": "x <= -1e0"}, ["-1", "0", "-2"], [1, 0, 1]),
        ({"positive": "x == purchase"}, ["purchase", "view", "cart"], [1, 0, 0]),
        ({"positive": "x != 'skip it'"}, ["skip it", "view", "cart"], [0, 1, 1]),
        ({"positive": "x == '01'"}, ["01", "1", "001"], [1, 0, 0]),
        ({"positive": "x == 1"}, ["01", "1.0", "2"], [1, 1, 0]),
    ],
)
def test_liked_rows(tmp_path: Path, settings: dict[str, Any], values: list[str], expected: list[int]) -> None:
    path = tmp_path / "e.csv"
    path.write_text("query_id,candidate_id,x\n" + "".join(f"q,{i},{v}\n" for i, v in enumerate(values)))
    tables = Files(str(path), **settings).tables().resolve([], [])
    assert tables.keys.label is not None
    assert tables.interactions[tables.keys.label].to_list() == expected
    assert tables.interactions["x"].to_list() == values


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"positive": "x = 3"}, "positive is 'x = 3'.*rating >= 7"),
        ({"positive": "x"}, "positive is 'x'"),
        ({"positive": "x >= high"}, "positive is 'x >= high'.*=="),
        ({"positive": "x > 3", "label": "x"}, "positive.*leave out `label`"),
        ({"label_above": 3}, "label_above is 3.*`label`"),
        ({"positive": "x >> 3"}, "positive is 'x >> 3'"),
    ],
)
def test_impossible_rules(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"Files: {message}"):
        Files("e.csv", **settings)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("rating > 3", "'rating'.*no such column; interactions has .*x"),
        ("x > 3", "column 'x': 1 of 3 values are no numbers, first 'high' in row 1"),
        ("__import__('os').system('true') == 0", "no such column"),
    ],
)
def test_rules_that_do_not_fit_the_table(tmp_path: Path, rule: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        events(tmp_path, ["5", "high", "4"], positive=rule)
    with pytest.raises(ValueError, match="'x' is missing in 1 of 2 rows, first in row 1"):
        PositiveRows.parse("x > 3").of(pl.DataFrame({"x": [4.0, float("nan")]}))


# -- times -------------------------------------------------------------------------------------------------------------


def test_dates_that_are_not_iso_are_not_guessed(tmp_path: Path) -> None:
    american = ["01/12/2024", "02/03/2024"]
    with pytest.raises(ValueError, match=r"time column 'x': 2 of 2 .*'01/12/2024' in row 0.*time_format.*%m/%d/%Y"):
        events(tmp_path, american, time="x")
    found = column(tmp_path, american, time="x", time_format="%m/%d/%Y")
    assert found == [datetime(2024, 1, 12, tzinfo=timezone.utc), datetime(2024, 2, 3, tzinfo=timezone.utc)]
    found = column(tmp_path, american, time="x", time_format="%d/%m/%Y")
    assert found[0] == datetime(2024, 12, 1, tzinfo=timezone.utc)
    zone = column(tmp_path, ["10/Oct/2000:13:55:36 -0700"], time="x", time_format="%d/%b/%Y:%H:%M:%S %z")
    assert zone == [datetime(2000, 10, 10, 20, 55, 36, tzinfo=timezone.utc)]


@pytest.mark.parametrize(
    ("values", "settings", "message"),
    [
        (["01/12/2024", "13/12/2024"], {"time_format": "%m/%d/%Y"}, "1 of 2 .*'%m/%d/%Y'.*'13/12/2024' in row 1"),
        (["2024-01-01", "5"], {}, "'5' in row 1"),
        (["5", "inf"], {}, "infinite.*inf in row 1"),
        (["5", "nan"], {}, "missing in 1 of 2"),
        (["5", ""], {}, "missing in 1 of 2"),
        (["2024-02-30"], {}, "'2024-02-30' in row 0"),
    ],
)
def test_times_that_cannot_be_read(tmp_path: Path, values: list[str], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"time column 'x'.*{message}"):
        events(tmp_path, values, time="x", **settings)


def test_a_format_is_for_text() -> None:
    with pytest.raises(ValueError, match=r"time column 't' is Int64.*time_format"):
        as_times(pl.Series([1]), "time column 't'", "%Y")


# -- names -------------------------------------------------------------------------------------------------------------


def test_columns_get_other_names(tmp_path: Path) -> None:
    for name, content in {
        "ratings": "userId,movieId,rating\n1,2,5\n",
        "users": "id,age\n1,30\n",
        "films": "id,title\n2,Heat\n",
    }.items():
        (tmp_path / f"{name}.csv").write_text(content)
    paths = [str(tmp_path / f"{name}.csv") for name in ("ratings", "users", "films")]
    ids = {"userId": "query_id", "movieId": "candidate_id", "queries.id": "query_id", "candidates.id": "candidate_id"}
    tables = Files(*paths, rename={**ids, "rating": "stars"}).tables().resolve(["age"], ["title"])
    assert tables.interactions.to_dicts() == [{"query_id": 1, "candidate_id": 2, "stars": "5"}]
    assert tables.queries.rows() == [(1, "30")]
    assert tables.candidates.rows() == [(2, "Heat")]
    with pytest.raises(ValueError, match=r"Files: rename names 'movieid'.*did you mean 'movieId'"):
        Files(*paths, rename={"movieid": "candidate_id"}).tables()
    with pytest.raises(ValueError, match="Files: rename gives queries two columns 'age'"):
        Files(*paths, rename={"queries.id": "age"}).tables()
