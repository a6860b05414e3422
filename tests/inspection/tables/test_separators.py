"""Separators, quotation marks and headers are found from the lines."""

from __future__ import annotations

import pytest

from dssm_lightning.data.sources.file_formats import Format
from dssm_lightning.inspection.tables.headers import has_header
from dssm_lightning.inspection.tables.separators import find_fields

DELIMITED: Format = "delimited text"


@pytest.mark.parametrize(
    ("text", "kind", "separator"),
    [
        ("a,b\n1,2\n3,4", "CSV", ","),
        ("a;b\n1,5;2\n2,5;3", "CSV", ";"),
        ("a\tb\n1, x\t2\n3, y\t4", "CSV", "\t"),
        ("1::2::a|b\n1::3::b", DELIMITED, "::"),
        ("1|Heat|x\n2|Up|y", DELIMITED, "|"),
        ("1|Heat||x|0\n2|Up||y|1", DELIMITED, "|"),
        ("1||Heat||x\n2||Up||y", DELIMITED, "||"),
        ("1\x01Heat\n2\x01Up", DELIMITED, "\x01"),
        ("q1 0 d3 1\nq1 0 d4 0", DELIMITED, " "),
        ("1^Heat\n2^Up, again", DELIMITED, "^"),
        ("one title\nanother title here", DELIMITED, "\t"),
    ],
)
def test_the_separator_divides_all_lines_equally(text: str, kind: Format, separator: str) -> None:
    assert find_fields(text, kind).separator == separator


def test_fields_in_quotation_marks_may_hold_separators_and_lines() -> None:
    found = find_fields('id\ttext\n1\t"two\nlines\tand ""more"""\n2\tx\n', "TSV")
    assert found.quoted
    assert found.rows[1] == ["1", 'two\nlines\tand "more"']


def test_marks_that_enclose_nothing_are_ordinary_characters() -> None:
    found = find_fields('id\ttext\n1\t5" screen\n2\t"half\n3\tx\n', "TSV")
    assert not found.quoted
    assert found.rows[2] == ["2", '"half']


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([["userId", "movieId", "rating"], ["1", "2", "3.5"]], True),
        ([["1", "1193", "5", "978300760"], ["1", "661", "3", "978302109"]], False),
        ([["query", "title"], ["red shoes", "Shoe"], ["hat", "Straw hat"]], True),
        ([["red shoes", "Shoe, red, 42"], ["red shoes", "Sneaker"], ["hat", "Straw hat"]], False),
        ([["Pregunta", "Respuesta"], ["cuando llega el tren de la tarde", "el tren llega a las ocho y media"]], True),
        ([["M", "technician"], ["F", "writer"], ["M", "other"]], False),
        ([["id", "0", "1", "2"], ["a", "0.5", "1.5", "2.5"]], True),
        ([["", "user", "item"], ["0", "7", "8"]], True),
        ([["how old is the sun really?", "about 4.6 billion years"], ["why is it so?", "nobody knows"]], False),
        ([["user_ref", "thing_ref"], ["ann", "Heat"], ["bob", "Up"]], True),
        ([["2020-01-01", "ann", "Heat"], ["2020-01-02", "bob", "Up"]], False),
        ([["user", "item", "stars", ""], ["ann", "Heat", "5", ""], ["bob", "Up", "3", ""]], True),
        ([["user", "item", "stars", ""], ["ann", "Heat", "5"], ["bob", "Up", "3"]], True),
        ([["user", "item", "", ""], ["ann", "Heat", "", ""], ["bob", "Up", "", ""]], True),
        ([["user", "item", "", "stars"], ["ann", "Heat", "x", "5"], ["bob", "Up", "y", "3"]], True),
        ([["user", "item", "item", "stars"], ["ann", "Heat", "x", "5"], ["bob", "Up", "y", "3"]], True),
        ([["ann", "Heat", ""], ["ann", "Up", ""], ["bob", "Heat", "7"]], False),
        ([["ann", "ann", "Heat"], ["bob", "ann", "Up"]], False),
    ],
)
def test_the_first_line_has_names_or_values(rows: list[list[str]], expected: bool) -> None:
    assert has_header(rows) is expected
