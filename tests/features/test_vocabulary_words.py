"""Words of a vocabulary that is fitted or given; test_tokens.py has the tests that words share with tokens."""

from __future__ import annotations

import polars as pl
import pytest
import torch

from dssm_lightning.features.base import feature_from_dict
from dssm_lightning.features.text.vocabulary_words import Words
from dssm_lightning.utils.errors import UserError

TEXTS = pl.Series("text", ["The cat, the dog.", "A dog (1995)", "кот & cat", "dog"])


def rows(feature, texts):
    ids = feature.encode(pl.Series("text", texts, dtype=pl.String))
    assert ids.values.dtype == torch.int32
    return [part.tolist() for part in ids.values.tensor_split(ids.offsets[1:-1])]


def test_words_are_numbered_by_frequency_then_alphabet():
    fitted = Words(name="text").fit(TEXTS)
    assert fitted.vocabulary == ("dog", "cat", "the", "&", "1995", "a", "кот")
    assert fitted.cardinality == 8
    assert rows(fitted, ["THE dogs  dog", "Кот!"]) == [[3, 0, 1], [7]]


def test_max_tokens_keeps_the_most_frequent_and_max_length_the_first():
    fitted = Words(name="text", max_tokens=2, max_length=3).fit(TEXTS)
    assert fitted.vocabulary == ("dog", "cat")
    assert rows(fitted, ["the cat the dog", "dog", "cat dog cat dog cat"]) == [[0, 2, 0], [1], [2, 1, 2]]


def test_the_table_may_be_larger_than_the_words_need():
    texts = pl.Series(["a b c", "a b", "a"])
    feature = Words(name="w", max_tokens=2, num_embeddings=30).fit(texts)
    assert feature.cardinality == 30
    assert (
        feature.encode(texts).values.tolist() == Words(name="w", max_tokens=2).fit(texts).encode(texts).values.tolist()
    )
    assert feature_from_dict(feature.to_dict()) == feature
    with pytest.raises(UserError, match=r"'w': num_embeddings is 3, but 4 rows .*max_tokens"):
        Words(name="w", num_embeddings=3).fit(texts)


def test_the_order_of_the_texts_does_not_change_the_vocabulary():
    assert Words(name="text").fit(TEXTS).vocabulary == Words(name="text").fit(TEXTS.reverse()).vocabulary


def test_words_at_scale_equal_a_dictionary():
    texts = [f"w{i % 97} x{i % 31} é{i % 7} unseen" for i in range(2000)]
    fitted = Words(name="text").fit(pl.Series(texts).str.replace(" unseen", ""))
    known = {word: i + 1 for i, word in enumerate(fitted.vocabulary)}
    assert rows(fitted, texts) == [[known.get(word, 0) for word in text.split()] for text in texts]
    assert rows(fitted, texts[:1]) == rows(fitted, texts)[:1]


def test_a_given_vocabulary_is_kept_and_checked():
    given = Words(name="text", vocabulary=["dog", "c#"])
    assert given.fit(TEXTS).vocabulary == ("dog", "c#")
    assert rows(given, ["C# dog cat"]) == [[2, 1, 0]]
    assert Words(name="text", vocabulary=()).encode(TEXTS).values.tolist() == [0] * 11
    for word in ("New York", "Dog", "dog,", ""):
        with pytest.raises(UserError, match=f"'text': vocabulary holds '{word}'"):
            Words(name="text", vocabulary=("dog", word)).fit(TEXTS)
    with pytest.raises(UserError, match="'text': vocabulary holds 'dog'"):
        Words(name="text", vocabulary=("dog", "dog"))
