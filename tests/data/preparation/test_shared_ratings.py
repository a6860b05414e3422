"""Rows of one pair become one row, with a rating if any of them has one; lists need rows that are not liked."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers.shop import shop_data

from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import ByTime, PublishedFold, Split
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.objectives import shared_by_pairs
from dssm_lightning.data.tables.tables import RawTables, Tables, collapse
from dssm_lightning.utils.errors import UserError

ROWS = [  # visitor, item, event, stars, time
    (1, 7, "buy", None, 5.0),
    (1, 7, "view", 2.0, 1.0),
    (1, 7, "view", 4.0, 3.0),
    (1, 8, "view", 1.0, 9.0),
    (1, 8, "buy", 5.0, 2.0),
    (2, 7, "buy", None, 6.0),
    (2, 8, "view", 3.0, 7.0),
    (2, 8, "buy", None, 4.0),
    (2, 9, "view", None, 8.0),
]
LOG = pl.DataFrame(ROWS, schema=["visitor", "item", "event", "stars", "time"], orient="row")


def complete(label: str | None, time: str | None, log: pl.DataFrame = LOG) -> Tables:
    liked = log.with_columns(liked=(pl.col("event") == "buy").cast(pl.Int8))
    return RawTables(liked, None, None, ColumnRoles("visitor", "item", label=label, time=time)).resolve([], [])


def stars(tables: Tables) -> dict[tuple[int, int], float | None]:
    kept = collapse(shared_by_pairs(tables, "stars"))[0].interactions
    return {(visitor, item): value for visitor, item, value in kept.select("visitor", "item", "stars").rows()}


@pytest.mark.parametrize(
    ("label", "time", "expected"),
    [
        ("liked", "time", [4.0, 5.0, None, 3.0, None]),  # the kept purchase lacks one, or keeps its own
        (None, "time", [4.0, 1.0, None, 3.0, None]),  # the latest
        (None, None, [2.0, 1.0, None, 3.0, None]),  # the first that has one
        ("liked", None, [2.0, 5.0, None, 3.0, None]),
    ],
)
def test_the_rating_of_a_pair(label: str | None, time: str | None, expected: list[float | None]) -> None:
    pairs = [(1, 7), (1, 8), (2, 7), (2, 8), (2, 9)]
    assert stars(complete(label, time)) == dict(zip(pairs, expected, strict=True))


def test_without_a_rating_nothing_is_shared() -> None:
    tables = complete("liked", "time")
    assert shared_by_pairs(tables) is tables


def prepared(folder: Path, log: pl.DataFrame, split: Split, **changes: Any) -> list[tuple[float, bool]]:
    """The time of each row, and whether it has a rating."""
    source = Frames(log, query_id="visitor", candidate_id="item", time="time")
    changes = {"objectives": {"view": None, "buy": "event == buy"}, "rating": "stars", **changes}
    events = shop_data(folder, source=source, split=split, **changes).data.interactions
    assert events.rating is not None
    assert events.time is not None
    return [(t, not math.isnan(r)) for t, r in zip(events.time.tolist(), events.rating.tolist(), strict=True)]


def test_folds_share_no_ratings(tmp_path: Path) -> None:
    """A training row does not learn the rating that the test has; the row is left unrated."""
    fold = pl.when(pl.col("stars") == 3).then(pl.lit("test")).otherwise(pl.lit("train"))
    log = LOG.filter(pl.col("event").eq("buy") | pl.col("stars").is_in([3.0, 4.0])).with_columns(fold=fold)
    found = prepared(tmp_path, log, PublishedFold("fold"))
    assert (4.0, True) not in found
    assert (5.0, True) in found  # from the view at 3


def test_rows_that_a_split_leaves_out_share_nothing(tmp_path: Path) -> None:
    """The window before the last is tested: what comes later has not happened yet, a rating of time 10 neither."""
    late = pl.DataFrame([(2, 7, "view", 4.5, 10.0)], schema=LOG.schema, orient="row")
    kept = prepared(tmp_path, pl.concat([LOG, late]), ByTime(test=0.2, validation=0, folds=2, fold=0))
    assert (6.0, False) in kept
    assert (5.0, True) in kept


@pytest.mark.parametrize("name", ["seen", "a.b"])
def test_an_objective_of_every_row_leaves_no_lists(tmp_path: Path, name: str) -> None:
    message = rf"evaluate: listed .* objective '{name}' of objectives is null: .* give it a rule, leave it out"
    with pytest.raises(UserError, match=message):
        shop_data(tmp_path, evaluate="listed", objectives={"buy": "price > 0", name: None})
    shop_data(tmp_path, evaluate="listed", objectives={"buy": "price > 0"})
    shop_data(tmp_path, objectives={"buy": "price > 0", name: None})
