"""The table of spellings says what ``unicodedata`` says, of every character and of any neighbours."""

from __future__ import annotations

import time
import unicodedata

import numpy as np
import polars as pl
import pytest

from dssm_lightning.features.text import unicode_folding
from dssm_lightning.features.text.unicode_folding import folded, folded_column, folded_texts

MARKS = "".join(c for c in map(chr, range(0x20000)) if unicodedata.combining(c))
ALPHABETS = {
    "marks": MARKS + "aeoué",
    "joining": "".join(sorted(unicode_folding._joining())) + "aeΩкगがᄀ가각",
    "latin": "".join(map(chr, range(0x20, 0x250))),
    "greek and cyrillic": "".join(map(chr, range(0x370, 0x530))) + "\u0301\u0345",
    "indic": "".join(map(chr, range(0x900, 0xE00))),
    "thai to hangul": "".join(map(chr, [*range(0xE00, 0x1000), *range(0x1100, 0x1200), *range(0xAC00, 0xAC80)])),
    "japanese and wide": "".join(map(chr, [*range(0x3040, 0x3400), *range(0xFF00, 0xFFF0)])),
    "emoji and beyond": "".join(map(chr, [*range(0x1F300, 0x1FB00, 7), 0x20000, 0x2F800, 0x10FFFF, 0x200D, 0xFE0F])),
}


def equal(texts: list[str]) -> None:
    assert folded_column(pl.Series(texts, dtype=pl.String)).to_list() == [folded(text) for text in texts]
    assert folded_texts(texts) == [folded(text) for text in texts]


@pytest.fixture(autouse=True)
def _always_by_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unicode_folding, "MANY", 0)


def test_every_character_alone_and_between_letters() -> None:
    points = [point for point in range(2, 0x20100) if not 0xD800 <= point < 0xE000]
    equal([chr(point) for point in points])
    equal([f"A{chr(point)}é" for point in points])


@pytest.mark.parametrize("alphabet", list(ALPHABETS))
def test_any_neighbours(alphabet: str) -> None:
    generator = np.random.default_rng(0)
    letters = np.array(list(ALPHABETS[alphabet]))
    equal(["".join(generator.choice(letters, size)) for size in generator.integers(0, 6, 8000)])


@pytest.mark.parametrize("texts", [[], [""], ["", ""], ["a"], ["Ä", ""], ["", "ﬁ", ""], ["\u0301", "\u0301a"]])
def test_few_texts(texts: list[str]) -> None:
    equal(texts)


def test_a_separator_in_a_text_is_a_blank() -> None:
    assert folded_column(pl.Series(["É\x01b", "Ä"])).to_list() == folded_texts(["É\x01b", "Ä"]) == ["é b", "ä"]


def test_few_characters_need_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unicode_folding, "MANY", 100)
    monkeypatch.setattr(unicode_folding, "_spellings", None)
    equal(["Ünï", "кот"])
    assert folded_column(pl.Series([], dtype=pl.String)).to_list() == []


def test_the_pattern_of_marks_is_made_for_long_runs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unicode_folding, "MANY", 1 << 20)
    monkeypatch.setattr(unicode_folding, "_marks", None)
    assert folded_texts(["e\u0301" * 30, "é" * 500, "x" * 500]) == ["é" * 30, "é" * 500, "x" * 500]


@pytest.mark.parametrize("few", [0, 1 << 20], ids=["by table", "without table"])
@pytest.mark.parametrize("marks", ["\u0301\u0323", "\uff9e\u0301", "\u0345\u0301\u0315", "\U0001d165\u0591"])
def test_a_long_run_of_marks_is_divided(marks: str, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unicode_folding, "MANY", few)
    folded("\u0301é")  # the tables are built once
    folded_column(pl.Series(["é"]))
    text = "a" + marks * (90_000 // len(marks))
    start = time.process_time()
    assert folded_column(pl.Series([text, "é", text])).to_list() == [folded(text), "é", folded(text)]
    assert time.process_time() - start < 2  # sorting the whole run takes 9 s


def test_runs_of_up_to_30_marks_stay_as_unicode_has_them() -> None:
    for count in (1, 15, 29, 30):
        for marks in ("\u0301\u0323", "\u0323\u0301", "\uff9e\u0301"):
            text = "É" + (marks * 30)[:count] + "x" + marks
            expected = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
            assert folded(text) == folded_column(pl.Series([text]))[0] == expected
    assert folded("a" + "\u0323" * 31) == "ạ" + "\u0323" * 29 + "\u034f\u0323"
