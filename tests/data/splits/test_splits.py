"""Splits: sizes of the folds, groups that stay together, order of time, equality on every machine, and messages."""

from __future__ import annotations

import os
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from dssm_lightning.data.interactions import LEFT_OUT, TEST, TRAIN, VALIDATION
from dssm_lightning.data.splits import (
    ByTime,
    HashedQueries,
    LeaveLastN,
    PerQuery,
    PublishedFold,
    RandomQueries,
    RandomRows,
    Split,
)
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.tables import Tables


def make_tables(
    query: list[int] | list[str], queries: dict[str, list[str]] | None = None, **columns: list[object]
) -> Tables:
    """Make tables with one interaction for each entry of ``query``; a column ``time`` is the time column."""
    interactions = pl.DataFrame({"query_id": query, "candidate_id": range(len(query)), **columns})
    ids = pl.DataFrame({"query_id": query}).unique(maintain_order=True)
    return Tables(
        interactions=interactions,
        queries=ids.with_columns(pl.Series(name, values) for name, values in (queries or {}).items()),
        candidates=interactions.select("candidate_id"),
        keys=ColumnRoles(time="time" if "time" in columns else None),
    )


def sizes(fold: np.ndarray) -> tuple[int, int, int]:
    """Count the rows of each fold."""
    train, validation, test = np.bincount(fold, minlength=3)
    return int(train), int(validation), int(test)


def test_random_rows_are_a_fraction_of_all_rows_and_a_function_of_the_seed() -> None:
    tables = make_tables([q % 7 for q in range(1000)])
    fold = RandomRows(0.2, 0.1).assign(tables)
    assert fold.dtype == np.int8
    assert sizes(fold) == (700, 100, 200)
    np.testing.assert_array_equal(fold, RandomRows(0.2, 0.1, seed=42).assign(tables))
    assert (fold != RandomRows(0.2, 0.1, seed=43).assign(tables)).any()


def test_the_draw_is_the_same_on_every_machine() -> None:
    """PCG64's raw stream and splitmix64. This may never change, because published numbers depend on it."""
    fold = RandomRows(0.2, 0.2).assign(make_tables([0] * 20))
    assert np.flatnonzero(fold == TEST).tolist() == [2, 11, 14, 16]
    assert np.flatnonzero(fold == VALIDATION).tolist() == [4, 8, 9, 18]


def test_a_fraction_is_not_rounded_below_its_decimal_value() -> None:
    assert 0.29 * 100 < 29
    assert sizes(RandomRows(0.29, 0.0).assign(make_tables([0] * 100))) == (71, 0, 29)


def test_random_queries_keep_a_query_whole() -> None:
    query = [q for q in range(100) for _ in range(q % 3 + 1)]
    fold = RandomQueries(0.2, 0.1).assign(make_tables(query))
    folds = pl.DataFrame({"query": query, "fold": fold}).group_by("query").agg(pl.col("fold").unique())
    assert folds["fold"].list.len().max() == 1
    assert sizes(folds["fold"].list.first().to_numpy()) == (70, 10, 20)


def test_random_queries_do_not_depend_on_the_order_of_the_rows() -> None:
    names = [f"q{i:02}" for i in range(50)]
    split = RandomQueries(0.2, 0.2)
    ascending, descending = split.assign(make_tables(names)), split.assign(make_tables(names[::-1]))
    np.testing.assert_array_equal(ascending, descending[::-1])


def test_random_queries_among_those_with_a_tag() -> None:
    names = [f"q{i:02}" for i in range(40)]
    kinds = ["tag" if i % 4 else "label" for i in range(40)]
    per_query = make_tables(names, queries={"kind": kinds})
    fold = RandomQueries(0.1, 0.1, among={"kind": "tag"}).assign(per_query)
    assert sizes(fold) == (34, 3, 3)  # of thirty
    assert {kinds[i] for i in np.flatnonzero(fold)} == {"tag"}

    per_event = make_tables([0, 0, 1, 1, 2], kind=["tag", "label", "tag", "tag", "label"])
    assert (
        RandomQueries(0.9, 0.0, among={"kind": "tag"}).assign(make_tables([1] * 2 + [2] * 10, kind=["tag"] * 12)).any()
    )
    with pytest.raises(
        ValueError, match="RandomQueries leaves no test rows"
    ):  # 0.9 of one query, the only one with tags alone
        RandomQueries(0.9, 0.0, among={"kind": "tag"}).assign(per_event)


def test_the_fold_of_a_hashed_query_depends_on_its_hash_only() -> None:
    names = [f"q{i:04}" for i in range(4000)]
    fold = HashedQueries(0.2, 0.1).assign(make_tables(names))
    _, validation, test = sizes(fold)
    assert abs(test - 800) < 4 * (4000 * 0.2 * 0.8) ** 0.5  # four standard deviations of a binomial
    assert abs(validation - 400) < 4 * (4000 * 0.1 * 0.9) ** 0.5
    np.testing.assert_array_equal(HashedQueries(0.2, 0.1).assign(make_tables(names[::3])), fold[::3])
    assert (HashedQueries(0.2, 0.1, seed=7).assign(make_tables(names)) != fold).any()
    assert np.flatnonzero(fold[:30] == TEST).tolist() == [3, 17, 19, 20, 22]  # may never change


def test_queries_of_one_value_are_held_out_together() -> None:
    names = [f"{lang}:{i:02}" for lang in ("de", "en") for i in range(60)]
    texts = {"text": [name[3:] for name in names], "kind": ["label" if name == "de:07" else "tag" for name in names]}
    split = HashedQueries(0.3, 0.2, column="text", among={"kind": "tag"})
    fold = split.assign(make_tables(names, queries=texts))
    np.testing.assert_array_equal(fold[:60], fold[60:])
    assert fold[67] == TRAIN  # a label in another language keeps the text of 07 in training
    only_english = make_tables(names[60:], queries={name: values[60:] for name, values in texts.items()})
    again = split.assign(only_english)
    assert again[7] == HashedQueries(0.3, 0.2, column="text").assign(only_english)[7]
    np.testing.assert_array_equal(np.delete(again, 7), np.delete(fold[60:], 7))


def recbole(n: int, test: float, validation: float) -> tuple[int, int, int]:
    """RecBole's rule for one user: round all parts but the first down, then take rows for parts that are empty."""
    ratios = [1 - test - validation, validation, test]
    count = [int(ratio * n + 1e-6) for ratio in ratios]
    count[0] = n - count[1] - count[2]
    for part in (2, 1):
        if count[0] > 1 and 0 < ratios[part] * n < 1:
            count[part] += 1
            count[0] -= 1
    return count[0], count[1], count[2]


@pytest.mark.parametrize(("test", "validation"), [(0.1, 0.1), (0.2, 0.0), (0.3, 0.25)])
def test_per_query_rounds_as_recbole(test: float, validation: float) -> None:
    query = [n for n in range(1, 60) for _ in range(n)]  # query n has n rows
    shuffled = np.random.default_rng(0).permutation(query).tolist()
    fold = PerQuery(test, validation).assign(make_tables(shuffled))
    for n in range(1, 60):
        assert sizes(fold[np.asarray(shuffled) == n]) == recbole(n, test, validation), n


def test_per_query_takes_every_row_as_often() -> None:
    tables = make_tables([q for q in range(2000) for _ in range(10)])
    fold = PerQuery(0.1, 0.1).assign(tables).reshape(2000, 10)
    held_out = (fold == TEST).sum(0)
    assert held_out.sum() == 2000
    assert (abs(held_out - 200) < 5 * np.sqrt(200)).all()


def test_leave_last_n_by_time() -> None:
    #                  a: 3 rows in disorder, b: equal times, c: two rows, d: one
    tables = make_tables(
        ["a", "a", "a", "b", "b", "b", "c", "c", "d"], time=[3.0, 1.0, 2.0, 5.0, 5.0, 5.0, 9.0, 8.0, 1.0]
    )
    fold = LeaveLastN().assign(tables)
    assert fold.tolist() == [TEST, TRAIN, VALIDATION, TRAIN, VALIDATION, TEST, TEST, TRAIN, TRAIN]
    assert LeaveLastN(2, 0).assign(tables).tolist() == [TEST, TRAIN, TEST, TRAIN, TEST, TEST, TEST, TRAIN, TRAIN]


def test_times_may_be_datetimes() -> None:
    times: list[object] = [datetime(2020, 1, day) for day in (3, 1, 2)]
    assert LeaveLastN().assign(make_tables([0, 0, 0], time=times)).tolist() == [TEST, TRAIN, VALIDATION]
    assert ByTime(0.34, 0.34).assign(make_tables([0, 1, 2], time=times)).tolist() == [TEST, TRAIN, VALIDATION]


def test_by_time_never_cuts_through_equal_times() -> None:
    times: list[object] = [1, 2, 3, 4, 4, 4, 7, 8, 9, 9]
    fold = ByTime(0.1, 0.4).assign(make_tables(list(range(10)), time=times))
    assert fold.tolist() == [TRAIN] * 3 + [VALIDATION] * 5 + [TEST] * 2


def test_published_folds_are_taken_as_they_are() -> None:
    tables = make_tables([0, 0, 1, 2], fold=["train", "test", "validation", "train"])
    assert PublishedFold("fold").assign(tables).tolist() == [TRAIN, TEST, VALIDATION, TRAIN]
    per_query = make_tables(["a", "b", "a"], queries={"fold": ["test", "train"]})
    assert PublishedFold("fold").assign(per_query).tolist() == [TEST, TRAIN, TEST]


def test_published_fold_cuts_validation_from_training() -> None:
    query = [q for q in range(50) for _ in range(4)]
    published = ["test" if i % 5 == 0 else "train" for i in range(200)]
    tables = make_tables(query, fold=list(published))
    rows, queries = PublishedFold("fold", 0.1).assign(tables), PublishedFold("fold", 0.1, by="queries").assign(tables)
    is_test = np.asarray(published) == "test"
    assert sizes(rows) == (144, 16, 40)
    for fold in (rows, queries):
        np.testing.assert_array_equal(fold == TEST, is_test)
    validating = set(np.asarray(query)[queries == VALIDATION])
    assert len(validating) == 5
    assert not validating & set(np.asarray(query)[queries == TRAIN])


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (RandomRows(0.1, 0.0), r"RandomRows .*no test rows \(train 4, validation 0, test 0\)"),
        (RandomRows(0.25, 0.1), r"RandomRows .*no validation rows \(train 3, validation 0, test 1\)"),
        (RandomQueries(0.2, 0.0), "RandomQueries .*no test rows"),
        (HashedQueries(column="kin"), "HashedQueries: .*'kin'; .*query_id, candidate_id.*'kind'"),
        (RandomQueries(among={"kin": "a"}), "RandomQueries: .*'kin'; .*query_id, .*time; .*query_id, side.*'kind'"),
        (RandomQueries(among={"kind": "c"}), "RandomQueries: among .*'kind' = 'c'; .*'a', 'b'"),
        (LeaveLastN(validation=3), "LeaveLastN .*no validation rows"),
        (ByTime(0.5, 0.1), r"ByTime .*no train rows \(train 0, validation 0, test 4\)"),
        (PublishedFold("fold"), "PublishedFold: .*'fold'"),
        (PublishedFold("kind"), "PublishedFold: column 'kind' has 'a', 'b'; .*'train' .*'test'"),
        (PublishedFold("side", 0.1), r"PublishedFold: validation is 0\.1, .*'side'"),
    ],
)
def test_the_error_of_an_impossible_split_names_the_cause(split: Split, message: str) -> None:
    tables = make_tables(
        [0, 0, 1, 1], queries={"side": ["train", "validation"]}, kind=["a", "a", "a", "b"], time=[7, 7, 7, 7]
    )
    with pytest.raises(ValueError, match=message):
        split.assign(tables)


def test_both_held_out_folds_may_be_empty_on_request() -> None:
    assert sizes(RandomRows(0.0, 0.0).assign(make_tables([0, 1]))) == (2, 0, 0)


def test_queries_for_validation_alone_leave_the_history_of_the_others_whole() -> None:
    tables = make_tables([q % 50 for q in range(500)], time=[*range(500)])
    fold = LeaveLastN(2, 3, validation_queries=0.2).assign(tables)
    by_query = fold.reshape(10, 50).T  # (50, 10), each query's rows in order of time
    validated = (by_query == VALIDATION).any(1)
    assert validated.sum() == 10
    assert (by_query[validated] == [TRAIN] * 7 + [VALIDATION] * 3).all()
    assert (by_query[~validated] == [TRAIN] * 8 + [TEST] * 2).all()
    again = LeaveLastN(2, 3, validation_queries=0.2, seed=43).assign(tables)
    assert not np.array_equal(fold, again)
    with pytest.raises(ValueError, match=r"LeaveLastN: validation_queries is 1\.5"):
        LeaveLastN(validation_queries=1.5)


@pytest.mark.parametrize("split", [LeaveLastN(), ByTime()])
def test_a_time_that_is_missing_is_named(split: Split) -> None:
    with pytest.raises(ValueError, match=f"{type(split).__name__} .*time, .*interactions has query_id"):
        split.assign(make_tables([0, 1]))
    with pytest.raises(ValueError, match=f"{type(split).__name__}: .*'time' is missing in 2 of 3 rows"):
        split.assign(make_tables([0, 1, 1], time=[1.0, None, float("nan")]))


@pytest.mark.parametrize("split", [RandomRows, RandomQueries, PerQuery, ByTime])
def test_impossible_fractions_are_named(split: type[RandomRows]) -> None:
    with pytest.raises(ValueError, match=rf"{split.__name__}: test is 1\.0"):
        split(test=1.0)
    with pytest.raises(ValueError, match=rf"{split.__name__}: validation is -0\.1"):
        split(validation=-0.1)
    with pytest.raises(ValueError, match=rf"{split.__name__}: test 0\.5 \+ validation 0\.5"):
        split(test=0.5, validation=0.5)


def test_other_impossible_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="LeaveLastN: test is -1"):
        LeaveLastN(test=-1)
    with pytest.raises(ValueError, match=r"PublishedFold: by is 'users'; .*rows, queries"):
        PublishedFold("fold", by="users")  # a user may write it in YAML


@pytest.mark.skipif("DSSM_DATA" not in os.environ, reason="DSSM_DATA is not set: no MovieLens here")
def test_movielens_100k_eight_to_one_to_one() -> None:
    path = Path(os.environ["DSSM_DATA"]) / "ml-100k" / "u.data"
    query = pl.read_csv(path, separator="\t", has_header=False)["column_1"].to_list()
    fold = PerQuery(0.1, 0.1).assign(make_tables(query))
    expected = np.sum([recbole(n, 0.1, 0.1) for n in np.bincount(query)[1:]], axis=0)
    assert sizes(fold) == tuple(expected)


# -- rolling evaluation ------------------------------------------------------------------------------------------------


def windows(tables: Tables, **settings: Any) -> list[np.ndarray]:
    return [ByTime(**settings, folds=3, fold=fold).assign(tables) for fold in range(3)]


def test_the_windows_follow_each_other_and_the_last_one_ends_with_the_data() -> None:
    time = [int(number) for number in np.random.default_rng(3).permutation(103)]
    tables = make_tables([0] * 103, time=time)
    folds = windows(tables, test=0.2, validation=0.1)
    when = np.array(time)
    tested = [when[fold == TEST] for fold in folds]
    assert [len(each) for each in tested] == [20, 20, 20]
    assert sorted(np.concatenate(tested)) == list(range(43, 103))
    for fold in folds:
        order = [when[fold == code] for code in (TRAIN, VALIDATION, TEST, LEFT_OUT)]
        assert all(len(earlier) == 0 or earlier.max() < later.min() for earlier, later in pairwise(order) if len(later))
        assert len(order[1]) == 10
    np.testing.assert_array_equal(folds[2], ByTime(0.2, 0.1).assign(tables))
    np.testing.assert_array_equal(folds[2], ByTime(0.2, 0.1, folds=3).assign(tables))


def test_windows_never_cut_through_equal_times() -> None:
    tables = make_tables([0] * 60, time=[number // 7 for number in range(60)])
    for fold in windows(tables, test=0.2, validation=0.2):
        for moment in range(9):
            assert len(set(fold[moment * 7 : moment * 7 + 7])) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 3, "fold": 3}, r"fold is 3.*folds is 3.*0 to 2"),
        ({"folds": 3, "fold": -1}, "fold is -1"),
        ({"folds": 0}, "folds is 0"),
        ({"folds": 2.5}, r"folds is 2\.5"),
        ({"folds": 9}, r"9 folds of test 0\.1 and validation 0\.1 leave no rows"),
        ({"folds": 2, "test": 0.0}, "folds is 2, but test is 0"),
    ],
)
def test_impossible_windows_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"ByTime: {message}"):
        ByTime(**settings)
