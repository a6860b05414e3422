"""Which rows are held out, and how they are ranked."""

from __future__ import annotations

import math
from typing import Any

from dssm_lightning.inspection.config_text import part
from dssm_lightning.inspection.profile import ColumnProfile
from dssm_lightning.inspection.rules.decisions import Decision
from dssm_lightning.inspection.rules.situation import Situation

ENOUGH = 2_000
"""Held-out events for intervals of about ± .02; of fewer queries, more rows of each are held out."""
MOST_OF_A_QUERY = 5
"""The last rows of a query that are held out, at most."""
SHARE_OF_A_QUERY = 0.1
"""And at most this share of its rows in the median."""
MANY_QUERIES, VALIDATION_OF_FEW, VALIDATION_OF_MANY = 10_000, 0.2, 0.1
"""The share of queries that are for validation alone, below a number of queries and above it."""
FEW_QUERIES = 1_500
"""With fewer queries that never come back, a fifth of them is held out instead of a tenth."""


def split_of(situation: Situation) -> tuple[dict[str, Any], Decision]:
    """Return the split, and why."""
    profile = situation.profile
    if profile.published_fold is not None:
        return _published(situation, profile.published_fold)
    if situation.task != "recommend" or not situation.queries_return:
        return _whole_queries(situation)
    if situation.has_time:
        count = held_out_of_each(profile.num_queries, _rows_of_a_query(situation))
        part_of = VALIDATION_OF_FEW if profile.num_queries < MANY_QUERIES else VALIDATION_OF_MANY
        shown = f"the last {count} events" if count > 1 else "the last event"
        why = (
            f"queries come back and times are known; {shown} of each: what comes next? {part_of:.0%} of the queries "
            "are for validation alone, so that the histories of the others end right before their test"
        )
        split = part("LeaveLastN", test=count, validation=count, validation_queries=part_of)
        return split, Decision("split", f"LeaveLastN, {count} of each", why)
    why = "queries come back and no time is known: a random tenth of the events of each"
    return part("PerQuery", test=0.1, validation=0.1), Decision("split", "PerQuery, a tenth + a tenth", why)


def _published(situation: Situation, name: str) -> tuple[dict[str, Any], Decision]:
    """Return the split that the data bring along; a tenth of its training is for validation if it names none."""
    tables = (situation.profile.interactions, situation.profile.queries)
    column = next(table.columns[name] for table in tables if table is not None and name in table.columns)
    cut = None if "validation" in column.examples else 0.1  # there are at most as many folds as examples
    by = None if situation.task == "recommend" and situation.queries_return else "queries"
    split = part("PublishedFold", column=name, validation=cut, by=None if cut is None else by)
    cut_why = "" if cut is None else "; a tenth of the training rows is for validation"
    return split, Decision("split", f"PublishedFold of {name!r}", f"the data bring it along{cut_why}")


def held_out_of_each(num_queries: int, rows_of_a_query: float) -> int:
    """Return how many of the last events of each query are held out, for the test and again for validation.

    Example:
        >>> held_out_of_each(100_000, 50), held_out_of_each(600, 100), held_out_of_each(600, 20)
        (1, 4, 2)
    """
    wanted = math.ceil(ENOUGH / max(1, num_queries))
    return max(1, min(wanted, MOST_OF_A_QUERY, int(SHARE_OF_A_QUERY * rows_of_a_query)))


def _rows_of_a_query(situation: Situation) -> float:
    profile = situation.profile
    return profile.pairs_per_query / max(0.05, profile.feedback.share_liked)


def _whole_queries(situation: Situation) -> tuple[dict[str, Any], Decision]:
    """Return a split that holds out whole queries: all rows of one text together, where ids share texts."""
    size = 0.2 if situation.profile.num_queries < FEW_QUERIES else 0.1
    shown = "a fifth" if size == 0.2 else "a tenth"
    key = situation.profile.query_id
    texts = [column for column in situation.query_texts if column.name != key and _is_shared(column)]
    if texts:
        split = part("HashedQueries", test=size, validation=size, column=texts[0].name)
        why = "queries are new each time; the same text is held out under all of its ids"
        return split, Decision("split", f"HashedQueries of {texts[0].name!r}, {shown} + {shown}", why)
    why = "queries are new each time, as in a search; whole queries are held out"
    return part("RandomQueries", test=size, validation=size), Decision(
        "split", f"RandomQueries, {shown} + {shown}", why
    )


def _is_shared(column: ColumnProfile) -> bool:
    return 0 < column.distinct < column.rows - column.missing


def evaluation_of(situation: Situation, event_columns: bool) -> tuple[str, Decision]:
    """Return the protocol: by query, by event, or each query's own list.

    Args:
        situation: the data.
        event_columns: whether a feature of the query varies by event.
    """
    if situation.task == "rerank":
        why = (
            "each query has a list of its own, with liked and not liked candidates: the list is ranked, not the corpus"
        )
        return "listed", Decision("evaluate", "listed", why)
    if event_columns:
        return "event", Decision("evaluate", "event", "the time and what varies by event belong to the question")
    return "query", Decision("evaluate", "query", "one ranking of the whole corpus for each query")
