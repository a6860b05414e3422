"""Tables that cannot be used are refused in one line: the file, the column, what was found, and what was possible."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from dssm_lightning.inspection.tables import profile_files, profile_frames
from dssm_lightning.utils.errors import UserError


def write(path: Path, header: str, rows: Sequence[str] = ()) -> str:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return str(path)


def pairs(rows: int = 90, value: str = "") -> list[str]:
    return [f"u{n % 7},i{n * 7 % 20}{value}" for n in range(rows)]


def test_no_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "age,income,price", [f"{n % 70},{n * 13.5},{n * 2}" for n in range(90)])
    with pytest.raises(UserError, match=r"t\.csv.*candidate.*income \(number\).*candidate_id"):
        profile_files(path)


@pytest.mark.parametrize(
    ("header", "value", "options", "found"),
    [
        ("user,item,label", ",0", {}, r"t\.csv.*no row is liked.*'label'.*0.*positive"),
        ("user,item,stars", ",3", {"positive": "stars >= 4"}, r"t\.csv.*no row is liked.*'stars'.*3"),
    ],
)
def test_no_positive(tmp_path: Path, header: str, value: str, options: dict[str, str], found: str) -> None:
    path = write(tmp_path / "t.csv", header, pairs(value=value))
    with pytest.raises(UserError, match=found):
        profile_files(path, **options)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([f"u1,i{n}" for n in range(30)], r"t\.csv.*only one query"),
        ([f"u{n},i1" for n in range(30)], r"t\.csv.*only one candidate"),
        ([f"u{n},i{n}" for n in range(30)], r"t\.csv.*30 values of 'user'.*'item' occurs once.*texts"),
    ],
)
def test_nothing_to_learn(tmp_path: Path, rows: list[str], found: str) -> None:
    with pytest.raises(UserError, match=found):
        profile_files(write(tmp_path / "t.csv", "user,item", rows))


@pytest.mark.parametrize("numbers", [True, False])
def test_candidates_without_the_ids_of_the_interactions(tmp_path: Path, numbers: bool) -> None:
    events = pairs() if not numbers else [f"{n % 7},A{n % 20}" for n in range(90)]
    films = write(tmp_path / "films.csv", "sku,title", [f"{n},Title of {n}" for n in range(90)])
    example = "'A0'" if numbers else "'i0'"
    with pytest.raises(UserError, match=rf"films\.csv.*no id.*'item'.*{example}.*'sku'.*'0'.*candidate_id"):
        profile_files(write(tmp_path / "likes.csv", "user,item", events), candidates=films)


def test_ratings_on_an_unknown_scale(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "user,item,rating", [f"u{n % 7},i{n % 20},{n * 100}" for n in range(90)])
    with pytest.raises(UserError, match=r"t\.csv.*'rating'.*0 to 8900.*-10 to 100.*positive.*rating >= 4450"):
        profile_files(path)
    assert profile_files(path, positive="rating >= 4450").feedback.share_liked == 0.5


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_ten_thousand_columns_are_refused_at_once(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"wide.{suffix}"
    frame = pl.DataFrame({f"c{number}": [number, number] for number in range(10_000)})
    {"csv": frame.write_csv, "parquet": frame.write_parquet, "jsonl": frame.write_ndjson}[suffix](path)
    started = time.monotonic()
    with pytest.raises(UserError, match=r"wide\..*10,000 columns.*1,000"):
        profile_files(str(path))
    assert time.monotonic() - started < 5
    with pytest.raises(UserError, match="10,000 columns"):
        profile_frames(frame)


def test_long_cells_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("user,item,text\n")
        for number in range(4):
            file.write(f"u{number % 2},i{number},{f'word{number} and more ' * 600_000}\n")
    started = time.monotonic()
    found = profile_files(str(path))
    assert time.monotonic() - started < 15
    assert found.interactions.rows == 4
    assert found.interactions.columns["text"].kind == "text"
    assert found.interactions.columns["text"].longest < 20_000
    assert all(len(each) < 100 for each in found.interactions.columns["text"].examples)


def test_two_columns_that_could_both_be_the_time(tmp_path: Path) -> None:
    rows = [f"u{n % 9},i{n % 20},{1_600_000_000 + n * 977 % 8000},{1_600_000_000 + n * 13 % 7000}" for n in range(90)]
    path = write(tmp_path / "t.csv", "user,item,start_time,stop_time", rows)
    with pytest.raises(UserError, match=r"t\.csv.*'start_time'.*'stop_time'.*`time`"):
        profile_files(path)
    assert profile_files(path, time="stop_time").time == "stop_time"


def test_a_day_beside_its_second_is_no_question(tmp_path: Path) -> None:
    rows = [f"u{n % 9},i{n % 20},2020-01-{1 + n // 10:02d},{1_577_836_800 + 8_640 * n}" for n in range(90)]
    found = profile_files(write(tmp_path / "t.csv", "user,item,date,timestamp", rows))
    assert found.time == "timestamp"


@pytest.mark.parametrize(("content", "found"), [("", "0 bytes"), ("\n\n", "no line"), ("user,item\n", "no rows")])
def test_empty_files(tmp_path: Path, content: str, found: str) -> None:
    path = tmp_path / "empty.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=rf"interactions: .*empty\.csv.*{found}"):
        profile_files(str(path))


def test_lines_with_too_many_fields_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 41 of .*ragged\.csv has 3 fields.*user, item"):
        profile_files(write(tmp_path / "ragged.csv", "user,item", [*pairs(39), "u1,i2,x", *pairs(10)]))


def test_lines_with_too_few_fields_are_noted(tmp_path: Path) -> None:
    found = profile_files(
        write(tmp_path / "short.csv", "user,item,place", [*pairs(60, ",x"), *pairs(2), *pairs(9, ",y")])
    )
    assert any("2 of the first 72 lines" in note for note in found.interactions.notes)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("t.csv", bytes(range(256)) * 20, "no text.*zero"),
        ("t.csv", b"PAR1" + b"\0" * 99, r"no text.*Parquet.*\.parquet"),
        ("t.tsv", b"PK\x03\x04" + b"\0" * 99, "no text.*Excel"),
        ("t.parquet", b"user,item\n1,2\n", "cannot be read as Parquet"),
        ("t.json", b'[{"user": 1},\n{"user": 2}]', "JSON array.*jq"),
        ("t.csv", b'{"user": 1, "item": 2}\n{"user": 2, "item": 2}\n', r"JSON Lines.*\.jsonl"),
        ("t.jsonl", b"user,item\n1,2\n", "cannot be read as JSON Lines"),
    ],
)
def test_files_of_another_format(tmp_path: Path, name: str, content: bytes, found: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"(?s)interactions: .*{name}.*{found}|interactions: .*{found}.*{name}"):
        profile_files(str(tmp_path / name))


def test_a_missing_file_and_a_folder_without_tables(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        profile_files(str(tmp_path / "nowhere.csv"))
    with pytest.raises(FileNotFoundError, match=r"no \.parquet file and no picture.*\*\.csv"):
        profile_files(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"query_id": "usr"}, "query_id is 'usr'.*user, item.*did you mean 'user'"),
        ({"time": "when"}, "time is 'when'.*user, item"),
        ({"time": "item"}, "time is 'item'.*category.*'?i0"),
        ({"label": "likes"}, "label is 'likes'.*user, item"),
        ({"label": "place"}, "label is 'place'.*rome.*positive.*place == rome"),
        ({"positive": "star > 3"}, "positive 'star > 3' is 'star'.*user, item"),
        ({"positive": "stars"}, "positive is 'stars'.*comparison|positive is 'stars'.*column"),
        ({"query_id": "item", "candidate_id": "item"}, "both 'item'"),
    ],
)
def test_named_columns_that_are_not_there(tmp_path: Path, options: dict[str, str], found: str) -> None:
    rows = [f"u{n % 7},i{n * 7 % 20},{['rome', 'oslo'][n % 2]}" for n in range(90)]
    with pytest.raises(UserError, match=found):
        profile_files(write(tmp_path / "t.csv", "user,item,place", rows), **options)


def test_no_interactions(tmp_path: Path) -> None:
    films = write(tmp_path / "films.csv", "sku,title", [f"{n},Title of {n}" for n in range(9)])
    with pytest.raises(UserError, match=r"interactions is None.*pictures"):
        profile_files(None, candidates=films)


@pytest.mark.slow
def test_a_million_rows_take_seconds(tmp_path: Path) -> None:
    rows = 1_000_000
    numbers = pl.int_range(rows, eager=True)
    frame = pl.DataFrame({"user": numbers % 50_021, "item": numbers * 7 % 20_011, "time": numbers + 1_600_000_000})
    frame.write_csv(tmp_path / "big.csv")
    started = time.monotonic()
    found = profile_files(str(tmp_path / "big.csv"))
    assert time.monotonic() - started < 20
    assert (found.interactions.rows, found.num_queries, found.num_candidates) == (rows, 50_021, 20_011)
    assert any("200,000 of 1,000,000" in note for note in found.interactions.notes)
