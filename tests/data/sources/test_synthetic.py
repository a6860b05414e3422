"""Synthetic: the same tables at every call; each column alone determines the topic well enough to learn."""

from __future__ import annotations

import io
import time

import numpy as np
import PIL.Image
import polars as pl
import pytest
from numpy.typing import NDArray
from polars.testing import assert_frame_equal

from dssm_lightning.data.sources import Synthetic
from dssm_lightning.data.tables.tables import Tables, collapse

COLUMNS = ["group", "tags", "size", "text", "picture", "vector", "created"]


def make_tables(source: Synthetic) -> Tables:
    return source.tables().resolve([*COLUMNS, "query_id", "device"], [*COLUMNS, "candidate_id"])


def test_sizes_and_columns() -> None:
    tables = make_tables(Synthetic(num_queries=50, num_candidates=120, likes=4))
    assert (len(tables.queries), len(tables.candidates), len(tables.interactions)) == (50, 120, 200)
    assert tables.queries.columns == ["query_id", *COLUMNS]
    assert tables.candidates.columns == ["candidate_id", *COLUMNS]
    assert tables.interactions["candidate_id"].n_unique() > 60
    assert collapse(tables)[1] == 0


def test_the_same_arguments_give_the_same_tables() -> None:
    one, two, other = (Synthetic(seed=seed).tables() for seed in (1, 1, 2))
    assert_frame_equal(one.interactions, two.interactions)
    assert one.queries is not None
    assert two.queries is not None
    assert_frame_equal(one.queries, two.queries)
    assert not one.interactions.equals(other.interactions)
    assert Synthetic(seed=1).fingerprint() == Synthetic(seed=1).fingerprint() != Synthetic(seed=2).fingerprint()


def test_events_of_a_query_have_distinct_times_and_device_varies() -> None:
    interactions = Synthetic().tables().interactions
    assert not interactions.select("query_id", "time").is_duplicated().any()
    by_query = interactions.group_by("query_id").agg(pl.col("device").n_unique(), pl.col("weight").min())
    assert (by_query["device"] > 1).mean() > 0.9  # type: ignore[operator]  # the mean of a non-empty column
    assert by_query["weight"].min() >= 0.5  # type: ignore[operator]  # the minimum of a non-empty column


def test_labels_are_of_other_topics() -> None:
    tables = make_tables(Synthetic(labels=True, weights=True))
    assert (tables.keys.label, tables.keys.weight) == ("label", "weight")
    topic = hidden_topics(tables)
    shown = tables.interactions.with_columns(same=pl.Series(topic[0] == topic[1]))
    assert shown.filter(pl.col("label") == 1)["same"].all()
    assert not shown.filter(pl.col("label") == 0)["same"].any()
    assert shown["label"].sum() == len(shown) // 2
    assert collapse(tables)[1] == 0


def test_negatives_are_of_other_topics() -> None:
    tables = make_tables(Synthetic())
    topic_of = dict(zip(tables.candidates["candidate_id"], words_of(tables.candidates), strict=True))
    liked = tables.interactions["candidate_id"].to_list()
    for candidate, negatives in zip(liked, tables.interactions["negatives"].to_list(), strict=True):
        assert len(negatives) == 4
        assert topic_of[candidate] not in [topic_of[negative] for negative in negatives]


def test_pictures_are_files_that_pillow_can_read() -> None:
    candidates = make_tables(Synthetic()).candidates
    picture = PIL.Image.open(io.BytesIO(candidates["picture"][0]))
    assert (picture.size, picture.mode) == ((8, 8), "RGB")
    picture.load()


@pytest.mark.parametrize("column", ["size", "vector", "picture", "created"])
def test_a_column_alone_finds_the_topic(column: str) -> None:
    """The candidates nearest to a query's first positives contain its last positive."""
    tables = make_tables(Synthetic())
    values = numbers(tables.candidates[column])
    row = {name: number for number, name in enumerate(tables.candidates["candidate_id"])}
    hits = []
    for liked in tables.interactions.group_by("query_id").agg("candidate_id")["candidate_id"].to_list():
        rows = [row[each] for each in liked]
        distance = ((values - values[rows[:-1]].mean(0)) ** 2).sum(1)
        distance[rows[:-1]] = np.inf
        hits.append(rows[-1] in np.argsort(distance)[:10])
    assert np.mean(hits) > 0.7  # by chance 10 of 295


def test_both_sides_use_the_same_words() -> None:
    tables = make_tables(Synthetic())
    query, candidate = hidden_topics(tables)
    assert (query == candidate).all()


def test_it_is_fast() -> None:
    Synthetic().tables()
    began = time.perf_counter()
    Synthetic().tables()
    assert time.perf_counter() - began < 1  # 0.05 s; a loaded machine may take longer


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_queries": 0}, "Synthetic: num_queries is 0; .*1"),
        ({"num_candidates": 19}, "Synthetic: num_candidates is 19; .*20"),
        ({"likes": 11}, "Synthetic: likes is 11; .*10"),
        ({"num_candidates": 6_010}, "Synthetic: num_candidates is 6010; .*6009"),
    ],
)
def test_impossible_sizes(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Synthetic(**arguments)  # type: ignore[arg-type]  # all of them are ints


# -- hidden topics --------------------------------------------------------------------------------------------------


def words_of(table: pl.DataFrame) -> NDArray[np.str_]:
    """Return the words of each row in alphabetical order: the six words of its topic."""
    return np.array([" ".join(sorted([*t, *w.split()])) for t, w in zip(table["tags"], table["text"], strict=True)])


def hidden_topics(tables: Tables) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """Return the topics of the query and of the candidate of each interaction."""
    query = dict(zip(tables.queries["query_id"], words_of(tables.queries), strict=True))
    candidate = dict(zip(tables.candidates["candidate_id"], words_of(tables.candidates), strict=True))
    pairs = tables.interactions.select("query_id", "candidate_id").rows()
    return np.array([query[q] for q, _ in pairs]), np.array([candidate[c] for _, c in pairs])


def numbers(column: pl.Series) -> NDArray[np.float64]:
    """Return a column as standardised numbers (N, ·)."""
    if column.dtype == pl.Binary:
        rows = [np.asarray(PIL.Image.open(io.BytesIO(each))).ravel() for each in column]
    else:
        rows = (column.dt.epoch("d") if column.dtype.is_temporal() else column).to_list()
    values: NDArray[np.float64] = np.asarray(rows, dtype=np.float64).reshape(len(column), -1)
    values -= values.mean(0)
    values /= values.std(0)
    return values
