"""The bags of text: golden ids, tables, bad input, and what is saved."""

from __future__ import annotations

import dataclasses
import json
import unicodedata
import warnings
from collections import Counter

import polars as pl
import pytest
import torch

from dssm_lightning.features.base import feature_from_dict
from dssm_lightning.features.text.hashed import HashedNgrams, HashedTrigrams, HashedWords
from dssm_lightning.features.text.trigrams import Trigrams, WordTrigrams
from dssm_lightning.features.value_columns import raw_column
from dssm_lightning.utils.errors import UserError

TEXTS = pl.Series("text", ["The cat", "C#, c++!", "Кот и кот", "猫", "e\u0301te\u0301 👍🏽"])
FEATURES = [
    HashedTrigrams(name="text"),
    HashedTrigrams(name="text", num_buckets=5000, max_word_n=2),
    Trigrams(name="text", vocabulary=("\0ca", "cat", "at\0")),
    Trigrams(name="text"),
    Trigrams(name="text", min_frequency=1, max_tokens=3),
    WordTrigrams(name="text", max_length=2),
    HashedNgrams(name="text", unit="letters", min_n=1, max_n=3, num_buckets=30_000),
    HashedNgrams(name="text", unit="words", min_n=1, max_n=2),
    HashedWords(name="title", column="text", num_buckets=1000),
]


def row(feature, text):
    return feature.encode(pl.Series("text", [text])).values.tolist()


def test_golden_ids():
    """These numbers are in saved models: if they change, ``words_and_letters.VERSION`` must rise."""
    assert row(HashedTrigrams(name="t"), "cat") == [53217, 1552, 30769]
    assert row(HashedTrigrams(name="t", num_buckets=30_000), "Кот №5") == [12979, 4237, 15634, 27271, 16340, 3495]
    assert row(HashedWords(name="t"), "the cat 猫") == [1352, 33670, 41412]
    assert row(HashedNgrams(name="t", unit="letters", min_n=1, max_n=2), "ab") == [
        212782,
        81270,
        220380,
        246714,
        161492,
    ]
    assert row(HashedNgrams(name="t", unit="words", min_n=1, max_n=2), "a b") == [17430, 70928, 86533]


def test_trigrams_and_words_are_ngrams_of_one_kind():
    letters = HashedNgrams(name="t", unit="letters", min_n=3, max_n=3, num_buckets=999)
    words = HashedNgrams(name="t", unit="words", min_n=1, max_n=1, num_buckets=999)
    assert torch.equal(HashedTrigrams(name="t", num_buckets=999).encode(TEXTS).values, letters.encode(TEXTS).values)
    assert torch.equal(HashedWords(name="t", num_buckets=999).encode(TEXTS).values, words.encode(TEXTS).values)


SCRIPTS = {
    "numbers and punctuation": ("C++17, 3.14!", ["#c+", "c++", "++1", "+17", "17#", "#3.", "3.1", ".14", "14#"]),
    "cyrillic": ("Кот-Ёж", ["#ко", "кот", "от-", "т-ё", "-ёж", "ёж#"]),
    "chinese": ("東京 猫", ["#東京", "東京#", "#猫#"]),
    "japanese, wide and narrow": ("ﾈｺ ネコ", ["#ネコ", "ネコ#"] * 2),
    "korean, composed or not": ("한국 \u1112\u1161\u11ab국", ["#한국", "한국#"] * 2),
    "arabic, stored in reading order": ("قطة", ["#قط", "قطة", "طة#"]),
    "hebrew with points": ("חָתוּל", ["#ח\u05b8", "ח\u05b8ת", "\u05b8תו", "תו\u05bc", "ו\u05bcל", "\u05bcל#"]),
    "devanagari": ("बिल्ली", ["#बि", "बिल", "िल्", "ल्ल", "्ली", "ली#"]),
    "one emoji": ("😸", ["#😸#"]),
    "a skin tone": ("👍🏽", ["#👍🏽", "👍🏽#"]),
    "a family, joined by U+200D": (
        "👩\u200d👧",
        ["#👩\u200d", "👩\u200d👧", "\u200d👧#"],
    ),
    "a flag": ("🇫🇷", ["#🇫🇷", "🇫🇷#"]),
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_trigrams_are_over_code_points_in_every_script(script):
    """The docstring's claim, spelt out; # is the boundary."""
    text, expected = SCRIPTS[script]
    fitted = Trigrams(name="t").fit(pl.Series([text]))
    assert [fitted.vocabulary[i - 1].replace("\0", "#") for i in row(fitted, text)] == expected
    hashed = row(HashedTrigrams(name="t"), text)
    assert len(hashed) == len(expected)
    assert len(set(hashed)) == len(set(expected))


def test_word_ngrams_stand_after_the_trigrams_in_the_same_table():
    both = HashedTrigrams(name="t", num_buckets=999, max_word_n=2)
    trigrams = HashedTrigrams(name="t", num_buckets=999)
    words = HashedNgrams(name="t", unit="words", min_n=1, max_n=2, num_buckets=999)
    assert both.cardinality == 999
    for text in TEXTS.to_list():
        assert row(both, text) == row(trigrams, text) + row(words, text)


def test_ids_agree_with_scikit_learns_trigrams():
    """Two texts' rows have as many ids in common as ``char_wb`` trigrams, where there is no punctuation."""
    from sklearn.feature_extraction.text import CountVectorizer

    texts = ["toy story", "toys and stories", "история игрушек", "story toy story", "おもちゃ 物語", "x"]
    analyze = CountVectorizer(analyzer="char_wb", ngram_range=(3, 3)).build_analyzer()
    feature = HashedTrigrams(name="t", num_buckets=2**31 - 1)
    for a in texts:
        for b in texts:
            common = Counter(analyze(a)) & Counter(analyze(b))
            assert (Counter(row(feature, a)) & Counter(row(feature, b))).total() == common.total()


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: f"{type(feature).__name__}")
def test_a_text_has_one_row_alone_or_in_any_column(feature):
    fitted = feature.fit(TEXTS)
    together = fitted.encode(TEXTS)
    assert together.values.dtype == torch.int32
    assert together.offsets.dtype == torch.int64
    assert together.offsets.tolist()[0] == 0
    assert together.offsets.tolist()[-1] == len(together.values)
    assert 0 <= int(together.values.min()) <= int(together.values.max()) < fitted.cardinality
    for i, text in enumerate(TEXTS.to_list()):
        assert together.values[together.offsets[i] : together.offsets[i + 1]].tolist() == row(fitted, text)


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: f"{type(feature).__name__}")
@pytest.mark.parametrize("fit", [False, True])
def test_json_gives_an_equal_feature(feature, fit):
    feature = feature.fit(TEXTS) if fit else feature
    copy = feature_from_dict(json.loads(json.dumps(feature.to_dict())))
    assert copy == feature
    if copy.is_fitted:
        assert torch.equal(copy.encode(TEXTS).values, feature.encode(TEXTS).values)


def test_rows_stay_with_their_texts_whatever_stands_between():
    texts = ["", "cat", None, " \t\x00", "\x01\x01", "cat\x01cat", "\u3000", "кот", "", "cat", None]
    ids = HashedTrigrams(name="t", on_empty="allow").encode(pl.Series(texts, dtype=pl.String))
    assert ids.lengths.tolist() == [0, 3, 0, 0, 0, 6, 0, 3, 0, 3, 0]
    words = HashedWords(name="t", on_empty="allow").encode(pl.Series(texts, dtype=pl.String))
    assert words.lengths.tolist() == [0, 1, 0, 0, 0, 2, 0, 1, 0, 1, 0]
    assert len(set(words.values.tolist())) == 2
    no_texts = HashedTrigrams(name="t").encode(pl.Series([], dtype=pl.String))
    assert (no_texts.values.tolist(), no_texts.offsets.tolist()) == ([], [0])
    nulls = HashedTrigrams(name="t", on_empty="allow").encode(pl.Series([None, None]))
    assert nulls.offsets.tolist() == [0, 0, 0]


def test_visible_texts_always_have_words():
    texts = pl.Series(["!", "?!", "-", "...", "#", "…", "()", "«»", "·", "\u0301", "\u200b"])
    assert (HashedTrigrams(name="t").encode(texts).lengths > 0).all()


def test_a_text_too_short_for_its_ngrams_is_no_error():
    pairs = HashedNgrams(name="t", unit="words", min_n=2, max_n=2)
    assert pairs.encode(pl.Series(["one", "one two"])).lengths.tolist() == [0, 1]
    fives = HashedNgrams(name="t", unit="letters", min_n=5, max_n=5)
    assert fives.encode(pl.Series(["tv", "cat"])).lengths.tolist() == [0, 1]


@pytest.mark.parametrize("text", [None, "", " \t", "\x00", "\u3000\u2028"])
@pytest.mark.parametrize("verb", ["fit", "encode"])
def test_null_and_empty_texts_are_an_error(text, verb):
    column = pl.Series("title", ["a", text, "b", text])
    with pytest.raises(UserError, match=r"'t': 2 of 4 texts .* row 1 of column 'title'"):
        getattr(HashedTrigrams(name="t", column="title"), verb)(column)


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["cat", "Кот"])])
def test_categories_are_texts(dtype):
    column = pl.Series("t", ["cat", "Кот", "cat"], dtype=dtype)
    expected = HashedTrigrams(name="t").encode(column.cast(pl.String))
    assert torch.equal(HashedTrigrams(name="t").encode(column).values, expected.values)


@pytest.mark.parametrize(
    ("column", "found"),
    [(pl.Series([1, 2]), "Int64"), (pl.Series([["a"]]), r"List\(String\)"), (pl.Series([b"a"]), "Binary")],
)
def test_other_types_are_an_error(column, found):
    with pytest.raises(UserError, match=rf"HashedWords feature 't': column 'text' holds {found}"):
        HashedWords(name="t", column="text").encode(column)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HashedTrigrams(name="t", num_buckets=0), "'t': num_buckets is 0"),
        (lambda: HashedWords(name="t", num_buckets=2**31), "'t': num_buckets is 2147483648"),
        (lambda: HashedNgrams(name="t", unit="bytes"), "'t': unit is 'bytes'; .*letters, words"),
        (lambda: HashedNgrams(name="t", unit="words", min_n=3, max_n=2), "'t': min_n is 3 and max_n is 2"),
        (lambda: HashedTrigrams(name="t", max_word_n=-1), "'t': max_word_n is -1"),
        (lambda: HashedTrigrams(name="t", max_characters=0), "'t': max_characters is 0"),
        (lambda: HashedTrigrams(name="t", text_version=2), "'t': text_version is 2, .* version 1"),
    ],
)
def test_wrong_arguments_are_an_error(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_other_unicode_tables_warn_of_what_is_not_ascii():
    fitted = HashedTrigrams(name="t").fit(TEXTS)
    assert fitted.unicode_version == unicodedata.unidata_version
    other = dataclasses.replace(fitted, unicode_version="9.0.0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert row(other, "plain") == row(fitted, "plain")
    with pytest.warns(UserWarning, match=r"'t' was fitted with Unicode 9\.0\.0"):
        assert row(other, "Кот") == row(fitted, "Кот")


@pytest.mark.parametrize(("trigrams", "bits", "share"), [(10_306, 16, 0.075), (30_621, 16, 0.20), (30_621, 18, 0.056)])
def test_as_many_trigrams_share_a_row_as_the_docstring_says(trigrams, bits, share):
    words = [
        chr(97 + i // 676 % 26) + chr(97 + i // 26 % 26) + chr(97 + i % 26) + chr(0x430 + i // 17576)
        for i in range(trigrams)
    ]
    feature = HashedNgrams(name="t", unit="letters", min_n=6, max_n=6, num_buckets=1 << bits)
    distinct = feature.encode(pl.Series(words)).values.unique()
    assert 1 - len(distinct) / trigrams == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize(
    "foreign", [{0: "кот"}, {199: "größe"}, {7: "猫", 8: "", 9: "naïve ’cat’"}, {0: "ﬁ", 199: "Å"}]
)
def test_a_few_foreign_texts_among_many_change_no_row(feature, foreign):
    """They are encoded separately, without an effect on the result: each row equals the row of its text alone."""
    texts = pl.Series("text", [foreign.get(i, f"line {i} of C++ code" if i % 3 else None) for i in range(200)])
    fitted = dataclasses.replace(feature, on_empty="allow").fit(texts)
    found = fitted.encode(texts)
    assert found.offsets[-1] == len(found.values)
    for i, ids in enumerate(found.values.split(found.lengths.tolist())):
        assert ids.equal(fitted.encode(texts[i : i + 1]).values)


def test_a_column_of_numbers_is_refused_with_a_remedy():
    for column in (pl.Series([1, 2]), pl.Series([1.5])):
        with pytest.raises(UserError, match=r"'title': column 'sku' holds (Int|Float)64.*`dtypes: {sku: text}`"):
            HashedWords(name="title", column="sku").fit(column)
    with pytest.raises(UserError, match=r"'title': column 'sku' holds 7 in row 1 .*write it as text"):
        HashedWords(name="title", column="sku").encode(raw_column(["7", 7]))
    digits = HashedWords(name="title").encode(pl.Series(["007", "7"]))
    assert digits.values[0] != digits.values[1]


def test_ngrams_have_a_length_that_can_be_meant() -> None:
    with pytest.raises(UserError, match=r"title.*max_n is 51.*50"):
        HashedNgrams(name="title", num_buckets=10, unit="words", max_n=51)
    with pytest.raises(UserError, match=r"title.*max_word_n is 51.*50"):
        HashedTrigrams(name="title", num_buckets=10, max_word_n=51)
