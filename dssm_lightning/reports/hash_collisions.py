"""Words that letter trigrams cannot tell apart, and trigrams that share a row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dssm_lightning.features import Feature, HashedTrigrams, Trigrams, WordTrigrams
from dssm_lightning.features.text.text_feature import TextFeature
from dssm_lightning.features.text.trigrams import trigram_keys
from dssm_lightning.features.text.words_and_letters import normalised, word_strings
from dssm_lightning.utils.hashing import GOLDEN, HashKeys, mix64_
from dssm_lightning.utils.ragged import Ragged, spans


class Collisions(NamedTuple):
    """What one feature of letter trigrams does to the distinct words of its column."""

    side: str
    feature: str
    words: int
    trigrams: int  # distinct ones
    rows: int  # of the table
    trigrams_sharing: int  # distinct trigrams whose row is also another's
    same_trigrams: list[list[str]]  # groups of words with the same bag of trigrams: the collisions of the paper
    same_rows: list[list[str]]  # groups of words with the same bag of rows, whose trigrams differ


def reads_trigrams(feature: Feature) -> bool:
    return isinstance(feature, HashedTrigrams | Trigrams | WordTrigrams)


def count_collisions(side: str, feature: TextFeature, texts: pl.Series) -> Collisions:
    """What a fitted feature does to the distinct words of raw texts (B,)."""
    words = word_strings(normalised(texts.cast(pl.String)))[0].unique().sort()
    keys, lengths = trigram_keys(words)
    encoded = feature.encode(words)
    assert isinstance(encoded, Ragged)
    values = encoded.values.numpy().astype(np.uint64)
    table = pl.DataFrame(
        {
            "word": words,
            "trigrams": _bags(keys, lengths),
            "rows": _bags(values, encoded.lengths.numpy()),
        }
    )
    first, _ = spans(encoded.offsets[:-1], encoded.lengths.new_tensor(lengths))  # a word's first ids are its trigrams'
    pairs = pl.DataFrame({"key": keys, "row": values[first.numpy()]}).unique()
    assert hasattr(feature, "cardinality")
    return Collisions(
        side=side,
        feature=feature.name,
        words=len(words),
        trigrams=len(pairs),
        rows=feature.cardinality,
        trigrams_sharing=len(pairs.filter(pl.col("row").is_duplicated())),
        same_trigrams=_groups(table, "trigrams", pl.len()),
        same_rows=_groups(table, "rows", pl.col("trigrams").n_unique()),
    )


def _bags(values: HashKeys, lengths: NDArray[np.int64]) -> HashKeys:
    """(W,) a number for the bag of values of each word, whatever their order."""
    total = np.concatenate(
        [np.zeros(1, np.uint64), np.cumsum(mix64_(values + np.uint64(GOLDEN)))]
    )  # mix64 leaves 0 as it is
    ends = np.cumsum(lengths)
    sums: HashKeys = total[ends] - total[ends - lengths]
    return sums


def _groups(table: pl.DataFrame, key: str, distinct: pl.Expr) -> list[list[str]]:
    """The words of each key that stands for several things, by alphabet."""
    together = table.group_by(key).agg("word", distinct.alias("distinct")).filter(pl.col("distinct") > 1)
    groups: list[list[str]] = together.select(pl.col("word").list.sort()).sort("word")["word"].to_list()
    return groups
