"""Numbers of queries, candidates and pairs, and the rows that cannot be used."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from dssm_lightning.data.sources.positive_rows import PositiveRows
from dssm_lightning.inspection.profile import Feedback
from dssm_lightning.inspection.tables.keys import ids_of
from dssm_lightning.inspection.tables.loading import MOST_ROWS, Table
from dssm_lightning.utils.errors import UserError

_WORD = re.compile(r"\w+")
_TEXTS = 2_000


@dataclass
class Counts:
    """Numbers for a `DataProfile`, by its fields; notes; and what `Files(drop=…)` has to leave out."""

    numbers: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)
    liked: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Distinct liked pairs: the ids ``query`` and ``candidate`` as text."""


def count(
    events: Table, tables: Mapping[str, Table], keys: tuple[str, str], feedback: Feedback, corpus: int | None = None
) -> Counts:
    """Count what there is to learn from.

    Args:
        events: the interactions.
        tables: the tables of queries and candidates, by role, with the interactions' names of ids.
        keys: the columns of the ids.
        feedback: what is liked.
        corpus: number of candidates, if neither table has them all.

    Raises:
        UserError: no liked pair, one query or one candidate: nothing to learn.
    """
    found = Counts()
    pairs = _pairs(events, keys, feedback)
    if len(pairs) < events.rows:
        found.notes.append(f"ids are counted in the first {MOST_ROWS:,} of {events.rows:,} interactions")
    pairs = _without_missing(pairs, keys, found)
    own = {"queries": ("query", keys[0]), "candidates": ("candidate", keys[1])}
    for role, table in tables.items():
        side, key = own[role]
        pairs = _known(pairs, table, side, key, found)
    liked = pairs.filter(pl.col("liked")).select("query", "candidate").unique(maintain_order=True)
    rest = pairs.filter(~pl.col("liked")).select("query", "candidate").unique()
    twice = len(pairs) - pairs.select("query", "candidate").n_unique()
    both = rest.join(liked, on=["query", "candidate"], how="semi").height
    if twice:
        found.notes.append(f"{twice:,} of {len(pairs):,} interactions repeat a pair of query and candidate")
    if both:
        found.notes.append(f"{both:,} pairs are liked in one row and not in another; they count as liked")
    each = liked.group_by("query").len()["len"]
    size = corpus or _corpus(pairs, tables, keys[1])
    found.numbers = {
        "num_queries": len(each),
        "num_candidates": size,
        "num_liked_candidates": liked["candidate"].n_unique(),
        "num_pairs": len(liked),
        "num_negative_pairs": len(rest) - both,
        "pairs_per_query": float(str(each.median() or 0)),
        "share_repeated_queries": round(float(str((each > 1).mean() or 0)), 4),
    }
    found.liked = liked
    _require_something(events, found, size)
    never = size - int(found.numbers["num_liked_candidates"])
    if never > 0:
        found.notes.append(f"{never:,} of {size:,} candidates are never liked")
    return found


def _pairs(events: Table, keys: tuple[str, str], feedback: Feedback) -> pl.DataFrame:
    names = [*keys] if feedback.column is None else [*keys, feedback.column]
    frame = events.keyed(list(dict.fromkeys(names)))
    liked = pl.repeat(True, len(frame), eager=True)
    if feedback.column is not None and feedback.positive is not None:
        liked = _holds(frame, PositiveRows.parse(feedback.positive))
    elif feedback.kind == "labels" and feedback.column is not None:
        liked = _holds(frame, PositiveRows(feedback.column, ">=", 1.0))
    return pl.DataFrame({"query": ids_of(frame[keys[0]]), "candidate": ids_of(frame[keys[1]]), "liked": liked})


def _holds(frame: pl.DataFrame, rule: PositiveRows) -> pl.Series:
    """Return whether a comparison holds, null where there is no value."""
    column = frame[rule.column].cast(pl.String).str.strip_chars()
    if isinstance(rule.value, float):
        lowered = column.str.to_lowercase()
        column = column.set((lowered == "true").fill_null(False), "1").set((lowered == "false").fill_null(False), "0")
        filled = column.cast(pl.Float64, strict=False).fill_nan(None)
    else:
        filled = column.set((column == "").fill_null(False), None)
    known = filled.is_not_null()
    values = pl.DataFrame({rule.column: filled.filter(known)})
    found = pl.Series("liked", [None] * len(frame), dtype=pl.Boolean)
    return found.scatter(known.arg_true(), rule.of(values).cast(pl.Boolean))


def _without_missing(pairs: pl.DataFrame, keys: tuple[str, str], found: Counts) -> pl.DataFrame:
    kept = pairs.drop_nulls()
    if count_missing := len(pairs) - len(kept):
        found.drop.append("missing")
        needed = f"{keys[0]}, {keys[1]} or judgement" if pairs["liked"].null_count() else f"{keys[0]} or {keys[1]}"
        found.notes.append(f"{count_missing:,} of {len(pairs):,} interactions have no {needed} and are left out")
    return kept


def _known(pairs: pl.DataFrame, table: Table, side: str, key: str, found: Counts) -> pl.DataFrame:
    ids = ids_of(table.keyed([key])[key])
    if missing := ids.null_count():
        found.notes.append(f"{table.role}: {missing:,} rows have no {key} and are left out")
        found.drop.append("missing")
    distinct = ids.drop_nulls().unique()
    if repeated := len(ids) - missing - len(distinct):
        found.notes.append(
            f"{table.role}: {repeated:,} of {len(ids):,} rows repeat a {key}; the first row of each counts"
        )
        found.drop.append("repeated")
    kept = pairs.join(distinct.to_frame(side), on=side, how="semi", maintain_order="left")
    if unknown := len(pairs) - len(kept):
        example = pairs.join(distinct.to_frame(side), on=side, how="anti")[side][0]
        found.notes.append(
            f"{unknown:,} of {len(pairs):,} interactions name a {key} that {table.role} does not have, such as "
            f"{example!r}; they are left out"
        )
        found.drop.append("unknown")
    return kept


def _corpus(pairs: pl.DataFrame, tables: Mapping[str, Table], key: str) -> int:
    table = tables.get("candidates")
    return pairs["candidate"].n_unique() if table is None else ids_of(table.keyed([key])[key]).drop_nulls().n_unique()


def _require_something(events: Table, found: Counts, size: int) -> None:
    numbers = found.numbers
    for name, what, least in (
        ("num_pairs", "liked pair", 1),
        ("num_queries", "query with a liked candidate", 2),
        ("num_candidates", "candidate", 2),
    ):
        if numbers[name] < least:
            only = "no" if not numbers[name] else "only one"
            raise UserError(
                f"{events.shown}: there is {only} {what} in {events.rows:,} rows, so that there is nothing to learn; "
                "give more interactions, or name the columns by query_id and candidate_id"
            )


def shared_words(liked: pl.DataFrame, queries: Mapping[str, str], candidates: Mapping[str, str]) -> float:
    """Return the share of liked pairs whose two texts share a word; frequent words of candidates do not count.

    Args:
        liked: pairs of ids.
        queries: the text of each query, by its id.
        candidates: the text of each candidate.

    Example:
        >>> pairs = pl.DataFrame({"query": ["1", "2"], "candidate": ["a", "b"]})
        >>> shared_words(pairs, {"1": "red shoes", "2": "hat"}, {"a": "Shoes, red, 42", "b": "Straw cap"})
        0.5
    """
    pairs = [(queries.get(q), candidates.get(c)) for q, c in liked.head(_TEXTS).iter_rows()]
    texts = [(_words(q), _words(c)) for q, c in pairs if q and c]
    counts = Counter(word for _, words in texts for word in words)
    frequent = {word for word, each in counts.items() if len(texts) >= 50 and each > 0.25 * len(texts)}
    shared = sum(bool(q & c - frequent) for q, c in texts)
    return round(shared / len(texts), 4) if texts else 0.0


def _words(text: str) -> set[str]:
    found = set(_WORD.findall(text.lower()))
    wide = {sign for sign in text if "\u3040" <= sign <= "\u9fff"}
    return found | wide
