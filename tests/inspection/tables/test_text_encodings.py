"""Encodings are found from the bytes of texts in many languages; what is no text is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from dssm_lightning.inspection.tables.text_encodings import encoding_of, judged
from dssm_lightning.utils.errors import UserError

TEXTS = [
    ("latin-1", "Amélie (2001)"),
    ("latin-1", "Müller über Größe"),
    ("latin-1", "señor niño\nPão de açúcar"),
    ("latin-1", "Smørrebrød på fjord"),
    ("cp1252", "Café — l’été"),
    ("cp1250", "Žluťoučký kůň úpěl ďábelské ódy"),
    ("cp1250", "Zażółć gęślą jaźń"),
    ("cp1254", "güneşli bir gün ağaç ışık"),
    ("cp1251", "Война и мир\nКрасное платье"),
    ("koi8_r", "Война и мир\nКрасное платье"),
    ("cp1253", "Η ζωή είναι ωραία και ο κόσμος"),
    ("cp1255", "שלום עולם ספר חדש"),
    ("cp1256", "الكتاب الجديد في المدينة"),
    ("shift_jis", "千と千尋の神隠し\nラーメンの作り方"),
    ("gb18030", "卧虎藏龙\n如何做红烧肉"),
    ("euc_kr", "기생충 영화\n살인의 추억"),
    ("big5", "悲情城市\n臥虎藏龍"),
]


@pytest.mark.parametrize(("name", "text"), TEXTS, ids=lambda each: each[:12])
def test_an_encoding_is_judged_by_the_letters_it_gives(name: str, text: str) -> None:
    assert judged(text.encode(name)) == name
    lines = "\n".join(f"{number},{line},x" for number, line in enumerate(text.split("\n") * 9))
    assert judged(lines.encode(name)) == name


@pytest.mark.parametrize("name", ["utf-8", "utf-8-sig", "utf-16", "ascii"])
def test_utf8_and_marks_need_no_setting(tmp_path: Path, name: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(("id,title\n1,plain\n" + ("" if name == "ascii" else "2,Łódź 千\n")).encode(name))
    assert encoding_of(path, "candidates") is None


@pytest.mark.parametrize("name", ["utf-16-le", "utf-16-be"])
def test_two_bytes_a_character_without_a_mark(tmp_path: Path, name: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("id,title\n1,Heat\n2,Amélie\n".encode(name))
    assert encoding_of(path, "candidates") == name


def test_a_letter_at_the_end_of_a_long_packed_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"id,title\n" + b"1,plain\n" * 300_000 + "2,Amélie\n".encode("latin-1")))
    assert encoding_of(path, "candidates") == "latin-1"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"PK\x03\x04" + b"x" * 50, "Excel.*CSV"),
        (b"PAR1" + b"\0" * 50, r"Parquet.*\.parquet"),
        (b"\x89PNG\r\n" + b"\0" * 50, "a picture"),
        (b"SQLite format 3\0", "SQLite"),
        (bytes(range(256)) * 9, "zero"),
    ],
)
def test_what_is_no_text_is_named(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"(?s)candidates: .*t\.csv is no text.*{found}"):
        encoding_of(path, "candidates")
