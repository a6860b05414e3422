"""Each rule speaks where its reason holds, and is silent otherwise; what it gives can be read as YAML."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import polars as pl
import pytest
import yaml
from helpers.run_records import CONFIG, HEALTHY, measured, record

from dssm_lightning.reports.html_report.advice import RULES, give_advice
from dssm_lightning.reports.html_report.evidence import Evidence
from dssm_lightning.reports.html_report.run_record import HYBRID

BM25, EASE, POPULARITY = "BM25(k1=1.2, b=0.75)", "EASE(l2=100.0)", "Popularity()"


def config(**model: Any) -> dict[str, Any]:
    changed = deepcopy(CONFIG)
    changed["model"] |= model
    return changed


def with_metrics(**metrics: float) -> Any:
    return measured(
        "this model", 0.5, **{name.replace("__", "/").replace("_at_", "@"): v for name, v in metrics.items()}
    )


def curve(*values: float) -> dict[str, list[tuple[int, float]]]:
    return {"val/mrr": list(enumerate(values, 1)), "train/negatives": [(1, 500.0)]}


QUIET = Evidence(record(config=config(tied_embeddings={"text": "title"})), [HEALTHY], 0.05, 0.8, "item_id")
LIKED_BY = "Describe candidates by their training queries"
CASES: dict[str, tuple[Evidence, str, str]] = {
    "measure_baselines": (
        QUIET._replace(record=record(baselines=[])),
        "Measure the baselines",
        "dssm_lightning baseline",
    ),
    "validate": (QUIET._replace(record=record(curves={})), "Hold out validation rows", "validation: 0.1"),
    "repair_collapse": (
        QUIET._replace(geometry=[HEALTHY._replace(cosine=0.95)]),
        "Repair the collapse",
        "logit_scale: 20",
    ),
    "beat_popularity": (
        QUIET._replace(record=record(baselines=[measured(POPULARITY, 0.5)])),
        "Find a learning rate that learns",
        "lr: 0.03",
    ),
    "fuse_with_text": (
        QUIET._replace(record=record(baselines=[measured(BM25, 0.45)])),
        "Try the fusion with BM25",
        "--hybrid_weight 0.2",
    ),
    "serve_the_fusion": (
        QUIET._replace(record=record(hybrid=measured(HYBRID, 0.55))),
        "Serve the fusion with BM25",
        "search --hybrid",
    ),
    "tie_tables": (
        QUIET._replace(record=record(baselines=[measured(BM25, 0.6)])),
        "Share the table of both sides' texts",
        "tied_embeddings: {text: title}",
    ),
    "add_histories": (
        QUIET._replace(record=record(baselines=[measured(EASE, 0.6)])),
        "Let the query know what it liked",
        "of: item_id",
    ),
    "stop_earlier": (
        QUIET._replace(record=record(curves=curve(0.3, 0.6, 0.5, 0.45, 0.4, 0.4))),
        "Stop earlier, or regularise",
        "monitor: val/mrr",
    ),
    "train_longer": (QUIET._replace(record=record(curves=curve(0.3, 0.4, 0.5))), "Train longer", "max_epochs: 5"),
    "more_negatives": (
        QUIET._replace(record=record(curves={**curve(0.5, 0.5), "train/negatives": [(1, 12.0)]})),
        "Use more negatives",
        "num_negatives: 1000",
    ),
    "rows_without_negatives": (
        QUIET._replace(record=record(curves={**curve(0.5, 0.5), "train/rows_without_negatives": [(2, 7.0)]})),
        "Give every row a negative",
        "Uniform",
    ),
    "free_the_scale": (
        QUIET._replace(record=record(curves={**curve(0.5, 0.5), "train/logit_scale": [(2, 100.0)]})),
        "Raise the limit of the scale",
        "max_logit_scale: 200",
    ),
    "help_cold_candidates": (
        QUIET._replace(
            record=record(
                model=with_metrics(hit_rate_at_10=0.6, cold_candidates__hit_rate_at_10=0.1, cold_candidates__queries=30)
            )
        ),
        "Give new candidates a voice",
        "output_dim: 16, id_dropout: 0.3",
    ),
    "correct_popularity": (
        QUIET._replace(
            record=record(
                model=with_metrics(head__mrr=0.2, tail__mrr=0.3), baselines=[measured(BM25, 0.2, **{"head/mrr": 0.5})]
            )
        ),
        "Correct for popularity",
        "repeats: count_log_q",
    ),
    "give_rare_candidates_room": (
        QUIET._replace(
            record=record(
                model=with_metrics(head__mrr=0.6, tail__mrr=0.1),
                config=config(loss={"class_path": "SampledSoftmax", "init_args": {"repeats": "inclusion"}}),
            )
        ),
        "Give rare candidates more room",
        "repeats: ignore",
    ),
    "add_liked_by": (QUIET, LIKED_BY, "of: text"),
    "mine_near_misses": (QUIET._replace(near_misses=0.4, found=0.5), "Mine hard negatives", "rank_range: [10, 60]"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_rule_speaks(case: str) -> None:
    evidence, title, how = CASES[case]
    found = {advice.title: advice for advice in give_advice(evidence)}
    assert title in found
    assert how in found[title].how
    assert len(found[title].reason) > 60


@pytest.mark.parametrize("case", CASES)
def test_what_it_gives_can_be_read(case: str) -> None:
    for advice in give_advice(CASES[case][0]):
        if advice.is_yaml:
            assert isinstance(yaml.safe_load(advice.how), dict)
            assert set(yaml.safe_load(advice.how)) <= {"data", "model", "trainer"}


@pytest.mark.parametrize("case", CASES)
def test_lists_are_added_to(case: str) -> None:
    """A second config replaces the lists of the first one, such as all features of the query, but for a ``+``."""
    for advice in give_advice(CASES[case][0]):
        sections = yaml.safe_load(advice.how).values() if advice.is_yaml else []
        for name, value in (item for section in sections for item in section.items()):
            assert name.endswith("+") == isinstance(value, list)


def test_what_is_no_id_is_not_taken_for_one() -> None:
    cold = CASES["help_cold_candidates"][0]._replace(candidate_id="sku")
    assert "Give new candidates a voice" not in {advice.title for advice in give_advice(cold)}
    neighbours = CASES["add_histories"][0]._replace(candidate_id="sku")
    assert "of: candidate," in next(a.how for a in give_advice(neighbours) if "liked" in a.title)


def test_buckets_of_numbers_are_no_texts() -> None:
    changed = deepcopy(CASES["tie_tables"][0].record.config)
    for side in ("query", "candidate"):
        changed["data"][side] = [{"class_path": "Bucketized", "init_args": {"name": side, "num_buckets": 10}}]
    changed["model"].pop("tied_embeddings", None)
    found = CASES["tie_tables"][0].record._replace(config=changed)
    titles = {advice.title for advice in give_advice(QUIET._replace(record=found))}
    assert not titles & {"Share the table of both sides' texts", LIKED_BY}


def test_a_scale_and_a_dropout_that_are_there_are_not_given_again() -> None:
    scaled = CASES["repair_collapse"][0].record._replace(config=config(scorer={"init_args": {"logit_scale": 20.0}}))
    collapsed = give_advice(CASES["repair_collapse"][0]._replace(record=scaled))
    assert "lr: 0.00333" in next(a.how for a in collapsed if "collapse" in a.title)
    dropped = CASES["stop_earlier"][0].record._replace(config=config(query_tower={"init_args": {"dropout": 0.4}}))
    peaked = give_advice(QUIET._replace(record=dropped))
    assert "dropout: 0.6" in next(a.how for a in peaked if "earlier" in a.title)


def test_a_healthy_run_hears_of_no_fault() -> None:
    assert {advice.title for advice in give_advice(QUIET)} == {LIKED_BY}


def test_every_rule_has_a_case() -> None:
    assert {rule.__name__ for rule in RULES} <= set(CASES)


def test_a_difference_that_may_be_chance_is_no_reason() -> None:
    noisy = measured(EASE, 0.5)
    assert noisy.rows is not None
    values = [value + (0.3 if number % 3 else -0.59) for number, value in enumerate(noisy.rows["mrr"])]
    noisy = noisy._replace(rows=noisy.rows.with_columns(pl.Series("mrr", values)), metrics={"mrr": 0.51})
    found = give_advice(QUIET._replace(record=record(baselines=[noisy])))
    assert "Let the query know what it liked" not in {advice.title for advice in found}


def test_few_cold_queries_say_nothing() -> None:
    model = with_metrics(hit_rate_at_10=0.6, cold_candidates__hit_rate_at_10=0.0, cold_candidates__queries=5)
    assert "Give new candidates a voice" not in {
        a.title for a in give_advice(QUIET._replace(record=record(model=model)))
    }


def test_a_run_of_which_nothing_is_known_gets_advice_without_an_error() -> None:
    bare = record(config={}, curves={}, model=None, baselines=[], checkpoint=None)
    assert {advice.title for advice in give_advice(Evidence(bare))} == {
        "Measure the baselines",
        "Hold out validation rows",
    }
