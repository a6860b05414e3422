"""The command that tells what word hashing confuses: words with the same letter trigrams, and trigrams with one row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from dssm_lightning.batch import Ragged, spans
from dssm_lightning.features import Feature, HashedTrigrams, Trigrams, WordTrigrams
from dssm_lightning.features.hashing import GOLDEN, Keys, mix64
from dssm_lightning.features.letters import normalised, word_strings
from dssm_lightning.features.text_column import TextFeature
from dssm_lightning.features.trigrams import trigram_keys


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


def hashing_report(config: list[str], examples: int = 3) -> list[Collisions]:
    """Count the words that letter trigrams cannot tell apart, by feature.

    Args:
        config: configs, later ones over earlier ones, whose text features of letter trigrams are looked at.
        examples: how many groups of such words to print.

    Returns:
        what was found for each feature.
    """
    from dssm_lightning.settings import load_data

    data = load_data(config)
    tables = {"query": data.data.queries, "candidate": data.candidates}
    found = [
        count_collisions(side, feature, table[feature.source_column])
        for side, table in tables.items()
        for feature in getattr(data.schemas, side)
        if _reads_trigrams(feature) and feature.source_column in table.columns
    ]
    if not found:
        raise ValueError(
            f"{', '.join(config)}: no HashedTrigrams, Trigrams or WordTrigrams reads a column of queries or candidates"
        )
    _print(found, examples)
    return found


def _reads_trigrams(feature: Feature) -> bool:
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


def _bags(values: Keys, lengths: NDArray[np.int64]) -> Keys:
    """(W,) a number for the bag of values of each word, whatever their order."""
    total = np.concatenate(
        [np.zeros(1, np.uint64), np.cumsum(mix64(values + np.uint64(GOLDEN)))]
    )  # mix64 leaves 0 as it is
    ends = np.cumsum(lengths)
    sums: Keys = total[ends] - total[ends - lengths]
    return sums


def _groups(table: pl.DataFrame, key: str, distinct: pl.Expr) -> list[list[str]]:
    """The words of each key that stands for several things, by alphabet."""
    together = table.group_by(key).agg("word", distinct.alias("distinct")).filter(pl.col("distinct") > 1)
    groups: list[list[str]] = together.select(pl.col("word").list.sort()).sort("word")["word"].to_list()
    return groups


def _print(found: list[Collisions], examples: int) -> None:
    table = Table("feature", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for header in ("words", "trigrams", "rows", "sharing a row", "same trigrams", "same rows only"):
        table.add_column(header, justify="right")
    for each in found:
        kinds = (each.same_trigrams, each.same_rows)
        share = f"{each.trigrams_sharing:,} ({each.trigrams_sharing / max(each.trigrams, 1):.1%})"
        counts = [f"{count:,}" for count in (each.words, each.trigrams, each.rows)]
        table.add_row(f"{each.side} {each.feature}", *counts, share, *(f"{len(groups):,}" for groups in kinds))
    console = Console()
    console.print(table)
    print("sharing a row: trigrams; same trigrams, same rows only: groups of words that cannot be told apart")
    for each in found:
        for kind, groups in (("same trigrams", each.same_trigrams), ("same rows only", each.same_rows)):
            for group in groups[:examples]:
                console.print(f"{each.side} {each.feature}, {kind}: {', '.join(group)}", markup=False, highlight=False)
