"""Fitted trigrams, and trigrams word by word."""

from __future__ import annotations

import polars as pl
import pytest

from dssm_lightning.features.base import feature_from_dict
from dssm_lightning.features.text.hashed import HashedTrigrams
from dssm_lightning.features.text.ngrams import BASE, salt
from dssm_lightning.features.text.trigrams import Trigrams, WordTrigrams
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.hashing import buckets


def row(feature, text):
    return feature.encode(pl.Series("text", [text])).values.tolist()


def test_the_papers_example():
    """Huang et al. 2013, section 3.2: good -> #go, goo, ood, od#; here each is a row of its own."""
    fitted = Trigrams(name="t").fit(pl.Series(["good"]))
    assert fitted.vocabulary == ("\0go", "goo", "od\0", "ood")
    assert fitted.cardinality == 5
    assert row(fitted, "GOOD goods") == [1, 2, 4, 3, 1, 2, 4, 0, 0]


def test_fitted_trigrams_are_all_that_occur_and_no_others():
    text = "Señor 猫猫 \U0010ffff a"
    fitted = Trigrams(name="t").fit(pl.Series([text, "señor"]))
    words = [f"\0{word}\0" for word in text.casefold().split()]
    trigrams = {word[i : i + 3] for word in words for i in range(len(word) - 2)}
    assert fitted.vocabulary == tuple(sorted(trigrams))
    assert sorted(row(fitted, text)) == list(range(1, len(trigrams) + 1))
    assert row(fitted, "b") == [0]
    many = fitted.encode(pl.Series(["señor b"] * 100))  # more values than the vocabulary: looked up the other way
    assert many.values.tolist() == row(fitted, "señor b") * 100


def test_a_vocabulary_may_be_given_and_is_kept():
    given = Trigrams(name="t", vocabulary=["cat", "\0ca"])  # as YAML gives it
    assert given.is_fitted
    assert given.fit(pl.Series(["dog"])).vocabulary == ("cat", "\0ca")
    assert row(given, "cats") == [2, 1, 0, 0]


def test_min_frequency_counts_texts_and_max_tokens_keeps_those_in_most():
    texts = pl.Series(
        ["ab ab ab", "ab cd", "cd", "ef"]
    )  # #ab and ab# in two texts, #cd and cd# in two, #ef, ef# in one
    assert Trigrams(name="t", min_frequency=2).fit(texts).vocabulary == ("\0ab", "\0cd", "ab\0", "cd\0")
    assert Trigrams(name="t", max_tokens=2).fit(texts).vocabulary == ("\0ab", "\0cd")  # equally many: by code points
    frequent = pl.Series(["ab", "cd", "cd"])
    assert Trigrams(name="t", max_tokens=2).fit(frequent).vocabulary == ("\0cd", "cd\0")
    with pytest.raises(UserError, match=r"'t': min_frequency is 3, .* 6 trigrams; .* 2 of 4"):
        Trigrams(name="t", min_frequency=3).fit(texts)
    assert Trigrams(name="t", min_frequency=3, on_empty="allow").fit(pl.Series([""])).vocabulary == ()


def test_a_words_trigrams_end_with_zero():
    feature = WordTrigrams(name="t", num_buckets=1000)
    trigrams = [i + 1 for i in row(HashedTrigrams(name="t", num_buckets=1000), "the cat x")]
    assert row(feature, "The cat, x!") == [*trigrams[:3], 0, *trigrams[3:6], 0, trigrams[6], 0]
    assert feature.cardinality == 1001
    together = feature.encode(pl.Series(["猫 猫", "x", "the cat"]))
    assert together.offsets.tolist() == [0, 4, 6, 14]
    assert together.values[4:6].tolist() == [trigrams[6], 0]


def test_max_length_counts_words():
    feature = WordTrigrams(name="t", max_length=2, on_empty="allow")
    whole = WordTrigrams(name="t", on_empty="allow")
    column = pl.Series(["one two three", "", "one", "a b c d", "one two"])
    cut = feature.encode(column)
    expected = [row(whole, text) for text in ("one two", "", "one", "a b", "one two")]
    assert [part.tolist() for part in cut.values.tensor_split(cut.offsets[1:-1])] == expected


def test_an_id_is_its_trigrams_bucket():
    """Golden: the number with the code points as digits, mixed and scaled, plus one for the end of a word."""
    import numpy as np

    key = np.array([(ord("a") * BASE + ord("b")) * BASE], np.uint64) + salt(3)
    assert row(WordTrigrams(name="t", num_buckets=999), "ab")[1] == buckets(key, 999)[0] + 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Trigrams(name="t", vocabulary=("cats",)), "'t': vocabulary holds 'cats'"),
        (lambda: Trigrams(name="t", vocabulary=("cat",) * 2), "'t': vocabulary holds 'cat'"),
        (lambda: Trigrams(name="t").encode(pl.Series(["a"])), "'t': vocabulary is not known.*fit"),
        (lambda: Trigrams(name="t", max_tokens=0), "'t': max_tokens is 0"),
        (lambda: Trigrams(name="t", min_frequency=-1), "'t': min_frequency is -1"),
        (lambda: WordTrigrams(name="t", max_length=0), "'t': max_length is 0"),
    ],
)
def test_wrong_arguments_are_an_error(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_what_an_earlier_release_saved_is_read_or_refused():
    """HashedTrigrams once had a vocabulary: null where it hashed, which still loads; Trigrams has it now."""
    saved = HashedTrigrams(name="t", num_buckets=7).to_dict()
    assert feature_from_dict({**saved, "vocabulary": None}) == HashedTrigrams(name="t", num_buckets=7)
    with pytest.raises(UserError, match=r"'t': HashedTrigrams .*vocabulary"):
        feature_from_dict({**saved, "num_buckets": None, "vocabulary": ["cat"]})
