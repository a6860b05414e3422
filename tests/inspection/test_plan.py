"""The config of a plan: what the rules choose for films, questions, lists and others, and that it can be built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.profiles import column, files_of, films, lists, questions, table

from dssm_lightning.api import load_data, load_untrained
from dssm_lightning.inspection.config_text import plain
from dssm_lightning.inspection.plan import Plan, make_plan
from dssm_lightning.inspection.profile import DataProfile, Feedback
from dssm_lightning.utils.errors import UserError


def plan_of(found: DataProfile) -> Plan:
    return make_plan(found, files_of(found))


def settings(found: DataProfile) -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load(plan_of(found).text())
    return made


def features(found: DataProfile, side: str) -> dict[str, str]:
    return {each["init_args"]["name"]: each["class_path"] for each in settings(found)["data"][side]}


@pytest.mark.parametrize("found", [films(), films(time=None), questions(), questions(300), lists()])
def test_the_text_says_what_the_plan_decided_and_builds(found: DataProfile, tmp_path: Path) -> None:
    plan = plan_of(found)
    made = yaml.safe_load(plan.text(plan.head("my.yaml")))
    assert made == plain(plan.settings)
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(made))
    data = load_data([path])
    assert data.recipe.query.names == [each["init_args"]["name"] for each in made["data"]["query"]]
    load_untrained([path])


def test_films_are_recommended_from_histories_and_the_time_of_the_event() -> None:
    made = settings(films())
    assert features(films(), "query") == {
        "history": "History",
        "recent": "History",
        "event_time": "Bucketized",
        "rated_low": "History",
    }
    assert features(films(), "candidate") == {
        "film": "Categorical",
        "title_words": "HashedWords",
        "year": "Bucketized",
        "genres": "CategoricalList",
        "film_code": "Categorical",
    }
    assert made["data"]["split"]["class_path"] == "LeaveLastN"
    assert made["data"]["evaluate"] == "event"
    assert made["checkpoint"] == {"monitor": "val/ndcg@10", "patience": 3}
    assert made["data"]["source"]["init_args"]["display"] == ["title"]


def test_without_times_a_part_of_each_query_is_held_out_and_nothing_is_recent() -> None:
    made = settings(films(time=None))
    assert made["data"]["split"]["class_path"] == "PerQuery"
    assert made["data"]["evaluate"] == "query"
    assert set(features(films(time=None), "query")) == {"history", "rated_low"}


@pytest.mark.parametrize(
    ("found", "folds", "arguments"),
    [
        (films(), ["train", "test"], {"validation": 0.1}),
        (questions(), ["train", "test"], {"validation": 0.1, "by": "queries"}),
        (questions(), ["train", "test", "validation"], {}),
    ],
)
def test_folds_that_the_data_bring_along_are_the_split(
    found: DataProfile, folds: list[str], arguments: dict[str, Any]
) -> None:
    events = found.interactions
    part_of = column("part", "category", events.rows, distinct=len(folds), examples=folds)
    found = replace(
        found, interactions=replace(events, columns={**events.columns, "part": part_of}), published_fold="part"
    )
    expected = {"class_path": "PublishedFold", "init_args": {"column": "part", **arguments}}
    assert settings(found)["data"]["split"] == expected


def test_only_what_was_rated_low_is_pushed_down() -> None:
    shown = films(feedback=Feedback(kind="labels", column="stars", share_liked=0.5))
    assert "rated_low" not in features(shown, "query")
    assert "rated_low" not in features(films(feedback=Feedback(kind="likes")), "query")


def test_texts_of_both_sides_share_tables() -> None:
    model = settings(questions())["model"]
    assert model["tied_embeddings"] == {"question_trigrams": "text_trigrams", "question_words": "text_words"}
    data = settings(questions())["data"]
    rows = {
        each["init_args"]["name"]: each["init_args"].get("num_buckets") for each in data["query"] + data["candidate"]
    }
    assert rows["question_words"] == rows["text_words"]
    assert rows["question_trigrams"] == rows["text_trigrams"]
    assert features(questions(), "candidate")["source"] == "Categorical"
    widths = {
        encoder["init_args"]["output_dim"]
        for side in ("query_tower", "candidate_tower")
        for encoder in model[side]["init_args"]["encoders"].values()
    }
    assert len(widths) == 1, "a sum needs encodings of one width"


def test_texts_without_blanks_between_words_and_of_two_languages_are_read_by_letters() -> None:
    asked = table("interactions", 900, column("question", "text", 900, language="Han"), column("doc", "category", 900))
    assert features(questions(900, interactions=asked), "query") == {"question_letters": "HashedNgrams"}


def test_candidates_that_are_hardly_ever_liked_are_known_by_their_content() -> None:
    rare = films(num_candidates=50_000, num_pairs=40_000, num_liked_candidates=9_000, feedback=Feedback(kind="likes"))
    assert "film" not in features(rare, "candidate")
    history = settings(rare)["data"]["query"][0]["init_args"]
    assert history["of"] == "candidate"
    assert "bias" not in settings(rare)["model"]["candidate_tower"]["init_args"]
    some = replace(rare, num_pairs=150_000)
    encoder = settings(some)["model"]["candidate_tower"]["init_args"]["encoders"]["film"]
    assert encoder["init_args"]["id_dropout"] == 0.5


def test_names_that_a_module_cannot_have_and_names_of_both_sides() -> None:
    people = table(
        "queries",
        600,
        column("user", "category", 600),
        column("train", "category", 600, distinct=9),
        column("year", "number", 600),
    )
    items = table(
        "candidates",
        1_682,
        column("items", "category", 1_682),
        column("a.b", "number", 1_682),
        column("year", "number", 1_682, distinct=9, is_whole=True),
    )
    found = films(queries=people, candidates=items, candidate_id="items")
    query, candidate = features(found, "query"), features(found, "candidate")
    assert not set(query) & set(candidate)
    assert not {"train", "items", "a.b"} & {*query, *candidate}
    named = {each["init_args"]["name"] for each in settings(found)["data"]["candidate"]}
    assert settings(found)["data"]["query"][0]["init_args"]["of"] in named


def test_a_feature_reads_its_column_whatever_its_name_becomes(tmp_path: Path) -> None:
    names = ["year", "size (cm)", "it's: #1", "a/b", "a b", "a.b", "history", "recent", "event_time", "rated_low"]
    names += ["film_code", "title_words", "title_trigrams", "items"]
    own = {side: [column(name, "category", 600, distinct=9) for name in names] for side in ("queries", "candidates")}
    people = table("queries", 600, column("user", "category", 600), *own["queries"])
    titles = [column("film", "category", 1_682), column("title", "text", 1_682)]
    found = films(queries=people, candidates=table("candidates", 1_682, *titles, *own["candidates"]))
    made = settings(found)["data"]
    arguments = {side: [each["init_args"] for each in made[side]] for side in ("query", "candidate")}
    every = [each["name"] for side in arguments.values() for each in side]
    assert len(set(every)) == len(every)
    for side, given in arguments.items():
        read = [each.get("column", each["name"]) for each in given if "of" not in each]
        assert set(names) <= set(read) <= {*names, "user", "film", "title", "at"}, side
    shown = next(each for each in arguments["query"] if each.get("events") == "shown")
    code = next(each for each in arguments["candidate"] if each["name"] == shown["of"])
    assert code["column"] == "film"
    path = tmp_path / "my.yaml"
    path.write_text(plan_of(found).text())
    load_untrained([path])


def test_nothing_known_of_a_query_is_refused() -> None:
    once = films(pairs_per_query=1, share_repeated_queries=0.0)
    with pytest.raises(UserError, match=r"'user'.*table of queries"):
        plan_of(once)


def test_columns_that_tell_nothing_are_left_out_and_shown() -> None:
    people = table(
        "queries",
        600,
        column("user", "category", 600),
        column("sku", "category", 600, distinct=590),
        column("nothing", "empty", 600),
        column("one", "constant", 600),
        column("hole", "number", 600, missing=599),
        column("town", "category", 600, distinct=40),
    )
    uses = {use.column: use.use for use in plan_of(films(queries=people)).uses}
    assert all(uses[name].startswith("left out: ") for name in ("sku", "nothing", "one", "hole"))
    assert uses["town"] == "Categorical"


def test_ten_thousand_columns_become_thirty_features() -> None:
    many = [column(f"c{n}", "number", 600) for n in range(10_000)]
    found = films(queries=table("queries", 600, column("user", "category", 600), *many))
    assert len(settings(found)["data"]["query"]) == 30 + 4


def test_what_says_what_is_liked_and_what_varies_by_event_is_no_feature() -> None:
    plan = plan_of(films())
    assert not {"stars", "at", "user", "film"} & {use.column for use in plan.uses}
    event = column("seconds", "number")
    assert "event" in plan.part_of("interactions", event)
    assert plan.part_of("interactions", column("stars", "number")) == "says what is liked"


@pytest.mark.parametrize(("pairs", "drawn"), [(300, True), (3_000, True), (20_000, False)])
def test_few_pairs_of_texts_draw_negatives(pairs: int, drawn: bool) -> None:
    assert ("negatives" in settings(questions(pairs))["data"]) == drawn


def test_lists_are_ranked_and_learn_from_what_was_shown() -> None:
    made = settings(lists())
    assert made["data"]["evaluate"] == "listed"
    assert made["data"]["negatives"]["class_path"] == "FromShown"


def test_few_pairs_begin_as_bm25_and_each_text_of_a_candidate_has_a_table() -> None:
    pages = table(
        "candidates",
        5_000,
        column("doc", "category", 5_000),
        column("title", "text", 5_000, mean_words=2.0),
        column("body", "text", 5_000, mean_words=50.0),
        column("source", "category", 5_000, distinct=9),
    )
    made = settings(questions(800, candidates=pages))
    model = made["model"]
    assert model["tied_embeddings"] == {
        "question_in_title_terms": "title_terms",
        "question_in_body_terms": "body_terms",
    }
    encoders = model["candidate_tower"]["init_args"]["encoders"]
    assert {each["class_path"] for each in encoders.values()} == {"TermBag"}
    assert all(each["init_args"]["count_texts"] for each in made["data"]["candidate"])
    assert model["candidate_tower"]["init_args"]["normalize"] is False
    assert list(settings(questions(800))["model"]["tied_embeddings"]) == ["question_terms"]


def test_few_pairs_whose_words_do_not_meet_begin_from_scratch() -> None:
    assert "count_texts" not in plan_of(questions(800, share_shared_texts=0.0)).text()
