"""A few texts, encoded without Polars, have the bits, errors and warnings that a column of them has."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers.any_value import LETTERS, QUICK, raw_values
from hypothesis import given
from hypothesis import strategies as st

from dssm_lightning.features import (
    BagOfWordsRandomProjection,
    Feature,
    HashedNgrams,
    HashedTrigrams,
    HashedWords,
    Tokens,
    Trigrams,
    Words,
    WordTrigrams,
)
from dssm_lightning.features.base import FEW
from dssm_lightning.features.text.character_kinds import is_visible
from dssm_lightning.features.text.words_and_letters import normalised_texts, word_strings, word_texts
from dssm_lightning.features.value_columns import raw_column
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged_arrays import ArrayColumn, RaggedArray

LEARNT = pl.Series("t", ["grinning cat face", "кот, ёж и C++", "한국 猫", "don't stop"])
SHORT = 90
"""The limit of characters in these tests."""
FEATURES: list[Feature] = [
    each.fit(LEARNT)
    for each in (
        HashedTrigrams(name="t", on_empty="allow", max_characters=SHORT),
        HashedTrigrams(name="t", max_characters=SHORT, max_word_n=2, num_buckets=999),
        HashedNgrams(name="t", on_empty="allow", unit="letters", min_n=1, max_n=4, max_characters=SHORT),
        HashedNgrams(name="t", on_empty="allow", unit="words", min_n=1, max_n=3, max_characters=SHORT),
        HashedWords(name="t", max_characters=SHORT),
        WordTrigrams(name="t", on_empty="allow", max_length=2, max_characters=SHORT),
        Trigrams(name="t", on_empty="allow", max_characters=SHORT),
        Trigrams(name="t", on_empty="allow", vocabulary=()),
        Words(name="t", on_empty="allow", max_characters=SHORT),
        Words(name="t", max_length=2, vocabulary=("cat", "кот", "c++")),
        BagOfWordsRandomProjection(name="t", on_empty="allow", dimension=7, max_characters=SHORT),
        Tokens(name="t", on_empty="allow", vocab_size=60, max_characters=SHORT),
        Tokens(name="t", vocab_size=60, max_length=2),
    )
]
ODD = [
    *("", " ", "\0", "\x01", "a\x01b\0c", "\u3000\u2028", "\x85", "…", "!?", "-", "\u200b", "\u0301"),
    *(
        "Straße ﬁne ＣＡＦÉ",
        "İstanbul",
        "ﾈｺ ネコ",
        "한국 \u1112\u1161\u11ab국",
        "👩\u200d👩\u200d👧 👍🏽 🇫🇷",
        "don't stop: C++, at&t!",
    ),
    *("e" + "\u0323\u0301" * 30, "\uff9e" * 40, "x" * 200, "ж" * 91, " " * 91 + "a"),
]
TEXTS = st.one_of(st.text(LETTERS, max_size=20), st.sampled_from(ODD), st.text("ab '.-ё\u0301한", max_size=30))
NAMES = [f"{type(feature).__name__}-{i}" for i, feature in enumerate(FEATURES)]


def bits(encoded: ArrayColumn) -> Any:
    parts = [encoded.values, encoded.offsets] if isinstance(encoded, RaggedArray) else [encoded]
    return [(part.dtype, part.shape, part.tobytes()) for part in parts]


def outcome(encode: Any, *values: Any) -> tuple[Any, list[str]]:
    """The bits or the error of an encoding, and its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = bits(encode(*values))
        except UserError as error:
            found = str(error)
    return found, [str(each.message) for each in caught]


def by_column(feature: Feature, values: list[Any]) -> ArrayColumn:
    return feature.encode_array(raw_column(values, feature.source_column))


@pytest.mark.parametrize("feature", FEATURES, ids=NAMES)
@given(st.lists(TEXTS | st.none(), max_size=4))
@QUICK
def test_few_texts_are_encoded_as_their_column_is(feature: Feature, values: list[str | None]) -> None:
    expected = outcome(by_column, feature, values)
    assert outcome(feature.encode_values, values) == expected
    if not isinstance(expected[0], str):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert feature._encode_few(values) is not None  # it did not leave them to a column


@pytest.mark.parametrize("feature", FEATURES, ids=NAMES)
@given(st.lists(raw_values(), min_size=1, max_size=3))
@QUICK
def test_any_few_values_are_encoded_or_refused_as_their_column_is(feature: Feature, values: list[Any]) -> None:
    assert outcome(feature.encode_values, values) == outcome(by_column, feature, values)


@pytest.mark.parametrize("feature", FEATURES, ids=NAMES)
def test_odd_texts_alone_and_together(feature: Feature) -> None:
    for values in [
        *([text] for text in ODD),
        ["\ud800"],
        ["cat", "a\udfffb"],
        [np.str_("кот")],
        [b"cat"],
        [float("nan")],
    ]:
        assert outcome(feature.encode_values, values) == outcome(by_column, feature, values)
    many = ["cat", *ODD[-12:], "кот"] * (FEW // 14 + 1)
    assert len(many) > FEW
    assert outcome(feature.encode_values, many) == outcome(by_column, feature, many)


@pytest.mark.parametrize("feature", FEATURES[:-2], ids=NAMES[:-2])
def test_another_unicode_version_is_told_of_texts_that_are_not_ascii(feature: Feature) -> None:
    other = replace(feature, unicode_version="9.0.0")
    for values in (["cat"], ["cat", "кот"], ["кот" * 40]):
        found = outcome(other.encode_values, values)
        assert found == outcome(by_column, other, values)
        assert any("9.0.0" in warning for warning in found[1]) == (values != ["cat"])


@given(st.lists(st.none() | st.lists(st.none() | st.integers(-3, 2**63 - 1), max_size=4), min_size=1, max_size=4))
@QUICK
def test_lists_of_word_ids(values: list[Any]) -> None:
    feature = BagOfWordsRandomProjection(name="t", on_empty="allow", dimension=5)
    assert outcome(feature.encode_values, values) == outcome(by_column, feature, values)


def test_unfitted_features_and_sizes_name_themselves() -> None:
    for feature in (Trigrams(name="t"), Words(name="t"), Tokens(name="t")):
        with pytest.raises(UserError, match=r"'t': .* is not known yet"):
            feature.encode_values(["cat"])
    with pytest.raises(UserError, match="'t': vocabulary holds 'Cat'"):
        Words(name="t", vocabulary=("dog", "Cat")).encode_values(["cat"])


@given(st.lists(TEXTS, max_size=5))
@QUICK
def test_lists_and_columns_have_the_same_words(texts: list[str]) -> None:
    words, counts = word_strings(pl.Series(texts, dtype=pl.String))
    assert word_texts(normalised_texts(texts))[0] == words.to_list()
    assert word_texts(normalised_texts(texts))[1].tolist() == counts.tolist()


def test_visible_means_the_same_as_the_pattern_of_columns() -> None:
    letters = [chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]
    column = pl.Series(letters).str.contains(r"[^\p{Z}\p{Cc}]")
    assert [is_visible(letter) for letter in letters] == column.to_list()


ALONE = """
import json, sys, warnings
from dssm_lightning.features import feature_from_dict
def heavy():
    return sorted({"torch", "polars", "tokenizers", "PIL", "lightning"} & sys.modules.keys())
assert heavy() == [], heavy()
for each in json.loads(sys.stdin.read()):
    feature = feature_from_dict(each)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for text in ("grinning cat face", "кот, ёж!", "e" + "\\u0301" * 40, "кот " * 20_000):
            feature.encode_values([text])
    assert heavy() == (["tokenizers"] if each["kind"] == "Tokens" else []), (each["kind"], heavy())
"""


def test_a_process_that_serves_texts_loads_neither_torch_nor_polars() -> None:
    saved = json.dumps([replace(feature, max_characters=100_000).to_dict() for feature in FEATURES])
    words = [sys.executable, "-c", ALONE]
    result = subprocess.run(words, input=saved, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
