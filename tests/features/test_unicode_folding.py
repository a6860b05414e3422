"""One form of any spelling, by ``unicodedata``, and what long runs of marks become."""

from __future__ import annotations

import time

import pytest
from helpers.naive_texts import naive_spelled

from dssm_lightning.features.text import unicode_folding
from dssm_lightning.features.text.unicode_folding import folded, folded_texts


@pytest.mark.parametrize("texts", [[], [""], ["", ""], ["a"], ["Ä", ""], ["", "ﬁ", ""], ["\u0301", "\u0301a"]])
def test_texts_are_normalised_one_by_one(texts: list[str]) -> None:
    assert folded_texts(texts) == [naive_spelled(text) for text in texts]


def test_a_separator_in_a_text_is_a_blank() -> None:
    assert folded_texts(["É\x01b", "Ä"]) == ["é b", "ä"]


def test_the_pattern_of_marks_is_made_for_long_runs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unicode_folding, "_marks", None)
    assert folded_texts(["e\u0301" * 30, "é" * 500, "x" * 500]) == ["é" * 30, "é" * 500, "x" * 500]


@pytest.mark.parametrize("marks", ["\u0301\u0323", "\uff9e\u0301", "\u0345\u0301\u0315", "\U0001d165\u0591"])
def test_a_long_run_of_marks_is_divided(marks: str) -> None:
    folded("\u0301é")  # the pattern is made once
    text = "a" + marks * (90_000 // len(marks))
    start = time.process_time()
    assert folded_texts([text, "é", text]) == [folded(text), "é", folded(text)]
    assert time.process_time() - start < 2  # sorting the whole run takes 9 s


def test_runs_of_up_to_30_marks_stay_as_unicode_has_them() -> None:
    for count in (1, 15, 29, 30):
        for marks in ("\u0301\u0323", "\u0323\u0301", "\uff9e\u0301"):
            text = "É" + (marks * 30)[:count] + "x" + marks
            assert folded(text) == folded_texts([text])[0] == naive_spelled(text)
    assert folded("a" + "\u0323" * 31) == "ạ" + "\u0323" * 29 + "\u034f\u0323"
