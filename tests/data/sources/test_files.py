"""Files in every format give the same tables; errors name the file and the cause."""

from __future__ import annotations

import gzip
import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from dssm_lightning.data.sources import Files

EVENTS = pl.DataFrame({"user": ["a", "a", "b"], "item": [1, 2, 1], "liked": [1, 0, 1]})
ITEMS = pl.DataFrame({"item": [1, 2], "title": ['say "hi", he said', "plain"], "price": [1.5, None]})
USERS = pl.DataFrame({"user": ["a", "b"], "city": ["Rome", "Łódź"]})
AS_TEXT = EVENTS.cast(pl.String)


def write(frame: pl.DataFrame, path: Path) -> str:
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".jsonl":
        frame.write_ndjson(path)
    else:
        tab = path.suffix == ".tsv"
        frame.write_csv(path, separator="\t" if tab else ",", quote_style="never" if tab else "necessary")
    return str(path)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_every_format_gives_the_same_tables(tmp_path: Path, suffix: str) -> None:
    events, users, items = (
        write(frame, tmp_path / f"{name}.{suffix}")
        for name, frame in (("events", EVENTS), ("users", USERS), ("items", ITEMS))
    )
    source = Files(events, users, items, query_id="user", candidate_id="item", label="liked", display=["title"])
    tables = source.tables().resolve(["city"], ["title", "price"])
    assert_frame_equal(tables.interactions, EVENTS)
    assert_frame_equal(tables.queries, USERS)
    as_written = ITEMS.cast({"price": pl.String}) if suffix in ("csv", "tsv") else ITEMS
    assert_frame_equal(tables.candidates, as_written)
    assert (tables.keys.label, tables.keys.weight, tables.keys.time) == ("liked", None, None)
    assert tables.display == ("title",)


def test_a_quotation_mark_encloses_a_field_or_is_an_ordinary_character(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text('query_id\tcandidate_id\tx\nq\tc\t"a"\n', encoding="utf-8")
    assert Files(str(path)).tables().interactions["x"].to_list() == ['"a"']
    assert Files(str(path), quote=True).tables().interactions["x"].to_list() == ["a"]


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "tsv", "jsonl"])
def test_a_line_that_is_not_utf8_is_named(tmp_path: Path, suffix: str) -> None:
    content = b'query_id,candidate_id\nq,c\n"two\nlines",c\ncaf\xe9,c\nq,c\n'
    if suffix == "tsv":
        content = content.replace(b",", b"\t")
    elif suffix == "jsonl":
        content = b'{"query_id": "q", "candidate_id": "c"}\n' * 4 + b'{"query_id": "caf\xe9", "candidate_id": "c"}\n'
    path = tmp_path / f"events.{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == "csv.gz" else content)
    with pytest.raises(ValueError, match=r"interactions: line 5 of .*events\.\S+ .*UTF-8, at byte \d+: .*caf"):
        Files(str(path)).tables()


def test_folders_globs_and_compressed_files(tmp_path: Path) -> None:
    (tmp_path / "events" / "day=1").mkdir(parents=True)
    EVENTS[:2].write_parquet(tmp_path / "events" / "day=1" / "a.parquet")
    EVENTS[2:].write_parquet(tmp_path / "events" / "day=1" / "b.parquet")
    (tmp_path / "events" / "_SUCCESS").touch()
    assert_frame_equal(Files(str(tmp_path / "events")).tables().interactions.drop("day"), EVENTS)
    for part in (0, 1):
        EVENTS[part::2].write_csv(tmp_path / f"part{part}.csv")
    assert len(Files(str(tmp_path / "part*.csv")).tables().interactions) == 3
    with gzip.open(tmp_path / "events.csv.gz", "wt", encoding="utf-8") as file:
        file.write(EVENTS.write_csv())
    assert_frame_equal(Files(str(tmp_path / "events.csv.gz")).tables().interactions, AS_TEXT)


def test_urls_are_scanned_and_not_searched_on_this_machine(tmp_path: Path) -> None:
    url = Path(write(EVENTS, tmp_path / "events.csv")).as_uri()
    assert_frame_equal(Files(url).tables().interactions, AS_TEXT)
    assert Files(url).fingerprint() == Files(url).fingerprint()
    with pytest.raises(ValueError, match=r"interactions: file:.*nothing\.csv .*CSV"):
        Files((tmp_path / "nothing.csv").as_uri()).tables()


def test_brackets_in_the_name_of_a_file_are_no_glob(tmp_path: Path) -> None:
    for suffix in ("csv", "jsonl", "parquet"):
        path = write(EVENTS, tmp_path / f"events [1].{suffix}")
        assert_frame_equal(Files(path).tables().interactions, AS_TEXT if suffix == "csv" else EVENTS)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["7", "8"], [7, 8]),
        (["007", "8"], ["007", "8"]),  # not the number 7
        (["7", "x8"], ["7", "x8"]),
        (["-1", "12345678901234567890123"], ["-1", "12345678901234567890123"]),
    ],
)
def test_ids_are_integers_if_all_are_written_as_integers(
    tmp_path: Path, written: list[str], expected: list[Any]
) -> None:
    path = tmp_path / "e.csv"
    path.write_text("query_id,candidate_id\n" + "".join(f"q,{each}\n" for each in written), encoding="utf-8")
    assert Files(str(path)).tables().interactions["candidate_id"].to_list() == expected


def test_ids_are_text_in_all_files_if_one_file_needs_text(tmp_path: Path) -> None:
    events = write(pl.DataFrame({"query_id": ["q"], "candidate_id": [7]}), tmp_path / "e.csv")
    corpus = pl.DataFrame({"candidate_id": ["7", "x8"]})
    for suffix in ("csv", "parquet"):
        raw = Files(events, candidates=write(corpus, tmp_path / f"c.{suffix}")).tables()
        assert raw.resolve([], []).interactions["candidate_id"].to_list() == ["7"]


def test_times_are_numbers_or_iso_8601(tmp_path: Path) -> None:
    def times(*written: str) -> list[Any]:
        path = tmp_path / "e.csv"
        path.write_text("query_id,candidate_id,t\n" + "".join(f"q,{i},{t}\n" for i, t in enumerate(written)))
        return Files(str(path), time="t").tables().interactions["t"].to_list()

    noon = datetime(2020, 1, 2, 12, tzinfo=timezone.utc)
    assert times("5", "7") == [5, 7]
    assert times("2020-01-02T12:00:00Z") == [noon]
    assert times("2020-01-02 12:00:00") == [noon]
    assert times("2020-01-02") == [noon.replace(hour=0)]
    with pytest.raises(ValueError, match=r"time column 't': 1 of 2 values .*first 'soon'"):
        times("2020-01-02", "soon")


# -- raw texts ------------------------------------------------------------------------------------------------------


def write_lines(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_json_lines_of_raw_texts_load_directly(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "t.jsonl",
        {"query": "кот", "positive_doc": "cat", "negative_docs": ["dog", "cow"]},
        {"query": "пёс", "positive_doc": "dog", "negative_docs": []},
        {"query": "кот", "positive_doc": "kitten", "negative_docs": None},
    )
    tables = Files(path).tables().resolve(["query"], ["doc"])
    assert tables.queries["query"].to_list() == ["кот", "пёс"]
    assert tables.candidates["doc"].to_list() == ["cat", "dog", "kitten", "cow"]
    assert tables.interactions["doc"].to_list() == ["cat", "dog", "kitten"]
    assert tables.interactions["negative_docs"].to_list() == [["dog", "cow"], [], []]


def test_negatives_are_optional_lists(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "t.jsonl", {"query": "q", "positive_doc": "d"})
    assert Files(path).tables().resolve(["query"], ["doc"]).candidates["doc"].to_list() == ["d"]
    path = write_lines(tmp_path / "t.jsonl", {"query": "q", "positive_doc": "d", "negative_docs": "n"})
    with pytest.raises(ValueError, match="negative_docs is String"):
        Files(path).tables()


# -- errors ---------------------------------------------------------------------------------------------------------


def test_the_constructor_reads_no_file() -> None:
    Files("nowhere/at/all.csv")


def test_a_missing_file_is_named_with_the_files_nearby(tmp_path: Path) -> None:
    write(EVENTS, tmp_path / "events.csv")
    write(EVENTS, tmp_path / "zzz.parquet")
    for action in (Files(str(tmp_path / "event.csv")).tables, Files(str(tmp_path / "event.csv")).fingerprint):
        with pytest.raises(FileNotFoundError) as caught:
            action()
        assert str(caught.value).startswith("interactions: ")
        assert f"{tmp_path / 'event.csv'}; {tmp_path} has events.csv, zzz.parquet" in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"candidates: .*such\.csv; .*events\.csv"):
        Files(str(tmp_path / "events.csv"), candidates=str(tmp_path / "no" / "such.csv")).tables()
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match=r"interactions: .*folder .*no \.parquet"):
        Files(str(tmp_path / "folder")).tables()
    with pytest.raises(FileNotFoundError, match=r"interactions: .*folder.a\.csv; .*folder is empty"):
        Files(str(tmp_path / "folder" / "a.csv")).tables()


def test_a_relative_path_of_another_folder_names_where_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shop").mkdir()
    write(EVENTS, tmp_path / "shop" / "events.csv")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="a relative path starts from the folder"):
        Files("events.csv").tables()  # as in a config of the folder `shop`
    for path in (str(tmp_path / "events.csv"), "shop/event.csv"):  # a full path; a slip
        with pytest.raises(FileNotFoundError) as caught:
            Files(path).tables()
        assert "a relative path" not in str(caught.value)


def test_unknown_formats(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"queries: .*q\.xlsx .*\.csv, \.tsv"):
        Files(write(EVENTS, tmp_path / "e.csv"), str(tmp_path / "q.xlsx")).tables()


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        ("csv", "", "is empty: 0 bytes"),
        ("jsonl", "", "is empty: 0 bytes"),
        ("csv.gz", "\x1f\x8b cut", "cannot be read as CSV"),
        ("parquet", "no parquet", "cannot be read as Parquet"),
    ],
)
def test_broken_files(tmp_path: Path, suffix: str, content: str, message: str) -> None:
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=rf"interactions: .*broken\.{suffix} {message}"):
        Files(str(path)).tables()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        (
            "csv",
            'a,b\n"x,\ny",2\n1,2,3\n',
            'line 4 of .* 3 fields, .*2: a, b; .*"',
        ),
        ("tsv", 'a\tb\n"\t2\n1\t2\t3\n', "line 3 of .* 3 fields, .*2: a, b$"),
    ],
)
def test_a_line_of_too_many_fields_is_named(
    tmp_path: Path, suffix: str, content: str, message: str, packed: bool
) -> None:
    path = tmp_path / f"ragged.{suffix}{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    with pytest.raises(ValueError, match=f"interactions: {message}"):
        Files(str(path)).tables()


def test_another_separator_is_seen(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("user;item\n1;2\n", encoding="utf-8")
    source = Files(str(tmp_path / "e.csv"), query_id="user", candidate_id="item")
    with pytest.raises(ValueError, match=r"'user': .*interactions has user;item \(.*';'.*commas"):
        source.tables().resolve([], [])


def test_a_named_column_that_is_missing_is_an_error(tmp_path: Path) -> None:
    path = write(EVENTS, tmp_path / "e.csv")
    with pytest.raises(ValueError, match=r"weight column 'like': .*'liked'\?"):
        Files(path, query_id="user", candidate_id="item", weight="like").tables().resolve([], [])


# -- fingerprint ----------------------------------------------------------------------------------------------------


def test_the_fingerprint_follows_files_and_arguments(tmp_path: Path) -> None:
    path = write(EVENTS, tmp_path / "e.csv")
    first = Files(path).fingerprint()
    assert Files(path).fingerprint() == first
    assert Files(path, query_id="user").fingerprint() != first
    before = os.stat(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert Files(path).fingerprint() != first
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Files(path).fingerprint() == first
    with Path(path).open("a", encoding="utf-8") as file:
        file.write("c,1,1\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert Files(path).fingerprint() != first
