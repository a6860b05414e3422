"""A folder of pictures is a table of their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from dssm_lightning.data.sources import Files
from dssm_lightning.data.sources.picture_folders import picture_table


def names(*paths: str) -> list[str]:
    return picture_table([Path("shop", path) for path in paths], Path("shop"))["name"].to_list()


def test_names_are_the_words_of_files() -> None:
    assert names("red_shoe.png", "greenHat.JPG", "big--box.v2.gif") == ["red shoe", "green hat", "big box v2"]


def test_a_number_stays_if_it_tells_pictures_apart() -> None:
    assert names("apollo_11.png", "dog_001.png", "dog_002.png", "cat (1).png", "cat (2).png") == [
        *("apollo 11", "dog", "dog", "cat", "cat")
    ]


def test_a_picture_without_letters_has_the_name_of_its_folder() -> None:
    assert names("dog/001.png", "dog/002.png", "cat/1.png") == ["dog", "dog", "cat 1"]


def test_files_reads_a_folder_of_pictures(tmp_path: Path) -> None:
    for name in ("a_b.png", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    source = Files(str(tmp_path), query_id="name", candidate_id="picture")
    tables = source.tables()
    assert tables.interactions.rows(named=True) == [
        {"picture": "a_b.png", "file_name": "a_b.png", "stem": "a_b", "name": "a b"}
    ]
    before = source.fingerprint()
    (tmp_path / "c.png").write_bytes(b"x")
    assert source.fingerprint() != before


def test_a_folder_without_tables_and_pictures_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("query_id,candidate_id\n1,2\n", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"no \.parquet file and no picture.*\*\.csv"):
        Files(str(tmp_path)).tables()
