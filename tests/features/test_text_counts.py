"""Counts of texts by a loop, for each kind of text feature; vocabularies that a query takes from a candidate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers.small import small_data

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
    feature_from_dict,
)
from dssm_lightning.features.text import text_counts
from dssm_lightning.features.text.text_counts import TextCounts
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged

TEXTS = ["the cat", "Der Hund, der Hund", "the dog and the cat", None, "кот", "猫"]
KINDS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "HashedWords": (HashedWords, {"num_buckets": 50}),
    "HashedTrigrams": (HashedTrigrams, {"num_buckets": 40, "max_word_n": 1}),
    "HashedNgrams": (HashedNgrams, {"num_buckets": 40, "unit": "words", "max_n": 2}),
    "WordTrigrams": (WordTrigrams, {"num_buckets": 40}),
    "Words": (Words, {"max_tokens": 4}),
    "Trigrams": (Trigrams, {}),
    "Tokens": (Tokens, {"vocab_size": 40}),
}


@pytest.mark.parametrize("at_once", [2, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_counts_by_a_loop(kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_counts, "_AT_ONCE", at_once)
    make, options = KINDS[kind]
    feature: Feature = make(name="text", on_empty="allow", count_texts=True, **options).fit(pl.Series(TEXTS))
    assert isinstance(feature, TextCounts)
    column = feature.encode(pl.Series(TEXTS))
    assert isinstance(column, Ragged)
    expected = [0] * feature.cardinality  # type: ignore[attr-defined]
    for row in column.values.split(column.lengths.tolist()):
        for value in set(row.tolist()):
            expected[value] += 1
    assert feature.text_counts == tuple(expected)
    assert (feature.num_texts, feature.mean_length) == (len(TEXTS), len(column.values) / len(TEXTS))
    assert feature_from_dict(feature.to_dict()) == feature
    plain = make(name="text", on_empty="allow", **options).fit(pl.Series(TEXTS))
    assert plain.text_counts is None
    assert plain.encode(pl.Series(TEXTS)).values.tolist() == column.values.tolist()


def test_a_feature_without_ids_has_nothing_to_count() -> None:
    with pytest.raises(UserError, match=r"'text'.*count_texts.*BagOfWordsRandomProjection"):
        BagOfWordsRandomProjection(name="text", count_texts=True).fit(pl.Series(["a"]))


@pytest.mark.parametrize("kind", ["Words", "Trigrams", "Tokens"])
def test_a_query_takes_the_vocabulary_of_a_candidate(kind: str, tmp_path: Path) -> None:
    make, options = KINDS[kind]
    query = [make(name="asked", column="text", vocabulary_of="text", **options)]
    schemas = small_data(tmp_path, query=query, candidate=[make(name="text", **options)]).schemas
    field = make.vocabulary_field
    assert getattr(schemas.query["asked"], field) == getattr(schemas.candidate["text"], field)
    assert schemas.query["asked"].text_counts is None


@pytest.mark.parametrize(("name", "found"), [("nothing", "no candidate feature"), ("hashed", "is a HashedWords")])
def test_a_vocabulary_of_something_else_is_refused(name: str, found: str, tmp_path: Path) -> None:
    query = [Words(name="asked", column="text", vocabulary_of=name)]
    candidate = [HashedWords(name="hashed", column="text"), Words(name="text")]
    with pytest.raises(UserError, match=f"'asked'.*vocabulary_of.*{name}.*{found}.*text"):
        _ = small_data(tmp_path, query=query, candidate=candidate).schemas
