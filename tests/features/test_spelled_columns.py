"""The table of spellings says what ``unicodedata`` says, of every character and of any neighbours."""

from __future__ import annotations

import sys
import unicodedata
from functools import cache

import numpy as np
import polars as pl
import pytest
from helpers.any_value import QUICK
from helpers.naive_texts import naive_kind, naive_spelled
from hypothesis import given
from hypothesis import strategies as st

from dssm_lightning.features import HashedTrigrams, HashedWords
from dssm_lightning.features.text import words_and_letters
from dssm_lightning.features.text.character_kinds import kinds
from dssm_lightning.features.text.spelled_columns import spell
from dssm_lightning.features.text.unicode_folding import folded

EVERY = [chr(point) for point in range(0x20100) if not 0xD800 <= point < 0xE000]
MARKS = [letter for letter in EVERY if unicodedata.combining(unicodedata.normalize("NFKD", letter)[0])]
DIVIDED = [unicodedata.decomposition(letter) for letter in EVERY]
PAIRS = [[chr(int(code, 16)) for code in each.split()] for each in DIVIDED if each.count(" ") == 1 and "<" not in each]
FIRSTS = [*sorted({first for first, _ in PAIRS}), "ᄀ", "ᄒ", "가", "히"]
SECONDS = sorted({second for _, second in PAIRS} | {"ᅡ", "ᅵ", "ᆨ", "ᇂ"})
ALPHABETS = {
    "marks": [*MARKS, *"aeoué"],
    "joining": [*SECONDS, *"aeΩкगがᄀ가각"],
    "compositions": [*FIRSTS, *SECONDS],
    "latin": list(map(chr, range(0x20, 0x250))),
    "greek and cyrillic": [*map(chr, range(0x370, 0x530)), "\u0301", "\u0345"],
    "arabic": [*map(chr, [*range(0x600, 0x700), *range(0xFB50, 0xFE00), *range(0xFE70, 0xFF00)])],
    "indic": list(map(chr, range(0x900, 0xE00))),
    "thai to hangul": list(map(chr, [*range(0xE00, 0x1000), *range(0x1100, 0x1200), *range(0xAC00, 0xAC80)])),
    "japanese and wide": list(map(chr, [*range(0x3040, 0x3400), *range(0xFF00, 0xFFF0)])),
    "emoji and beyond": [*map(chr, [*range(0x1F300, 0x1FB00, 7), 0x20000, 0x2F800, 0x10FFFF, 0x200D, 0xFE0F])],
    "blanks and controls": list("\0\x01\x1f \t\u00a0\u2028\u3000\u0301é!"),
}


def by_table(texts: list[str]) -> list[list[tuple[int, str]]]:
    """The characters of each text, 0 for a blank, with their kinds."""
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
    spelled, starts = spell("\0".join(["", *texts, ""]), starts)
    assert len(spelled) == starts[-1] + 1
    kinds = ["space", "letter", "joiner", "mark"]
    read = [(each & 0xFFFFFF, kinds[each >> 24]) for each in spelled.tolist()]
    assert {read[start] for start in starts.tolist()} == {(0, "space")}
    return [read[i + 1 : j] for i, j in zip(starts.tolist(), starts[1:].tolist(), strict=False)]


def one_by_one(text: str) -> list[tuple[int, str]]:
    return [one(letter) for letter in naive_spelled(text)]


@cache
def one(letter: str) -> tuple[int, str]:
    kind = naive_kind(letter)
    return 0 if kind == "space" else ord(letter), kind


def equal(texts: list[str]) -> None:
    assert by_table(texts) == [one_by_one(text) for text in texts]


def test_every_character_alone_and_between_letters() -> None:
    equal(EVERY)
    equal([f"A{letter}é" for letter in EVERY])


def test_every_composition_and_what_is_excluded_from_it() -> None:
    for between in ("", "\u0323", "\u093c", "\u0301", "\u200d"):
        equal([first + between + second for first, second in PAIRS])
    equal([f"{first}{second}\u0301" for first, second in PAIRS])


@pytest.mark.parametrize(
    "mark", ["\u0653", "\u09be", *(pytest.param(each, marks=pytest.mark.slow) for each in "\u0301\u1161")]
)
def test_every_character_before_what_may_join(mark: str) -> None:
    equal([letter + mark for letter in EVERY])  # U+FD3C ends in a mark, over which U+0653 joins


@pytest.mark.slow
@pytest.mark.parametrize("first", FIRSTS[::99] + MARKS[::297])
def test_every_character_after_what_others_may_join(first: str) -> None:
    equal([first + letter for letter in EVERY])


@pytest.mark.parametrize("alphabet", list(ALPHABETS))
def test_any_neighbours(alphabet: str) -> None:
    generator = np.random.default_rng(0)
    letters = np.array(ALPHABETS[alphabet], dtype=object)
    equal(["".join(generator.choice(letters, size)) for size in generator.integers(0, 6, 8000)])


@given(
    st.lists(st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(MARKS + FIRSTS + SECONDS))))
)
@QUICK
def test_any_texts(texts: list[str]) -> None:
    equal(texts)


@pytest.mark.parametrize("texts", [[], [""], ["", ""], ["a"], ["Ä", ""], ["", "ﬁ", ""], ["\u0301", "\u0301a"], ["ำ"]])
def test_few_texts(texts: list[str]) -> None:
    equal(texts)


@pytest.mark.parametrize("marks", ["\u0301\u0323", "\uff9e\u0301", "\u0345\u0301\u0315", "\U0001d165\u0591", "\u0323"])
@pytest.mark.parametrize("length", [31, 32, 61, 400])
def test_a_long_run_of_marks_is_divided(marks: str, length: int) -> None:
    text = "a" + (marks * length)[:length]
    read = by_table([text, "é", text])
    assert [code for code, _ in read[0]] == [code for code, _ in read[2]] == [*map(ord, folded(text))]


def test_runs_of_up_to_30_marks_stay_as_unicode_has_them() -> None:
    runs = [("\u0323" * 40)[:count] for count in (1, 15, 29, 30)]
    equal([f"É{run}x{run}" for run in runs])
    divided = by_table(["a" + "\u0323" * 31, "x"])
    assert "".join(chr(code) for code, _ in divided[0]) == "ạ" + "\u0323" * 29 + "\u034f\u0323"


@pytest.mark.parametrize(
    "feature", [HashedTrigrams(name="t", on_empty="allow"), HashedWords(name="t", on_empty="allow")]
)
def test_ids_are_the_same_by_table_and_without_it(feature: HashedTrigrams, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    letters = [*"aB .-!'", *FIRSTS, *SECONDS, *"ﬁ½ำßЖёҐ猫ｶﾞ한\0\x01", "\U00020000"]
    texts = [
        "".join(generator.choice(np.array(letters, dtype=object), size)) for size in generator.integers(0, 60, 3000)
    ]
    texts = ["plain", *texts, "é" * 70_000, "plain", ""]
    alone = [feature.encode_values([text]).values.tolist() for text in texts]
    for many in (0, 1 << 30):
        monkeypatch.setattr(words_and_letters, "MANY", many)
        encoded = feature.encode(pl.Series(texts))
        assert [row.tolist() for row in encoded.values.split(encoded.lengths.tolist())] == alone


def test_kinds_of_every_character() -> None:
    names = ["space", "letter", "joiner", "mark"]
    assert [names[each] for each in kinds().tolist()] == [naive_kind(chr(point)) for point in range(len(kinds()))]
    higher = [chr(point) for point in range(len(kinds()), sys.maxunicode + 1)]
    assert {naive_kind(letter) for letter in higher} == {names[kinds()[-1]]}


def test_few_characters_need_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words_and_letters, "spell", None)
    assert HashedWords(name="t").encode(pl.Series(["Ünï", "кот", "plain"])).lengths.tolist() == [1, 1, 1]
