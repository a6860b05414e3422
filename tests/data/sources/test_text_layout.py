"""Text with any separator, in any encoding, with and without a header."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from dssm_lightning.data.sources import Files, text_layout
from dssm_lightning.utils import memory_mapped

HEAD = "query_id,candidate_id,x\n"


def rows_of(path: Path, content: str | bytes, **settings: Any) -> list[tuple[Any, ...]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Files(str(path), **settings).tables().interactions.rows()


# -- separators --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [",", ";", "|", "\t", "\\t", "::", "<->", "¦"])
@pytest.mark.parametrize("name", ["e.csv", "e.dat", "u.data"])
@pytest.mark.parametrize("large", [False, True])
def test_any_separator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, separator: str, name: str, large: bool) -> None:
    monkeypatch.setattr(memory_mapped, "LARGE_FILE", 0 if large else 1 << 26)
    own = "\t" if separator == "\\t" else separator
    content = (HEAD + "1,2,01\n1,3,a: b\n").replace(",", own)
    assert rows_of(tmp_path / name, content, separator=separator) == [(1, 2, "01"), (1, 3, "a: b")]


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 1 << 20])
def test_a_separator_across_the_pieces_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(text_layout, "CHUNK", piece)
    content = 'query_id::candidate_id::x\n1::2::é:é\n1::3::"a::b\n""c"""\n'
    expected = [(1, 2, "é:é"), (1, 3, 'a::b\n"c"')]
    assert rows_of(tmp_path / "e.csv", content.encode("utf-16"), separator="::") == expected
    plain = content.partition("1::3")[0]
    assert rows_of(tmp_path / "e.dat", plain.encode("latin-1"), separator="::", encoding="latin-1") == expected[:1]


def test_movielens_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_text("1::10::5::978300760\n1::20::3::978302109\n2::10::4::978301968\n")
    (tmp_path / "movies.dat").write_bytes("10::Amélie (2001)::Comedy\n20::Heat::Action|Crime\n".encode("latin-1"))
    source = Files(
        str(tmp_path / "ratings.dat"),
        candidates=str(tmp_path / "movies.dat"),
        query_id="user",
        candidate_id="item",
        time="time",
        positive="rating >= 4",
        separator="::",
        encoding="latin-1",
        columns={"interactions": ["user", "item", "rating", "time"], "candidates": ["item", "title", "genres"]},
    )
    tables = source.tables().resolve([], ["title"])
    assert tables.interactions.rows()[1] == (1, 20, "3", 978302109, 0)
    assert tables.candidates["title"].to_list() == ["Amélie (2001)", "Heat"]
    assert tables.keys.label == "rating >= 4"


@pytest.mark.parametrize("separator", ["", '"', "a\nb"])
def test_what_cannot_separate(separator: str) -> None:
    with pytest.raises(ValueError, match=r"Files: separator is .*fields"):
        Files("e.csv", separator=separator)


def test_settings_of_text_that_no_file_has() -> None:
    for settings in ({"separator": ";"}, {"encoding": "latin-1"}, {"columns": ["a"]}):
        with pytest.raises((ValueError, FileNotFoundError), match=rf"{next(iter(settings))}|no such file"):
            Files("e.parquet", **settings).tables()


def test_the_hint_for_another_separator_comes_once(tmp_path: Path) -> None:
    for name in ("e", "q"):
        (tmp_path / f"{name}.csv").write_text("user;item\n1;2\n")
    raw = Files(
        str(tmp_path / "e.csv"), str(tmp_path / "q.csv"), query_id="user;item", candidate_id="user;item"
    ).tables()
    with pytest.raises(ValueError, match=r"'age'.*separator") as caught:
        raw.resolve(["age"], [])
    assert str(caught.value).count("separator") == str(caught.value).count("one column") + 1 == 2


def test_a_file_without_a_header_is_seen(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("1,2,3.5\n4,5,6\n")
    with pytest.raises(ValueError, match=r"query_id.*no such column.*`columns`"):
        Files(str(tmp_path / "e.csv")).tables().resolve([], [])


# -- names of columns --------------------------------------------------------------------------------------------------


def test_columns_names_each_column_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Files: columns is .*'a', 'a'"):
        Files("e.csv", columns=["a", "a"])
    with pytest.raises(ValueError, match="Files: a table of columns is 'queries'"):
        Files("e.csv", columns={"queries": ["a"]})
    with pytest.raises(ValueError, match=r"`columns` has 2 names .*3 fields"):
        rows_of(tmp_path / "e.csv", "1,2,3\n", columns=["query_id", "candidate_id"])
    with pytest.raises(ValueError, match=r"line 2 of .*3 fields, but `columns` names 2: query_id"):
        rows_of(tmp_path / "e.csv", "1,2\n1,2,3\n", columns=["query_id", "candidate_id"])
    with pytest.raises(ValueError, match=r"first line of .*leave out `columns`"):
        rows_of(tmp_path / "e.csv", HEAD + "1,2,3\n", columns=["query_id", "candidate_id", "x"])
    with pytest.raises(ValueError, match="names column 'x' twice"):
        rows_of(tmp_path / "e.csv", "query_id,candidate_id,x,x\n1,2,3,4\n")


# -- encodings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8", None),
        ("utf-8-sig", None),
        ("utf-16", None),
        ("utf-32", None),
        ("utf-16-be", "utf-16-be"),
        ("latin-1", "latin-1"),
        ("cp1252", "cp1252"),
    ],
)
def test_any_encoding(tmp_path: Path, encoding: str, said: str | None, packed: bool) -> None:
    ending = ".gz" if packed else ""
    for name, content in {"e.csv": HEAD + "1,2,é\n", "e.jsonl": '{"query_id":1,"candidate_id":2,"x":"é"}\n'}.items():
        raw = content.encode(encoding)
        raw = gzip.compress(raw) if packed else raw
        assert rows_of(tmp_path / (name + ending), raw, encoding=said) == [(1, 2, "é")]


def test_multibyte_encodings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_layout, "CHUNK", 3)
    for encoding in ("shift_jis", "gb18030", "euc_jp"):
        assert rows_of(tmp_path / "e.csv", (HEAD + "1,2,日本\n").encode(encoding), encoding=encoding) == [
            (1, 2, "日本")
        ]


def test_an_encoding_that_does_not_fit_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"interactions: line 3 of .*e\.csv is not cp1252.*\\x81.*`encoding`"):
        rows_of(tmp_path / "e.csv", HEAD.encode() + b"1,2,a\n1,3,\x81\n", encoding="cp1252")
    with pytest.raises(ValueError, match=r"line 2 of .*UTF-8.*latin-1"):
        rows_of(tmp_path / "e.csv", HEAD.encode() + b"1,2,\xe9\n")
    with pytest.raises(ValueError, match=r"line 1 of .*zero bytes.*utf-16-le"):
        rows_of(tmp_path / "e.csv", (HEAD + "1,2,a\n").encode("utf-16-le"))


@pytest.mark.parametrize(("encoding", "hint"), [("utf-9", "did you mean 'utf-8'"), ("zlib", "usual"), ("rot13", "")])
def test_unknown_encodings(encoding: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"Files: encoding is '{encoding}'.*{hint}"):
        Files("e.csv", encoding=encoding)


# -- lines -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("large", [False, True])
def test_blank_lines_are_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, large: bool) -> None:
    monkeypatch.setattr(memory_mapped, "LARGE_FILE", 0 if large else 1 << 26)
    content = (HEAD + "1,2,a\n\n  \n1,3,\n,,\n\n").replace("\n", end)
    assert rows_of(tmp_path / "e.csv", content) == [(1, 2, "a"), (1, 3, None)]


def test_the_home_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "e.csv").write_text(HEAD + "1,2,3\n")
    source = Files("~/e.csv")
    assert source.tables().interactions.rows() == [(1, 2, "3")]
    assert source.fingerprint() == source.fingerprint()
    with pytest.raises(FileNotFoundError, match=r"none\.csv.*has e\.csv"):
        Files("~/none.csv").tables()
