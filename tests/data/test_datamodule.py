"""The data module's own promises: arguments, evaluation, what predict embeds, resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small import small_data, small_model, small_trainer

from dssm_lightning.data.batching.train_loader import Progress
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.data.splits import PerQuery
from dssm_lightning.features import Categorical, History
from dssm_lightning.losses import BinaryCrossEntropy
from dssm_lightning.utils.ragged import Features, num_rows


def rows(parts: Any) -> int:
    found: list[Features] = list(parts)
    return sum(map(num_rows, found))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"query": []}, "data.query declares no feature"),
        ({"candidate": []}, "data.candidate declares no feature"),
    ],
    ids=["batch_size", "query", "candidate"],
)
def test_impossible_arguments(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_data(tmp_path, **changes)


def test_nothing_is_read_at_birth(tmp_path: Path) -> None:
    small_data(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_event_columns_need_evaluation_by_event(tmp_path: Path) -> None:
    query = [Categorical(name="device")]
    data = small_data(tmp_path, query=query)
    data.prepare_data()
    with pytest.raises(ValueError, match=r"evaluation by query.*'device'"):
        data.setup()
    by_event = small_data(tmp_path, query=query, evaluate="event")
    assert sum(len(batch.query_row) for batch in by_event.test_dataloader()) == 60


def test_evaluation_by_event_has_one_candidate_to_find(tmp_path: Path) -> None:
    split = PerQuery(test=0.4, validation=0.2)  # two test rows for each query
    by_query, by_event = (small_data(tmp_path, split=split, evaluate=how) for how in ("query", "event"))
    assert [len(batch.query_row) for batch in by_query.test_dataloader()] == [60]
    [events] = by_event.test_dataloader()
    assert len(events.query_row) == 120
    assert set(events.relevant.lengths.tolist()) == {1}


@pytest.mark.filterwarnings(
    "ignore:Total length of `ShardedBatches` across ranks is zero"
)  # the command line is silent
def test_without_validation_rows_there_is_nothing_to_validate(tmp_path: Path) -> None:
    data = small_data(tmp_path, split=PerQuery(test=0.2, validation=0))
    assert list(data.val_dataloader()) == []
    trainer = small_trainer(tmp_path, limit_train_batches=1)
    trainer.fit(model := small_model(), datamodule=data)
    assert not [name for name in trainer.callback_metrics if name.startswith("val/")]
    with pytest.raises(ValueError, match="no validation rows"):
        trainer.validate(model, datamodule=data)


def test_without_test_rows_a_test_says_so(tmp_path: Path) -> None:
    data = small_data(tmp_path, split=PerQuery(test=0, validation=0.2))
    with pytest.raises(ValueError, match="no test rows"):
        data.test_dataloader()


def test_predict_embeds_the_side_that_is_named(tmp_path: Path) -> None:
    assert rows(small_data(tmp_path).predict_dataloader()) == 40
    queries = small_data(tmp_path, predict="query")
    assert rows(queries.predict_dataloader()) == 60
    assert rows(queries.corpus_batches()) == 40
    assert [*next(iter(queries.predict_dataloader()))] == ["text"]


def test_the_corpus_comes_in_its_order(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    [corpus] = data.corpus_batches()
    assert torch.equal(corpus["candidate_id"], data.data.candidate["candidate_id"])  # type: ignore[arg-type]  # a tensor
    assert data.candidates["candidate_id"].to_list() == [f"c{number}" for number in range(40)]


def test_how_far_training_came_is_saved(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    layout = {"seed": 0, "world_size": 1, "batch_size": 32, "batches": 7}
    assert data.state_dict() == {"epoch": 0, "done": 0, "layout": layout}
    loader = iter(data.train_dataloader())
    batches = [next(loader) for _ in range(3)]
    state = data.state_dict()
    assert state == {"epoch": 0, "done": 3, "layout": layout}
    other = small_data(tmp_path)
    other.load_state_dict(state)
    assert other.progress == Progress(0, 3)
    rest = list(other.train_dataloader())
    assert len(batches) + len(rest) == len(data.train_dataloader())
    assert torch.equal(rest[0].row, next(loader).row)


def test_labels_are_left_out_where_the_loss_has_no_use_for_them(tmp_path: Path) -> None:
    source = Synthetic(num_queries=60, num_candidates=40, labels=True)
    for changes, expected in (({}, False), ({"loss": BinaryCrossEntropy}, True)):
        data = small_data(tmp_path, source=source)
        trainer = small_trainer(tmp_path, limit_train_batches=1, limit_val_batches=0)
        trainer.fit(small_model(**changes), datamodule=data)
        labels = data.data.interactions.label
        assert labels is not None
        assert bool((labels[data.assembler.rows] == 0).any()) is expected
        assert data.labelled


def test_more_processes_than_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small_data(tmp_path)
    assert len(data.assembler.rows) > 60
    monkeypatch.setattr(type(data), "share", (0, 10_000))
    with pytest.raises(ValueError, match="10000 processes"):
        data.train_dataloader()


def test_histories_by_time_need_a_time(tmp_path: Path) -> None:
    data = small_data(tmp_path, query=[History(name="history", of="candidate_id", order="time")])
    assert len(data.test_dataloader()) == 1  # Synthetic has one
