"""Words that letter trigrams confuse, and trigrams that share a row of the table."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias, TypeGuard

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dssm_lightning.features import Feature, HashedTrigrams, Trigrams, WordTrigrams
from dssm_lightning.features.text.trigrams import trigram_keys
from dssm_lightning.features.text.words_and_letters import word_strings
from dssm_lightning.utils.hashing import GOLDEN, HashKeys, mix64_
from dssm_lightning.utils.ragged import Ragged, spans

TrigramFeature: TypeAlias = HashedTrigrams | Trigrams | WordTrigrams


class Collisions(NamedTuple):
    """Collisions of one feature of letter trigrams on the distinct words of its column.

    Example:
        >>> found = count_collisions("query", HashedTrigrams(name="text"), pl.Series(["abxabyab abyabxab cat"]))
        >>> found.words, found.trigrams, found.same_trigrams
        (3, 11, [['abxabyab', 'abyabxab']])
    """

    side: str
    feature: str
    words: int
    trigrams: int  # distinct trigrams
    rows: int  # rows of the table
    trigrams_sharing: int  # distinct trigrams whose row belongs to another trigram, too
    same_trigrams: list[list[str]]  # groups of words with the same bag of trigrams: the DSSM paper's collisions
    same_rows: list[list[str]]  # groups of words with the same bag of rows, but different trigrams


def reads_trigrams(feature: Feature) -> TypeGuard[TrigramFeature]:
    """Return whether a feature reads letter trigrams.

    Example:
        >>> reads_trigrams(HashedTrigrams(name="text"))
        True
    """
    return isinstance(feature, TrigramFeature)


def count_collisions(side: str, feature: TrigramFeature, texts: pl.Series) -> Collisions:
    """Count the collisions of a fitted feature on the distinct words of raw texts (B,)."""
    words = word_strings(texts.cast(pl.String))[0].unique().sort()
    keys, lengths = trigram_keys(words)
    encoded = feature.encode(words)
    assert isinstance(encoded, Ragged)
    values = encoded.values.numpy().astype(np.uint64)
    bags = {"trigrams": _bag_hashes(keys, lengths), "rows": _bag_hashes(values, encoded.lengths.numpy())}
    table = pl.DataFrame({"word": words, **bags})
    # the first ids of a word are those of its trigrams
    first, _ = spans(encoded.offsets[:-1], encoded.lengths.new_tensor(lengths))
    pairs = pl.DataFrame({"key": keys, "row": values[first.numpy()]}).unique()
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


def _bag_hashes(values: HashKeys, lengths: NDArray[np.int64]) -> HashKeys:
    """Return (W,) a hash of each word's bag of values, independent of their order."""
    hashes = mix64_(values + np.uint64(GOLDEN))  # mix64_ maps 0 to 0: GOLDEN is added before
    total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashes)])
    ends = np.cumsum(lengths)
    sums: HashKeys = total[ends] - total[ends - lengths]
    return sums


def _groups(table: pl.DataFrame, key: str, distinct: pl.Expr) -> list[list[str]]:
    """Return the words of each key with more than one distinct value, in alphabetical order."""
    several = table.group_by(key).agg("word", distinct.alias("distinct")).filter(pl.col("distinct") > 1)
    groups: list[list[str]] = several.select(pl.col("word").list.sort()).sort("word")["word"].to_list()
    return groups
