"""What a value becomes, as text: the same values, unknown values and cuts that its encoding has."""

from __future__ import annotations

import datetime
import io
import json
import sys
import time
import unicodedata
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import polars as pl
import pytest
from helpers.any_value import LETTERS, QUICK, raw_values
from hypothesis import given
from hypothesis import strategies as st

from dssm_lightning.features import (
    BagOfWordsRandomProjection,
    Bucketized,
    Categorical,
    CategoricalList,
    Feature,
    HashedNgrams,
    HashedTrigrams,
    HashedWords,
    History,
    Image,
    LikedBy,
    Numeric,
    Tokens,
    Trigrams,
    Vector,
    Words,
    WordTrigrams,
)
from dssm_lightning.features.readings import Reading, ReadValue, Truncation
from dssm_lightning.features.schema import Schema
from dssm_lightning.features.text.ngrams import ngram_texts
from dssm_lightning.features.text.words_and_letters import most_words, normalised_texts, word_texts
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged_arrays import ArrayColumn, RaggedArray

TEXTS = pl.Series(["red shoes", "toy story 2", "é a|b", "кот, ёж и C++"])
CITY = Categorical(name="x", vocabulary=("2024-01-31", "7", "a", "b", "true"))
WORDS = Words(name="x", on_empty="allow", vocabulary=("a", "b", "red"), max_length=2)
TEXT: dict[str, Any] = {"name": "x", "on_empty": "allow"}
UNKNOWN_ROW: list[Feature] = [
    CITY,
    Categorical(name="x", vocabulary=("2024-01-31", "2024-01-31T10:00:00"), dates="iso"),
    CategoricalList(name="x", separator="|", vocabulary=("7", "a", "b")),
    Words(name="x", vocabulary=("a", "b")),
    replace(Words(**TEXT).fit(TEXTS), max_characters=6),
    WORDS,
    Trigrams(**TEXT).fit(TEXTS),
    Trigrams(**TEXT, vocabulary=(), max_characters=5),
    Tokens(**TEXT, vocab_size=20).fit(TEXTS),
    replace(Tokens(**TEXT, vocab_size=20).fit(TEXTS), max_length=2, max_characters=9),
    Tokens(**TEXT, model="wordpiece", vocab_size=90).fit(TEXTS),
    History(name="x", of="x", max_length=2).bind(CITY),
    History(name="x", of="x", age="seconds").bind(CITY),
    History(name="x", of="x", max_length=1).bind(WORDS),
    LikedBy(name="x", of="x", max_length=1).bind(CITY),
    LikedBy(name="x", of="x").bind(CategoricalList(name="x", separator="|", vocabulary=("a",))),
]
"""Features whose row 0 is for unknown values, or for a missing one."""
HASHED: list[Feature] = [
    Categorical(name="x", num_buckets=50, prefix=3),
    CategoricalList(name="x", num_buckets=9),
    HashedNgrams(**TEXT, unit="letters", min_n=1, max_n=4),
    HashedNgrams(**TEXT, unit="letters", min_n=2, max_n=2, max_characters=4),
    HashedNgrams(**TEXT, unit="words", min_n=2, max_n=3),
    HashedTrigrams(**TEXT, num_buckets=99, max_characters=4),
    HashedTrigrams(name="x", num_buckets=99, max_word_n=2),
    HashedWords(**TEXT),
    History(name="x", of="x").bind(HashedWords(**TEXT)),
]
"""Features that have an id for every value."""
OTHERS: list[Feature] = [
    Numeric(name="x", mean=0.1, std=3.0),
    Numeric(name="x", mean=2.0, std=0.3, missing="indicator", holds="numbers"),
    Numeric(name="x", mean=1e9, std=1e5, missing="mean", holds="dates"),
    Bucketized(name="x", boundaries=(-1.0, 0.5, 7.0), missing="bucket"),
    Bucketized(name="x", boundaries=(0.0,)),
    Vector(name="x", length=2),
    Image(name="x", size=2, on_error="skip"),
    WordTrigrams(**TEXT, num_buckets=99, max_length=2),
    BagOfWordsRandomProjection(**TEXT, dimension=4).fit(TEXTS),
]
VALUES = raw_values() | st.text(LETTERS, max_size=24) | st.lists(st.text(LETTERS, max_size=12), max_size=4)


def name_of(feature: Feature) -> str:
    return f"{type(feature).__name__}-{getattr(feature, 'max_length', '')}"


def read(feature: Feature, value: Any) -> tuple[ArrayColumn, Reading] | None:
    """The encoding and the reading of a value; None if both are refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            encoded = feature.encode_values([value])
        except UserError:
            with pytest.raises(UserError):
                feature.read(value)
            feature.truncations(value)  # refuses nothing
            return None
        return encoded, feature.read(value)


def check_counts(feature: Feature, value: Any, reading: Reading) -> None:
    """What is cut is what ``truncations`` says, and counts that differ say so."""
    assert list(reading.truncations) == feature.truncations(value)
    assert (reading.feature, reading.column, reading.kind) == ("x", "x", type(feature).__name__)
    own = [cut for cut in reading.truncations if cut.unit == reading.unit]
    assert [(cut.kept, cut.total) for cut in own] == [(reading.kept, reading.total)] * (reading.kept < reading.total)
    assert reading.missing == (not reading.values)


@pytest.mark.parametrize("feature", UNKNOWN_ROW, ids=name_of)
@QUICK
@given(value=VALUES)
def test_known_and_unknown_values_are_those_of_the_encoding(feature: Feature, value: Any) -> None:
    found = read(feature, value)
    if found is None:
        return
    encoded, reading = found
    ids = np.asarray(encoded.values if isinstance(encoded, RaggedArray) else encoded).tolist()
    if reading.missing and isinstance(feature, Categorical):
        ids = []  # the unknown row
    assert [each.known for each in reading.values] == [number != 0 for number in ids]
    assert len(reading.unknown) == ids.count(0)
    check_counts(feature, value, reading)


@pytest.mark.parametrize("feature", HASHED, ids=name_of)
@QUICK
@given(value=VALUES)
def test_hashed_values_have_an_id_each_that_knows_nothing(feature: Feature, value: Any) -> None:
    found = read(feature, value)
    if found is None:
        return
    encoded, reading = found
    count = len(encoded.values) if isinstance(encoded, RaggedArray) else len(encoded)
    assert len(reading.values) == (0 if reading.missing else count)
    assert not reading.missing or count == 0 or isinstance(feature, Categorical)
    unknown = [each for each in reading.values if each.known is not None]
    assert all(isinstance(feature, CategoricalList) and "NaN" in each.text for each in unknown)  # Decimal("NaN")
    check_counts(feature, value, reading)


@pytest.mark.parametrize("feature", OTHERS, ids=name_of)
@QUICK
@given(value=VALUES)
def test_other_features_read_what_they_encode(feature: Feature, value: Any) -> None:
    found = read(feature, value)
    if found is None:
        return
    encoded, reading = found
    if isinstance(feature, WordTrigrams):
        assert isinstance(encoded, RaggedArray)
        assert len(reading.values) == (encoded.values == 0).sum()
    elif isinstance(feature, Bucketized):
        assert reading.missing == (np.asarray(encoded)[0] == 0)
    elif isinstance(feature, Numeric) and feature.missing == "indicator":
        assert reading.missing == bool(np.asarray(encoded)[0, 1])
    elif isinstance(feature, Image | BagOfWordsRandomProjection) and reading.missing:
        assert not np.asarray(encoded).any()
    check_counts(feature, value, reading)


@QUICK
@given(text=st.text(LETTERS, max_size=30), unit=st.sampled_from(["letters", "words"]), low=st.integers(1, 4))
def test_the_ngrams_as_text_hash_to_the_ngrams(text: str, unit: Any, low: int) -> None:
    """An n-gram of words, alone, has the id that it has in the text."""
    feature = HashedNgrams(**TEXT, unit=unit, min_n=low, max_n=low + 1)
    ids = feature.encode_values([text])
    assert isinstance(ids, RaggedArray)
    for each, number in zip(feature.read(text).values, ids.values.tolist(), strict=True):
        if unit == "words" and len(normalised_texts([each.text])[0].split(" ")) == low:
            alone = HashedNgrams(**TEXT, unit=unit, min_n=low, max_n=low).encode_values([each.text])
            assert isinstance(alone, RaggedArray)
            assert alone.values.tolist() in ([number], [])  # [] for punctuation that was a word between blanks
        if unit == "letters":
            assert low <= len(each.text) <= low + 1


# -- by hand -----------------------------------------------------------------------------------------------------------


def pairs(reading: Reading) -> list[tuple[str, bool | None]]:
    return [(each.text, each.known) for each in reading.values]


def test_words_by_hand() -> None:
    feature = Words(name="title", column="text", vocabulary=("red", "shoes"), max_length=3, max_characters=20)
    reading = feature.read("Red boots, red shoes and more")
    assert reading[:4] == ("title", "text", "Words", "words")
    assert pairs(reading) == [("red", True), ("boots", False), ("red", True)]
    assert reading.unknown == ["boots"]
    assert (reading.kept, reading.total) == (3, 4)  # of "Red boots, red shoes"
    assert reading.truncations == (
        Truncation("title", "text", 20, 29, "characters"),
        Truncation("title", "text", 3, 4, "words"),
    )


@pytest.mark.parametrize(
    ("feature", "value", "wanted"),
    [
        (
            HashedTrigrams(name="x"),
            "C# cat",
            [("#c#", None), ("c##", None), ("#ca", None), ("cat", None), ("at#", None)],
        ),
        (HashedTrigrams(name="x", max_word_n=1), "猫", [("#猫#", None), ("猫", None)]),
        (HashedWords(name="x"), "Toy, STORY", [("toy", None), ("story", None)]),
        (HashedNgrams(name="x", unit="words", max_n=2), "a b", [("a", None), ("a b", None), ("b", None)]),
        (WordTrigrams(name="x", max_length=1), "the cat", [("the", None)]),
        (Trigrams(name="x", vocabulary=("\0ca", "cat")), "cat", [("#ca", True), ("cat", True), ("at#", False)]),
        (CITY, 7.0, [("7", True)]),
        (CITY, "Rome", [("Rome", False)]),
        (CITY, None, []),
        (Categorical(name="x", num_buckets=9, prefix=2), "12345", [("12", None)]),
        (CategoricalList(name="x", vocabulary=("a",), separator="|"), "a| z ||", [("a", True), ("z", False)]),
        (Numeric(name="x", mean=0.0, std=1.0), " 1.50 ", [("1.50", True)]),
        (Numeric(name="x", mean=0.0, std=1.0), datetime.date(2024, 1, 31), [("2024-01-31", True)]),
        (Numeric(name="x", mean=0.0, std=1.0, missing="mean"), float("nan"), []),
        (Bucketized(name="x", boundaries=(1970.0, 1980.0)), 1969, [("1969 (bucket 1 of 3)", True)]),
        (Vector(name="x", length=2), [0.5, 1], [("0.5, 1", True)]),
        (Vector(name="x", length=5), [0.5] * 5, [("0.5, 0.5, 0.5, 0.5, … (5 numbers)", True)]),
        (History(name="x", of="x", max_length=2).bind(CITY), ["b", None, "z", 7], [("z", False), ("7", True)]),
        (LikedBy(name="x", of="x").bind(CITY), None, []),
        (History(name="x", of="x").bind(WORDS), ["red a b", "z"], [("red", True), ("a", True), ("z", False)]),
        (BagOfWordsRandomProjection(name="x", dimension=2), [10, 0, 50], [("10", None), ("50", None)]),
        (History(name="x", of="candidate"), ["a", 7], [("a", None), ("7", None)]),
    ],
)
def test_values_by_hand(feature: Feature, value: Any, wanted: list[tuple[str, bool | None]]) -> None:
    assert pairs(feature.read(value)) == wanted


def test_an_unknown_token_shows_the_text_that_it_stands_for() -> None:
    feature = Tokens(name="x", vocab_size=20).fit(pl.Series(["low lower"]))
    assert pairs(feature.read("low 猫"))[-1] == ("猫", False)


def test_a_picture_has_its_size() -> None:
    file = io.BytesIO()
    PIL.Image.new("RGB", (40, 20)).save(file, "PNG")
    reading = Image(name="x", size=4).read(file.getvalue())
    assert (pairs(reading), reading.kept, reading.unit) == ([("40 × 20", True)], 800, "pixels")
    skipped = Image(name="x", size=4, on_error="skip").read(file.getvalue()[:50])
    assert pairs(skipped) == [("the 50 bytes", False)]
    with pytest.raises(UserError, match="cannot read the 50 bytes"):
        Image(name="x", size=4).read(file.getvalue()[:50])


def test_a_history_of_candidates_asks_who_they_are() -> None:
    reading = History(name="x", of="candidate", max_length=2).read(["c", "a", "zz"], {"a": 0}.get)
    assert pairs(reading) == [("a", True), ("zz", False)]
    assert reading.truncations == (Truncation("x", "x", 2, 3, "entries"),)


def test_entries_of_a_history_are_cut_too() -> None:
    """Two entries are kept; of their 3 + 4 words, 2 + 2 are read."""
    feature = History(name="x", of="x", max_length=2).bind(WORDS)
    assert feature.truncations(["one", "red a b", "a b c d"]) == [
        Truncation("x", "x", 2, 3, "entries"),
        Truncation("x", "x", 4, 7, "words"),
    ]


class Lengths(Feature):
    """A feature from outside that says nothing of what it reads."""

    def encode_array(self, column: pl.Series) -> ArrayColumn:
        """The number of characters."""
        return column.cast(pl.String).str.len_chars().fill_null(0).to_numpy().astype(np.float32)[:, None]


def test_a_feature_from_outside_has_a_sound_reading() -> None:
    reading = Lengths(name="x").read("red")
    assert (reading.values, reading.kind, reading.truncations) == ([ReadValue("red", None)], "Lengths", ())
    assert Lengths(name="x").read(None).missing


# -- records and speed -------------------------------------------------------------------------------------------------


def test_a_schema_reads_records() -> None:
    schema = Schema(
        (Categorical(name="city", vocabulary=("Bonn",)), Words(name="text", vocabulary=("a",), max_length=1))
    )
    record = {"text": "a b", "city": "Rome"}
    assert [pairs(each) for each in schema.read(record)] == [[("Rome", False)], [("a", True)]]
    assert schema.truncations(record) == [Truncation("text", "text", 1, 2, "words")]
    assert schema.truncations({"city": 3, "text": 7}) == []


@QUICK
@given(text=st.text(LETTERS, max_size=20) | st.text(max_size=20, alphabet=" .a,!'-é猫ﷺ½"))
def test_the_bound_of_words_holds(text: str) -> None:
    text = "".join(letter for letter in text if not "\ud800" <= letter <= "\udfff")
    assert len(word_texts(normalised_texts([text]))[0]) <= most_words(text)


def test_the_bound_of_words_holds_for_every_character_that_stands_for_several() -> None:
    """Such as U+FDFA, which stands for four words."""
    several = [chr(code) for code in range(sys.maxunicode + 1) if len(unicodedata.normalize("NFKC", chr(code))) > 2]
    assert len(several) > 500
    for character in several:
        text = f"a{character}b"
        assert len(word_texts(normalised_texts([text]))[0]) <= most_words(text)


def best_of(function: Callable[[], Any], times: int = 200) -> float:
    """Seconds of the fastest of some calls: what other processes do does not count."""
    return min(_seconds(function) for _ in range(times))


def _seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


TOKENIZER = Tokens(name="x", vocab_size=60, max_length=64).fit(TEXTS)


@pytest.mark.parametrize(
    "feature",
    [HashedTrigrams(name="x"), Words(name="x", vocabulary=("a",), max_length=8), TOKENIZER],
    ids=lambda each: type(each).__name__,
)
def test_truncations_of_a_short_text_cost_microseconds(feature: Feature) -> None:
    """Some 1 to 3 µs where it is quiet."""
    assert best_of(lambda: feature.truncations("grinning cat face")) < 50e-6


def test_a_tokenizer_that_lengthens_texts_is_asked() -> None:
    content = json.loads(TOKENIZER.tokenizer or "")
    content["normalizer"] = {"type": "Replace", "pattern": {"String": "r"}, "content": "r " * 40}
    feature = Tokens(name="x", max_length=30, tokenizer=json.dumps(content))
    (cut,) = feature.truncations("red")
    assert (cut.kept, cut.unit) == (30, "tokens")
    assert cut.total >= 41
    assert len(feature.read("red").values) == 30


def test_a_tokenizer_file_of_a_model_says_what_it_cuts(tmp_path: Path) -> None:
    """Special tokens count, and stay."""
    from tokenizers import processors

    from dssm_lightning.features.text.tokens import _load

    tokenizer = _load(TOKENIZER.tokenizer or "", None)
    processor = processors.TemplateProcessing(single="[UNK] $0 [UNK]", special_tokens=[("[UNK]", 0)])
    tokenizer.post_processor = processor
    feature = Tokens(name="x", max_length=3, add_special_tokens=True, tokenizer=tokenizer.to_str())
    _load.cache_clear()
    reading = feature.read("red shoes")
    ids = feature.encode_values(["red shoes"])
    assert isinstance(ids, RaggedArray)
    assert len(reading.values) == len(ids.values) == reading.kept == 3
    assert reading.total > 3


def test_ngrams_of_an_empty_text_are_none() -> None:
    from dssm_lightning.features.text.words_and_letters import pieces_of

    assert ngram_texts(next(iter(pieces_of([""]))), "letters", 1, 3) == []
