"""Columns have the kind of their values."""

from __future__ import annotations

import base64
import datetime
import io
from pathlib import Path
from typing import Any

import PIL.Image
import polars as pl
import pytest

from dssm_lightning.inspection.tables.kinds import column_of
from dssm_lightning.inspection.tables.time_formats import times_of, times_of_numbers

TITLES = [f"The {word} of number {number}" for number, word in enumerate(["king", "sea", "wolf", "rose"] * 20)]


def png(colour: str = "red") -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (4, 4), colour).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("price", ["1.5", "2", "-3e2"], "number"),
        ("liked", ["0", "1", "1"], "truth"),
        ("new", ["True", "false", "true"], "truth"),
        ("user_id", ["1", "2", "3"], "category"),
        ("code", ["007", "012", "100"], "category"),
        ("zip", ["55117", "94043", "10001"], "category"),
        ("gender", ["M", "F", "M"], "category"),
        ("title", TITLES, "text"),
        ("name", ["千と千尋の神隠し", "東京物語", "生きる夏"], "text"),
        ("genres", ["Drama|War", "War", "Drama|Comedy"], "categories"),
        ("tags", ["['a', 'b']", "['c']", "[]"], "categories"),
        ("colours", ["red, blue", "blue", "red, green", "green, blue", "red"] * 20, "categories"),
        ("title", ["Heat, The (1995)", "Alien, again (1979)", "Up, up (2009)"], "text"),
        ("when", ["2020-01-31", "2020-02-01T10:20:30Z"], "time"),
        ("timestamp", ["978300760", "978302109"], "time"),
        ("vector", ["[0.5, 1.0]", "[2.0, 0.1]"], "vector"),
        ("source", ["web", "web", "web"], "constant"),
        ("comment", ["", " ", None], "empty"),
        ("address", ["http://a.example/x?y", "http://a.example/z"], "category"),
    ],
)
def test_the_kind_of_texts(name: str, values: list[str], kind: str) -> None:
    assert column_of(pl.Series(name, values)).profile.kind == kind


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pl.Series("x", [1.5, None]), "number"),
        (pl.Series("x", [True, False]), "truth"),
        (pl.Series("x", [datetime.date(2020, 1, 1), None]), "time"),
        (pl.Series("x", [["a"], ["b", "c"]]), "categories"),
        (pl.Series("x", [[1, 2], [3]]), "categories"),
        (pl.Series("x", [[0.5, 1.0], [2.0, 0.1]]), "vector"),
        (pl.Series("x", [[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2)), "vector"),
        (pl.Series("x", [png(), png("blue")]), "picture"),
        (pl.Series("x", [{"a": 1}, {"a": 2}]), "empty"),
        (pl.Series("x", [None, None]), "empty"),
    ],
)
def test_the_kind_of_typed_columns(values: pl.Series, kind: str) -> None:
    assert column_of(values, written=False).profile.kind == kind


def test_texts_in_place_of_numbers_are_missing_values() -> None:
    column = column_of(pl.Series("year", ["1995", "NA", "", "2003", "\\N"]))
    assert (column.profile.kind, column.profile.missing, column.missing) == ("number", 3, ("NA", "\\N"))
    assert (column.profile.least, column.profile.greatest, column.profile.is_whole) == (1995, 2003, True)


def test_a_word_among_numbers_makes_a_category() -> None:
    assert column_of(pl.Series("size", ["7", "8", "large"])).profile.kind == "category"


def test_texts_know_their_script_and_length() -> None:
    found = column_of(pl.Series("title", ["Война и мир", "Преступление и наказание ещё раз"])).profile
    assert (found.kind, found.language, found.mean_words, found.longest) == ("text", "Cyrillic", 4.0, 5)


def test_lists_written_as_text_have_a_separator_and_lengths() -> None:
    found = column_of(pl.Series("genres", ["Drama|War", "War", "Drama|Comedy|War"])).profile
    assert (found.separator, found.mean_words, found.longest) == ("|", 2.0, 3)


@pytest.mark.parametrize(
    ("texts", "time_format"),
    [
        (["01/31/2024", "02/01/2024"], "%m/%d/%Y"),
        (["31/01/2024", "02/01/2024"], "%d/%m/%Y"),
        (["31.01.2024 10:20", "01.02.2024 00:00"], "%d.%m.%Y %H:%M"),
        (["01-Jan-1995", "22-Jan-1996"], "%d-%b-%Y"),
        (["January 5, 2020", "March 31, 2021"], "%B %d, %Y"),
        (["1/31/2024 1:05:00 PM", "2/1/2024 11:00:00 AM"], "%m/%d/%Y %I:%M:%S %p"),
        (["Mon Apr 06 22:19:45 2009", "Tue Apr 07 02:19:45 2009"], "%a %b %d %H:%M:%S %Y"),
        (["2024/01/31", "2024/02/01"], "%Y/%m/%d"),
    ],
)
def test_other_ways_to_write_times_are_found(texts: list[str], time_format: str) -> None:
    found = times_of(pl.Series(texts))
    assert found is not None
    assert (found.time_format, found.note) == (time_format, "")


def test_days_that_could_be_months_are_noted() -> None:
    found = times_of(pl.Series(["01/02/2024", "03/04/2024"]))
    assert found is not None
    assert found.time_format == "%m/%d/%Y"
    assert "%d/%m/%Y" in found.note


@pytest.mark.parametrize("factor", [1, 10**3, 10**6, 10**9])
def test_numbers_since_1970_have_any_unit(factor: int) -> None:
    found = times_of_numbers(pl.Series([1_600_000_000 * factor, 1_700_000_000 * factor]), "x", True)
    assert found is not None
    assert found.seconds.to_list() == [1_600_000_000, 1_700_000_000]


@pytest.mark.parametrize(
    ("name", "values"), [("product_id", [978300760]), ("year", [1999, 2004]), ("x", [20240131]), ("price", [150])]
)
def test_other_numbers_are_no_times(name: str, values: list[int]) -> None:
    assert times_of_numbers(pl.Series(values), name, True) is None


def test_days_written_as_numbers() -> None:
    found = times_of_numbers(pl.Series([20240131, 20240201]), "date", True)
    assert found is not None
    assert found.time_format == "%Y%m%d"


def test_pictures_are_found_and_decoded(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "images" / name).write_bytes(png())
    (tmp_path / "images" / "c.png").write_bytes(b"broken")
    found = column_of(pl.Series("file", ["a.png", "b.png", "c.png"]), [tmp_path])
    assert (found.profile.kind, found.profile.unreadable) == ("picture", 1)
    assert found.profile.root == str(tmp_path / "images")


def test_pictures_in_base64_are_decoded() -> None:
    found = column_of(pl.Series("picture", [base64.b64encode(png(colour)).decode() for colour in ("red", "blue")]))
    assert (found.profile.kind, found.profile.unreadable, found.dtype) == ("picture", 0, "base64")


@pytest.mark.parametrize(
    ("texts", "told"),
    [(["nowhere/a.png", "nowhere/b.png"], "nowhere/a.png"), (["https://x.example/a.png"] * 2, "download")],
)
def test_pictures_that_are_not_there_are_noted(texts: list[str], told: str) -> None:
    found: Any = column_of(pl.Series("file", texts))
    assert (found.profile.kind, found.dtype) == ("category", None)
    assert told in found.note
