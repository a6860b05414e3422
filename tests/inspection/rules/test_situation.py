"""Which task the data ask for, and which columns belong to which side."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.profiles import column, films, lists, questions, table

from dssm_lightning.inspection.profile import DataProfile
from dssm_lightning.inspection.rules.situation import Situation


def names(found: DataProfile, side: str) -> list[str]:
    return [each.name for _, each in Situation(found).columns("query" if side == "query" else "candidate")]


@pytest.mark.parametrize(
    ("found", "task"),
    [
        (films(), "recommend"),
        (films(time=None), "recommend"),
        (questions(), "search"),
        (questions(300), "search"),
        (lists(), "rerank"),
    ],
)
def test_the_task(found: DataProfile, task: str) -> None:
    assert Situation(found).task == task


def test_judged_pairs_of_a_corpus_with_a_table_of_its_own_are_a_search() -> None:
    judged = replace(lists(), candidates=table("candidates", 8_500, column("sentence", "text", 8_500)))
    assert Situation(judged).task == "search"


def test_users_with_a_text_about_themselves_are_no_searches() -> None:
    people = table("queries", 600, column("user", "category", 600), column("bio", "text", 600))
    assert Situation(films(queries=people, share_shared_texts=0.05)).task == "recommend"
    assert Situation(films(queries=people, share_shared_texts=0.6)).task == "search"


def test_queries_in_another_language_are_searches_if_they_do_not_come_back() -> None:
    assert Situation(questions(share_shared_texts=0.0)).task == "search"


def test_the_columns_of_a_side_have_no_part_of_their_own() -> None:
    assert names(films(), "candidate") == ["title", "year", "genres"]
    assert names(films(), "query") == []
    assert names(questions(), "query") == ["question"]
    assert names(lists(), "query") == ["question"]
    assert names(lists(), "candidate") == ["sentence"]


def test_a_flat_table_has_columns_of_both_sides_and_of_the_event() -> None:
    flat = table(
        "interactions",
        900,
        column("person", "category", 900, distinct=900),
        column("plan", "category", 900, distinct=80),
        column("town", "category", 900, distinct=30, of="query"),
        column("price", "number", 900, of="candidate"),
        column("duration", "number", 900, of="event"),
    )
    found = DataProfile(interactions=flat, query_id="person", candidate_id="plan", num_pairs=900, num_queries=900)
    assert names(found, "query") == ["town"]
    assert names(found, "candidate") == ["price"]


def test_a_renamed_key_is_no_feature() -> None:
    renamed = table("candidates", 1_682, column("id", "category", 1_682), column("title", "text", 1_682))
    assert names(films(candidates=renamed, rename={"candidates.id": "film"}), "candidate") == ["title"]


def test_what_another_table_renames_stays_a_feature() -> None:
    people = table("queries", 600, column("user", "category", 600), column("age", "number", 600))
    found = films(queries=people, rename={"interactions.age": "event_age", "candidates.x.age": "film"})
    assert names(found, "query") == ["age"]


def test_a_published_fold_is_no_feature() -> None:
    people = table("queries", 600, column("user", "category", 600), column("split", "category", 600))
    assert names(films(queries=people, published_fold="split"), "query") == []


def test_a_time_that_is_sometimes_missing_orders_nothing() -> None:
    assert Situation(films()).has_time
    events = films().interactions
    gaps = {**events.columns, "at": replace(events.columns["at"], missing=3)}
    gapped = films(interactions=replace(events, columns=gaps))
    assert not Situation(gapped).has_time
    assert Situation(replace(gapped, drop=["missing"])).has_time  # the events without a time are left out


def test_keywords_are_texts_and_names_of_users_are_not() -> None:
    words = column("keyword", "category", 9_000, examples=["лицо", "радость"])
    signs = table("candidates", 1_900, column("sign", "category", 1_900), column("name", "text", 1_900))
    found = DataProfile(
        interactions=table("interactions", 9_000, words, column("sign", "category", 9_000)),
        candidates=signs,
        query_id="keyword",
        candidate_id="sign",
        num_queries=4_000,
        num_candidates=1_900,
        num_pairs=9_000,
        pairs_per_query=1,
        share_repeated_queries=0.4,
    )
    assert Situation(found).task == "search"
    assert [(each.name, each.language) for each in Situation(found).query_texts] == [("keyword", "Cyrillic")]
    assert Situation(replace(found, pairs_per_query=12.0)).task == "recommend"
    codes = table("interactions", 9_000, replace(words, examples=["u17", "u4"]), column("sign", "category", 9_000))
    assert Situation(replace(found, interactions=codes)).task == "recommend"
