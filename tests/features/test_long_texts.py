"""One huge word, or one visible sign with a hundred thousand marks, costs no more than an ordinary text of its size."""

from __future__ import annotations

import random
import time
from typing import Any, Literal

import polars as pl
import pytest

from dssm_lightning.features import HashedNgrams, HashedTrigrams, HashedWords, Tokens, Trigrams, Words, WordTrigrams
from dssm_lightning.features.text.tokenizer_training import LONGEST_WORD, _with_short_words

LENGTH = 400_000
HUGE = {
    "one letter": "a" * LENGTH,
    "letters": "".join(random.Random(0).choices("abcdefghijkl", k=LENGTH)),
    "cyrillic": "".join(random.Random(0).choices("абвгдежз", k=LENGTH)),
    "punctuation": "!" * LENGTH,
    "marks": "a" + "\u0301\u0323" * (LENGTH // 2),
}


@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (HashedTrigrams, {}),
        (HashedWords, {}),
        (HashedNgrams, {"unit": "letters", "max_n": 5}),
        (WordTrigrams, {}),
        (Words, {}),
        (Trigrams, {}),
    ],
)
def test_a_huge_word_takes_seconds(kind: Any, options: dict[str, Any], text: str) -> None:
    start = time.process_time()
    feature = kind(name="x", max_characters=2 * LENGTH, **options).fit(pl.Series([text]))
    assert len(feature.encode(pl.Series([text])).values) >= 1
    assert time.process_time() - start < 5


@pytest.mark.parametrize("model", ["bpe", "wordpiece"])
@pytest.mark.parametrize("text", ["letters", "one letter", "marks"])
def test_a_tokenizer_is_trained_on_an_unbroken_word(model: Literal["bpe", "wordpiece"], text: str) -> None:
    column = pl.Series([HUGE[text][:100_000]])
    start = time.process_time()
    feature = Tokens(name="x", model=model).fit(column)
    assert len(feature.encode(column).values) >= 1
    assert time.process_time() - start < 5  # the whole word takes 10 s, twice the word 40 s


def test_only_words_that_are_too_long_are_divided() -> None:
    long = "x" * LONGEST_WORD
    texts = ["short", long, f"{long}y", ("word, " * LONGEST_WORD), "猫。" * LONGEST_WORD]
    assert _with_short_words(pl.Series(texts)) == [*texts[:2], f"{long} y", *texts[3:]]
