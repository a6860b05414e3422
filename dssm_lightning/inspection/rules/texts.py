"""How texts are read: words and letter trigrams, in tables that both sides share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dssm_lightning.inspection.config_text import part
from dssm_lightning.inspection.profile import ColumnProfile
from dssm_lightning.inspection.rules.columns import feature_name
from dssm_lightning.inspection.rules.decisions import ColumnUse, Decision, Declared, Side
from dssm_lightning.inspection.rules.situation import Situation
from dssm_lightning.inspection.rules.table_sizes import expected_trigrams, expected_words, is_wordwise, rows_for

SHORT = 3.0
"""Texts of fewer words on average, such as keywords: their sum is divided by the root of the number of its parts."""


MOST_WIDE_ROWS = 2**16
"""The limit of a table of 1,024 numbers a row."""


@dataclass(frozen=True)
class Reading:
    """One way to read a text: a kind of feature, with its table."""

    suffix: str
    class_path: str
    arguments: dict[str, Any]
    tied: str | None = None
    """The candidate feature whose table is read."""


def readings_of(columns: Sequence[ColumnProfile]) -> list[Reading]:
    """Return how texts that share tables are read."""
    words = expected_words(columns)
    if not all(is_wordwise(column) for column in columns) or len({column.language for column in columns}) > 1:
        rows = rows_for(3 * expected_trigrams(words))
        return [Reading("letters", "HashedNgrams", {"unit": "letters", "num_buckets": rows})]
    return [
        Reading("trigrams", "HashedTrigrams", {"num_buckets": rows_for(expected_trigrams(words))}),
        Reading("words", "HashedWords", {"num_buckets": rows_for(words)}),
    ]


def terms_of(columns: Sequence[ColumnProfile]) -> Reading:
    """Return words and letter trigrams in one table, for a start as BM25.

    A table of 1,024 numbers a row and Adam's moments of it take 800 MB at :data:`MOST_WIDE_ROWS` rows, in memory and in
    each checkpoint; therefore not more.
    """
    words = expected_words(columns)
    rows = min(MOST_WIDE_ROWS, rows_for(words + expected_trigrams(words)))
    return Reading("terms", "HashedTrigrams", {"max_word_n": 1, "num_buckets": rows})


def pooling_of(columns: Sequence[ColumnProfile]) -> str | None:
    """Return how the parts of a text are pooled; None = their mean."""
    return "sqrt" if all(column.mean_words < SHORT for column in columns) else None


def text_uses(
    situation: Situation, side: Side, readings: Sequence[Reading], encoder: dict[str, Any], only: str | None = None
) -> Iterator[ColumnUse]:
    """Yield what becomes of the texts of a side.

    Args:
        situation: the data.
        side: query or candidate.
        readings: the ways to read a text.
        encoder: of each reading.
        only: one of the columns; None = all.
    """
    for table, column in situation.columns(side):
        if column.kind != "text" or only not in (None, column.name):
            continue
        features = [_declared(column, side, reading, encoder) for reading in readings]
        use = " + ".join(dict.fromkeys(reading.class_path for reading in readings))
        yield ColumnUse(table=table.role, column=column.name, kind=column.kind, use=use, features=features)


def _declared(column: ColumnProfile, side: Side, reading: Reading, encoder: dict[str, Any]) -> Declared:
    empty = "allow" if column.missing else None
    feature = part(reading.class_path, column=column.name, **reading.arguments, on_empty=empty)
    name = f"{feature_name(column.name)}_{reading.suffix}"
    return Declared(side=side, name=name, feature=feature, encoder=encoder, tied=reading.tied)


def table_decision(readings: Sequence[Reading], shared: bool) -> Decision:
    """Return what the table of `init` shows of the readings."""
    sizes = ", ".join(f"{reading.suffix}: {reading.arguments['num_buckets']:,} rows" for reading in readings)
    why = "two rows or more for each distinct one that texts of this amount have"
    return Decision("texts", sizes, f"{why}; both sides share them" if shared else why)
