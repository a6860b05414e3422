"""The rows on which features are fitted, and the inputs on which a cache depends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from helpers.case_names import named
from helpers.small import small_data

from dssm_lightning import RetrievalDataModule
from dssm_lightning.data.interactions import TRAIN
from dssm_lightning.data.negatives import FromColumn
from dssm_lightning.data.preparation import cache
from dssm_lightning.data.preparation.prepare import prepare
from dssm_lightning.data.sources import Frames, Synthetic
from dssm_lightning.data.splits import PerQuery, PublishedFold, RandomQueries
from dssm_lightning.features import Bucketized, Categorical, History, Numeric, Words
from dssm_lightning.features.schema import Schemas
from dssm_lightning.utils.ragged import Ragged

EVENTS: dict[str, list[Any]] = {
    "query_id": ["p", "p", "q", "q", "r", "r"],
    "candidate_id": ["a", "b", "a", "c", "b", "d"],
    "fold": ["train", "train", "train", "test", "test", "test"],
    "device": ["x", "y", "x", "z", "z", "z"],
    "hour": [1, 2, 3, 4, 5, 6],
}
QUERIES: dict[str, list[Any]] = {"query_id": ["p", "q", "r"], "text": ["one two", "two", "three"], "age": [10, 20, 90]}
CANDIDATES: dict[str, list[Any]] = {
    "candidate_id": ["a", "b", "c", "d"],
    "name": ["ant", "bee", "cow", "dog"],
    "size": [1.0, 2.0, 3.0, 4.0],
}


def module(tmp_path: Path, **changes: Any) -> RetrievalDataModule:
    """Make a data module of the tables above; ``interactions``, ``queries`` and ``candidates`` replace them."""
    named = (("interactions", EVENTS), ("queries", QUERIES), ("candidates", CANDIDATES))
    tables = [pl.DataFrame(changes.pop(name, table)) for name, table in named]
    settings: dict[str, Any] = {
        "source": Frames(*tables, label=changes.pop("label", None), time=changes.pop("time", None)),
        "query": [
            Words(name="text"),
            Numeric(name="age"),
            Categorical(name="device"),
            Bucketized(name="hour", num_buckets=2),
        ],
        "candidate": [Categorical(name="candidate_id"), Words(name="name"), Numeric(name="size")],
        "split": PublishedFold("fold"),
        "evaluate": "event",
        "cache_dir": str(tmp_path),
    }
    return RetrievalDataModule(**(settings | changes))


def schemas(data: RetrievalDataModule) -> Schemas:
    data.prepare_data()
    data.setup()
    return data.schemas


def changed(table: dict[str, list[Any]], column: str, row: int, value: Any) -> dict[str, list[Any]]:
    return {**table, column: [*table[column][:row], value, *table[column][row + 1 :]]}


# -- fitting -----------------------------------------------------------------------------------------------------------


def test_query_features_learn_from_training_rows_only(tmp_path: Path) -> None:
    found = schemas(module(tmp_path)).query
    # training rows: p (twice), q; their texts, ages 10, 10, 20, devices x, y, x
    assert found["device"] == Categorical(name="device", vocabulary=("x", "y"))
    assert isinstance(age := found["age"], Numeric)
    assert age.mean == pytest.approx(40 / 3)
    assert isinstance(text := found["text"], Words)
    assert set(text.vocabulary or ()) == {"one", "two"}
    base = schemas(module(tmp_path))
    for table, column, row, value in (
        ("interactions", "device", 4, "fridge"),
        ("interactions", "hour", 5, 1000),
        ("queries", "text", 2, "another word"),
        ("queries", "age", 2, -7),
    ):
        raw = {"interactions": EVENTS, "queries": QUERIES}[table]
        assert schemas(module(tmp_path, **{table: changed(raw, column, row, value)})) == base, column
        assert schemas(module(tmp_path, **{table: changed(raw, column, 0, value)})) != base, column


def test_a_query_feature_weighs_queries_by_their_training_rows(tmp_path: Path) -> None:
    data = module(tmp_path, query=[Categorical(name="age", min_frequency=2)], evaluate="query")
    assert schemas(data).query["age"] == Categorical(name="age", min_frequency=2, vocabulary=("10",))


def test_candidate_features_learn_from_the_corpus(tmp_path: Path) -> None:
    found = schemas(module(tmp_path)).candidate
    assert isinstance(name := found["name"], Words)
    assert set(name.vocabulary or ()) == {"ant", "bee", "cow", "dog"}
    assert isinstance(size := found["size"], Numeric)
    assert size.mean == 2.5
    moved = changed(EVENTS, "candidate_id", 5, "c")  # r's test row names another candidate
    assert schemas(module(tmp_path, interactions=moved)).candidate == found


def test_candidates_without_a_training_interaction_share_the_unknown_row(tmp_path: Path) -> None:
    data = module(tmp_path)
    assert schemas(data).candidate["candidate_id"] == Categorical(name="candidate_id", vocabulary=("a", "b"))
    ids = data.data.candidate["candidate_id"]
    assert isinstance(ids, torch.Tensor)
    assert ids.tolist() == [1, 2, 0, 0]
    # also under another name; a candidate that was shown and never liked has no id, either
    labelled = module(
        tmp_path,
        interactions={**EVENTS, "label": [1, 0, 1, 1, 1, 1]},
        label="label",
        candidate=[Categorical(name="item", column="candidate_id")],
    )
    assert schemas(labelled).candidate["item"] == Categorical(name="item", column="candidate_id", vocabulary=("a",))


def test_unseen_values_are_served_as_unknown(tmp_path: Path) -> None:
    data = module(tmp_path)
    events = data.assembler.event_features(torch.tensor([3, 4]))
    assert isinstance(device := events["device"], torch.Tensor)
    assert device.tolist() == [0, 0]
    assert isinstance(text := events["text"], Ragged)
    known = data.schemas.query["text"].encode(pl.Series(["two", "three"]))
    assert isinstance(known, Ragged)
    assert torch.equal(text.values, known.values)


def test_columns_are_found_in_queries_or_in_interactions(tmp_path: Path) -> None:
    data = module(tmp_path)
    assert set(schemas(data).query.names) == {"text", "age", "device", "hour"}
    assert set(data.data.query) == {"text", "age"}
    assert set(data.data.event) == {"device", "hour"}
    batch = data.assembler.batch(torch.tensor([0, 1]), data.train_dataloader().place)
    assert list(batch.query) == ["text", "age", "device", "hour"]  # in the order of the declaration


def test_histories_take_the_candidate_feature(tmp_path: Path) -> None:
    history = History(name="history", of="candidate_id")
    found = schemas(module(tmp_path, query=[history], evaluate="query"))
    assert found.query["history"] == history.bind(found.candidate["candidate_id"])
    for of, message in (
        ("item_id", r"'history': .*'item_id'.*'candidate_id'"),
        ("size", r"'history': .*'size'.*Numeric"),
    ):
        with pytest.raises(ValueError, match=message):
            schemas(module(tmp_path, query=[History(name="history", of=of)]))


def test_repeated_pairs_collapse_and_are_counted(tmp_path: Path) -> None:
    again = {name: [*values, values[0], values[3]] for name, values in EVENTS.items()}
    data = module(tmp_path, interactions=again)
    assert schemas(data) == schemas(module(tmp_path))
    assert data.data.report == {
        "repeated interactions dropped": 2,
        "train interactions": 3,
        "validation interactions": 0,
        "test interactions": 3,
    }


# -- errors before anything is encoded ---------------------------------------------------------------------------------


def test_no_positive_left(tmp_path: Path) -> None:
    events = {**EVENTS, "label": [0, 0, 0, 1, 1, 1]}
    with pytest.raises(
        ValueError,
        match=r"no positive .*6 interactions, 3 .*label = 1",
    ):
        schemas(module(tmp_path, interactions=events, label="label"))
    assert not list(tmp_path.glob("*/*"))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("worse", r"negatives column 'worse': .*query_id, candidate_id, fold, device, hour"),
        ("device", "negatives column 'device' is String"),
        ("bad", r"negatives column 'bad' .*2 candidates .*\['e', 'f'\]"),
    ],
)
def test_invalid_columns_of_negatives(tmp_path: Path, column: str, message: str) -> None:
    events = {**EVENTS, "bad": [["a", "e"], ["f"], [], None, ["b"], ["c"]]}
    events = events if column == "bad" else EVENTS
    with pytest.raises(ValueError, match=message):
        schemas(module(tmp_path, interactions=events, negatives=FromColumn(column)))


def test_a_split_that_leaves_a_side_empty(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"RandomQueries .*no test rows \(train 6, validation 0, test 0\)"):
        schemas(module(tmp_path, split=RandomQueries(test=0.1, validation=0)))


# -- one cache for equal inputs ----------------------------------------------------------------------------------------


def test_the_same_inputs_find_the_same_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = small_data(tmp_path)
    schemas(first)
    monkeypatch.setattr(cache, "write", None)  # nothing is encoded again
    again = small_data(tmp_path)
    assert schemas(again) == first.schemas
    assert len(list(tmp_path.glob("*/schema.json"))) == 1
    assert (
        schemas(small_data(tmp_path, batch_size=7, mask_known=False)) == first.schemas
    )  # these settings change no row


@pytest.mark.parametrize(
    "changes",
    [
        {"source": Synthetic(num_queries=60, num_candidates=40, seed=1)},
        {"split": PerQuery(test=0.2, validation=0.2, seed=1)},
        {"split": RandomQueries(test=0.2, validation=0.2)},
        {"query": [Categorical(name="group")]},
        {"query": [Categorical(name="group", min_frequency=2)]},
        {"candidate": [Categorical(name="group")]},
        {"negatives": FromColumn("negatives")},
    ],
    ids=named,
)
def test_other_inputs_have_another_cache(tmp_path: Path, changes: dict[str, Any]) -> None:
    base, other = small_data(tmp_path).recipe, small_data(tmp_path, **changes).recipe
    assert prepare(base, tmp_path) != prepare(other, tmp_path)


def test_a_cache_does_not_depend_on_the_seed_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folds = []
    for seed in ("1", "2"):
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        data = small_data(tmp_path / seed)
        folds.append(data.data.interactions.fold)
        folds.append(data.assembler.rows)
    assert torch.equal(folds[0], folds[2])
    assert torch.equal(folds[1], folds[3])


def test_the_schema_of_a_checkpoint_is_not_fitted_again(tmp_path: Path) -> None:
    trained = schemas(module(tmp_path))
    more = changed(EVENTS, "device", 0, "new")  # the data has changed since
    data = module(tmp_path, interactions=more)
    data.encode_with(trained)
    assert schemas(data) == trained
    device = data.data.event["device"]
    assert isinstance(device, torch.Tensor)
    assert device.tolist() == [0, 2, 1, 0, 0, 0]  # "new" is an unknown value of the schema
    assert schemas(module(tmp_path, interactions=more)) != trained
    unchanged = module(tmp_path)
    unchanged.encode_with(trained)
    assert prepare(unchanged.recipe, tmp_path, trained) == prepare(module(tmp_path).recipe, tmp_path)


def test_interactions_equal_the_tables_of_the_source(tmp_path: Path) -> None:
    data = small_data(tmp_path, negatives=FromColumn("negatives"))
    raw = data.recipe.source.tables()
    found = data.data
    queries, candidates = found.queries["query_id"], found.candidates["candidate_id"]
    assert queries[found.interactions.query.numpy()].to_list() == raw.interactions["query_id"].to_list()
    assert candidates[found.interactions.candidate.numpy()].to_list() == raw.interactions["candidate_id"].to_list()
    assert found.interactions.time is not None
    assert found.interactions.time.tolist() == raw.interactions["time"].to_list()
    assert found.interactions.negatives is not None
    named = candidates[found.interactions.negatives.values.numpy()].to_list()
    assert named == raw.interactions["negatives"].explode().to_list()
    assert "picture" not in found.candidates.columns  # image bytes are encoded and not kept
    assert len(found.interactions.rows(TRAIN)) == data.data.report["train interactions"]
