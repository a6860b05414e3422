"""Objectives and ratings from the tables to the batches: rules, repeated pairs, folds, caches, and bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from helpers.shop import OBJECTIVES, shop_data, shop_log

from dssm_lightning.data.interactions import TEST, VALIDATION
from dssm_lightning.data.preparation import cache
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import PublishedFold, RandomRows
from dssm_lightning.data.splits.with_validation import WithValidation
from dssm_lightning.data.tables.objectives import NOT_FREE
from dssm_lightning.evaluation.evaluator import SEEN_KEPT
from dssm_lightning.evaluation.metrics.slices import SLICES
from dssm_lightning.features import Categorical, Numeric
from dssm_lightning.features.schema import Schemas
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.seeding import Counter


def rows_of(log: pl.DataFrame, folder: Path, **changes: Any) -> list[tuple[Any, ...]]:
    """Visitor, item, label, click, buy of each prepared row."""
    data = shop_data(folder, log, **changes).data
    events = data.interactions
    assert events.objectives is not None
    labels = [1.0] * len(events.query) if events.label is None else events.label.tolist()
    visitors, items = data.queries["visitor"].to_list(), data.candidates["item"].to_list()
    return [
        (visitors[q], items[c], label, *several)
        for q, c, label, several in zip(
            events.query.tolist(), events.candidate.tolist(), labels, events.objectives.tolist(), strict=True
        )
    ]


LOG = pl.DataFrame(
    {
        "visitor": [1, 1, 1, 2, 2, 2, 3, 3],
        "item": [7, 8, 9, 7, 8, 9, 7, 8],
        "clicked": [1, 1, 0, 1, 0, 0, 1, 1],
        "price": [0, 5, 0, 0, 3, 0, 2, 0],
        "fold": ["train"] * 6 + ["test"] * 2,
    }
)
SPLIT = PublishedFold("fold")


def test_a_row_is_liked_if_it_is_a_positive_of_any_objective(tmp_path: Path) -> None:
    found = rows_of(LOG, tmp_path, split=SPLIT)
    assert found[:3] == [(1, 7, 1.0, True, False), (1, 8, 1.0, True, True), (1, 9, 0.0, False, False)]
    assert found[4] == (2, 8, 1.0, False, True)  # bought without a click


def test_an_objective_of_every_row_likes_every_row(tmp_path: Path) -> None:
    data = shop_data(tmp_path, LOG, split=SPLIT, objectives={"seen": None, "buy": "price > 0"})
    assert data.data.interactions.label is None
    assert not data.labelled
    assert data.data.objectives == ("seen", "buy")
    assert data.data.interactions.objectives[:2].tolist() == [[True, False], [True, True]]  # type: ignore[index]


@pytest.mark.parametrize(
    ("column", "rule"),
    [
        (pl.Series("what", ["yes", "no"] * 4), "what == yes"),
        (pl.Series("what", ["1", "0"] * 4), "what"),
        (pl.Series("what", [True, False] * 4), "what"),
        (pl.Series("what", [1.0, 0.0] * 4), "what"),
        (pl.Series("what", [7, -1] * 4), "what >= 0"),
        (pl.Series("how > much", [1, 0] * 4), "how > much"),
    ],
    ids=str,
)
def test_rules(tmp_path: Path, column: pl.Series, rule: str) -> None:
    found = rows_of(LOG.with_columns(column), tmp_path, split=SPLIT, objectives={"x": rule})
    assert [row[3] for row in found] == [True, False] * 4


def test_events_of_one_pair_are_one_row_with_all_of_its_objectives(tmp_path: Path) -> None:
    """A log has a row for the view, the click and the purchase; the latest liked row of the pair stays."""
    log = pl.DataFrame(
        {
            "visitor": [1, 1, 1, 1, 2, 2],
            "item": [7, 7, 7, 8, 7, 8],
            "event": ["buy", "click", "view", "click", "view", "click"],
            "time": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        }
    )
    source = Frames(log, query_id="visitor", candidate_id="item", time="time")
    several: dict[str, Any] = {"click": "event == click", "buy": "event == buy"}
    data = shop_data(tmp_path, source=source, objectives=several, split=RandomRows(test=0.3, validation=0)).data
    events = data.interactions
    assert events.objectives is not None
    assert events.label is not None
    assert events.time is not None
    found = list(zip(events.time.tolist(), events.label.tolist(), events.objectives.tolist(), strict=True))
    assert found == [
        (2.0, 1.0, [True, True]),
        (4.0, 1.0, [True, False]),
        (5.0, 0.0, [False, False]),
        (6.0, 1.0, [True, False]),
    ]


@pytest.mark.parametrize("refit", [False, True])
def test_a_training_row_does_not_learn_from_a_purchase_of_the_test(tmp_path: Path, refit: bool) -> None:
    """Of two rows of one pair without times the first stays, with what its own published fold knows."""
    bought = LOG.select("visitor", "item", clicked=pl.lit(0), price=pl.lit(9), fold=pl.lit("test"))
    log = pl.concat([LOG, bought.head(1)], how="vertical_relaxed")
    found = rows_of(log, tmp_path, split=WithValidation(SPLIT) if refit else SPLIT)
    assert found[0] == (1, 7, 1.0, True, False)
    again = pl.concat([LOG, bought.head(1).with_columns(fold=pl.lit("train"))], how="vertical_relaxed")
    assert rows_of(again, tmp_path, split=SPLIT)[0] == (1, 7, 1.0, True, True)


def test_a_batch_has_the_objectives_and_ratings_of_its_rows(tmp_path: Path) -> None:
    data = shop_data(tmp_path, rating="stars")
    interactions, rows = data.data.interactions, torch.tensor([3, 0, 11])
    batch = data.assembler.batch(rows, Counter(0))
    assert batch.objectives is not None
    assert batch.rating is not None
    assert list(batch.objectives) == ["click", "buy"]
    assert torch.stack(list(batch.objectives.values()), 1).equal(interactions.objectives[rows].float())  # type: ignore[index]
    torch.testing.assert_close(batch.rating, interactions.rating[rows], equal_nan=True)  # type: ignore[index]
    plain = shop_data(tmp_path, objectives=None).assembler.batch(rows, Counter(0))
    assert (plain.objectives, plain.rating) == (None, None)


def test_ratings_are_in_standard_deviations_of_the_training_rows(tmp_path: Path) -> None:
    log = LOG.with_columns(stars=pl.Series([2.0, 4, None, 3, 1, 5, 50, None]))
    rating = shop_data(tmp_path, log, split=SPLIT, rating="stars").data.interactions.rating
    assert rating is not None
    deviation = 2**0.5
    expected = torch.tensor([-1.0, 1, torch.nan, 0, -2, 2, 47, torch.nan]) / deviation
    torch.testing.assert_close(rating, expected, equal_nan=True)


def test_a_rating_needs_no_objective(tmp_path: Path) -> None:
    source = Frames(shop_log(), query_id="visitor", candidate_id="item", label="clicked")
    data = shop_data(tmp_path, source=source, objectives=None, rating="stars")
    assert data.labelled
    assert data.data.interactions.rating is not None


def test_each_declaration_has_a_cache_and_plain_data_keep_theirs(tmp_path: Path) -> None:
    plain = shop_data(tmp_path, objectives=None)
    others = [{}, {"objectives": {"buy": "clicked", "click": "price > 0"}}, {"rating": "stars"}]
    folders = {plain.prepare(), *(shop_data(tmp_path, **each).prepare() for each in others)}  # type: ignore[arg-type]
    assert len(folders) == 4
    recipe = plain.recipe
    split = f"RandomRows{sorted(vars(recipe.split).items())}"
    named = (recipe.source.fingerprint(), Schemas(recipe.query, recipe.candidate).to_json(), split, "None")
    assert plain.prepare().name == cache.fingerprint(*named)  # as before there were objectives


@pytest.mark.parametrize("evaluate", ["query", "event", "listed"])
@pytest.mark.parametrize("rank", ["corpus", "held_out"])
def test_evaluation_batches_have_the_objectives_of_their_relevant_candidates(
    tmp_path: Path, evaluate: Any, rank: Any
) -> None:
    data = shop_data(tmp_path, evaluate=evaluate, rank=rank)
    interactions = data.data.interactions
    assert interactions.objectives is not None
    pairs = zip(interactions.query.tolist(), interactions.candidate.tolist(), strict=True)
    expected = dict(zip(pairs, interactions.objectives.tolist(), strict=True))
    for fold in (VALIDATION, TEST):
        ranking = data.ranking(fold)
        corpus = torch.arange(data.num_candidates) if ranking.rows is None else ranking.rows
        total = 0
        for batch in data.evaluation_batches(fold):
            assert batch.objectives is not None
            queries = batch.query_row[batch.relevant.rows].tolist()
            candidates = corpus[batch.relevant.values.long()].tolist()
            found = [expected[pair] for pair in zip(queries, candidates, strict=True)]
            assert batch.objectives.tolist() == found
            total += len(found)
        assert total == len(interactions.rows(fold, label=1))


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objectives": {"click": "clicked_"}}, "'clicked_': no such column.*did you mean 'clicked'"),
        ({"objectives": {"click": "clicked_ > 0"}}, "objective 'click' .*'clicked_'.*no such column"),
        ({"objectives": {"click": "price"}}, r"column 'price' must hold 1 and 0, found 9\.5"),
        ({"objectives": {"click": "stars"}}, "column 'stars' must hold 1 and 0"),
        ({"objectives": {"all": "visitor >= 0"}}, "objective 'all': 'visitor >= 0' is 1 in all 1,200 .*write null"),
        ({"objectives": {"none": "price > 99"}}, "objective 'none': 'price > 99' is 0 in all 1,200"),
        ({"objectives": {"click": "clicked >"}}, "objective 'click' is 'clicked >'"),
        ({"objectives": {"a/b": "clicked"}}, "named 'a/b'"),
        ({"objectives": {"": "clicked"}}, "named ''"),
        ({"objectives": {"head": "clicked"}}, "named 'head'"),
        ({"objectives": {"width_8": "clicked"}}, "named 'width_8'"),
        ({"objectives": {"click": 3}}, "objective 'click' of objectives is 3"),
        ({"objectives": {"click": " "}}, "objective 'click' of objectives is ' '"),
        ({"rating": "starz"}, "'starz': no such column.*did you mean 'stars'"),
        (
            {"query": [Categorical(name="visitor"), Numeric(name="stars")], "rating": "stars"},
            "'stars' holds the answer",
        ),
        ({"query": [Numeric(name="price")]}, "'price' holds the answer of objective 'buy'"),
    ],
    ids=str,
)
def test_refused_before_anything_is_encoded(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shop_data(tmp_path, **changes).prepare()
    assert not list(tmp_path.glob("*/schema.json"))


@pytest.mark.parametrize("reserved", [*SLICES, SEEN_KEPT.rstrip("/")])
def test_no_metric_has_two_meanings(reserved: str) -> None:
    assert reserved in NOT_FREE


@pytest.mark.parametrize("name", ["objective click", "any objective"])
def test_a_column_of_the_same_name_is_not_replaced(tmp_path: Path, name: str) -> None:
    """A feature that reads it would read the answer."""
    with pytest.raises(UserError, match=f"a column '{name}'.*rename it"):
        shop_data(tmp_path, shop_log().with_columns(pl.lit(7).alias(name))).prepare()


def test_a_label_and_objectives_exclude_each_other(tmp_path: Path) -> None:
    source = Frames(shop_log(), query_id="visitor", candidate_id="item", label="clicked")
    with pytest.raises(ValueError, match="objectives names click, buy, and the source has the label 'clicked'"):
        shop_data(tmp_path, source=source).prepare()


@pytest.mark.parametrize(
    ("stars", "message"),
    [
        ([3.0] * 8, "is 3 in all 8 rows"),
        ([None] * 8, "has no value"),
        ([float("inf"), *[1.0] * 7], "1 of 8 ratings are infinite, first in row 0"),
        (["good"] * 8, "'good'"),
        ([2.0] * 6 + [1.0, 3.0], "6 values in the training rows, all of them equal"),
    ],
    ids=str,
)
def test_ratings_that_teach_nothing(tmp_path: Path, stars: list[Any], message: str) -> None:
    log = LOG.with_columns(pl.Series("stars", stars))
    with pytest.raises(ValueError, match=message):
        shop_data(tmp_path, log, split=SPLIT, rating="stars").prepare()


def test_an_objective_without_training_rows(tmp_path: Path) -> None:
    log = LOG.with_columns(late=(pl.col("fold") == "test").cast(int))
    with pytest.raises(ValueError, match="objective late: none of the 6 training rows"):
        shop_data(tmp_path, log, split=SPLIT, objectives={**OBJECTIVES, "late": "late"}).prepare()
