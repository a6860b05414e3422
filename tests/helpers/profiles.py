"""Profiles of made-up tables, for the rules that read them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dssm_lightning.inspection.profile import ColumnProfile, DataProfile, Feedback, TableProfile


def column(name: str, kind: Any, rows: int = 1_000, **facts: Any) -> ColumnProfile:
    """Return a column; a text has Latin words, anything else half as many values as rows."""
    usual: dict[str, Any] = {"distinct": rows // 2}
    if kind == "text":
        usual = {"distinct": rows, "language": "Latin", "mean_words": 5.0}
    return ColumnProfile(name=name, kind=kind, rows=rows, **{**usual, **facts})


def table(role: Any, rows: int, *columns: ColumnProfile) -> TableProfile:
    return TableProfile(role=role, path=f"{role}.csv", rows=rows, columns={each.name: each for each in columns})


def films(**changes: Any) -> DataProfile:
    """Ratings with times: 600 people, 1,682 films with titles."""
    events = table(
        "interactions",
        60_000,
        column("user", "category", 60_000, distinct=600),
        column("film", "category", 60_000, distinct=1_500),
        column("stars", "number", 60_000, distinct=5, is_whole=True),
        column("at", "time", 60_000),
    )
    titles = table(
        "candidates",
        1_682,
        column("film", "category", 1_682, distinct=1_682),
        column("title", "text", 1_682),
        column("year", "number", 1_682, distinct=70, missing=1, is_whole=True),
        column("genres", "categories", 1_682, distinct=19, separator="|"),
    )
    found = DataProfile(
        interactions=events,
        candidates=titles,
        query_id="user",
        candidate_id="film",
        time="at",
        feedback=Feedback(kind="ratings", column="stars", positive="stars >= 4", share_liked=0.55),
        num_queries=600,
        num_candidates=1_682,
        num_liked_candidates=1_400,
        num_pairs=33_000,
        num_negative_pairs=27_000,
        pairs_per_query=40,
        share_repeated_queries=1.0,
    )
    return replace(found, **changes)


def questions(pairs: int = 20_000, **changes: Any) -> DataProfile:
    """Questions, which are their own ids, and 11,000 answers."""
    found = DataProfile(
        interactions=table("interactions", pairs, column("question", "text", pairs), column("doc", "category", pairs)),
        candidates=table(
            "candidates",
            11_000,
            column("doc", "category", 11_000, distinct=11_000),
            column("text", "text", 11_000, mean_words=80.0),
            column("source", "category", 11_000, distinct=12),
        ),
        query_id="question",
        candidate_id="doc",
        num_queries=pairs,
        num_candidates=11_000,
        num_liked_candidates=min(pairs, 9_000),
        num_pairs=pairs,
        pairs_per_query=1,
        share_shared_texts=0.95,
    )
    return replace(found, **changes)


def lists() -> DataProfile:
    """Questions with their own sentences, right and wrong ones, in one table."""
    sentences = table(
        "interactions",
        9_000,
        column("question", "text", 9_000, distinct=1_000),
        column("sentence", "text", 9_000, distinct=8_500),
        column("right", "truth", 9_000, distinct=2),
    )
    return DataProfile(
        interactions=sentences,
        query_id="question",
        candidate_id="sentence",
        feedback=Feedback(kind="labels", column="right", share_liked=0.15),
        num_queries=1_000,
        num_candidates=8_500,
        num_liked_candidates=1_300,
        num_pairs=1_350,
        num_negative_pairs=7_650,
        pairs_per_query=1,
        share_repeated_queries=0.2,
        share_shared_texts=0.9,
    )


def files_of(found: DataProfile) -> dict[str, Any]:
    """Return the least that `Files` needs to know."""
    paths = {each.role: each.path for each in found.tables}
    return {**paths, "query_id": found.query_id, "candidate_id": found.candidate_id}
