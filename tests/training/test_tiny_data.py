"""Fits and tests on the smallest data: each works, or is refused in one line before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers.small import small_model, small_trainer
from lightning.pytorch import Trainer

from dssm_lightning import RetrievalDataModule, TwoTower
from dssm_lightning.data.negatives import FromColumn, Hard, Uniform
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import ByTime, LeaveLastN, PerQuery, PublishedFold, RandomQueries, RandomRows
from dssm_lightning.features import Categorical
from dssm_lightning.utils.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:Total length of `ShardedBatches` across ranks is zero")

SIX = {"query_id": [1, 1, 2, 2, 3, 3], "candidate_id": [5, 6, 5, 7, 6, 7]}
CORPUS = pl.DataFrame({"candidate_id": [5, 6, 7]})
BCE = {"class_path": "dssm_lightning.losses.BinaryCrossEntropy"}


def parts(
    folder: Path, columns: dict[str, list[Any]], roles: dict[str, Any], data: dict[str, Any], model: dict[str, Any]
) -> tuple[Trainer, TwoTower, RetrievalDataModule]:
    settings = {"split": RandomRows(test=0.0, validation=0.0), "batch_size": 8, "cache_dir": str(folder), **data}
    ids = [Categorical(name="query_id")], [Categorical(name="candidate_id")]
    source = Frames(pl.DataFrame(columns), **roles)
    return small_trainer(folder, max_epochs=2), small_model(**model), RetrievalDataModule(source, *ids, **settings)


@pytest.mark.parametrize(
    ("columns", "roles", "data", "model"),
    [
        (SIX, {}, {"batch_size": 10**12}, {}),
        (SIX, {}, {"batch_size": 10**12, "batch_by": "query"}, {}),
        (SIX, {}, {}, {"score_chunk_size": 10**12, "encode_chunk_size": 10**12}),
        (SIX, {}, {"split": RandomRows(0.2, 0.2), "rank": "held_out"}, {}),
        (SIX, {}, {"split": RandomRows(0.2, 0.2), "evaluate": "event"}, {"ks": []}),
        (SIX, {}, {"negatives": Hard(1, (0, 3), warm_up=0)}, {}),
        ({"query_id": [1], "candidate_id": [5]}, {"candidates": CORPUS}, {"negatives": Uniform(3)}, {}),
        ({"query_id": [1, 2, 3], "candidate_id": [5, 5, 5]}, {}, {}, {"loss": BCE}),
        ({"query_id": [1] * 4, "candidate_id": [5] * 4}, {}, {}, {"loss": BCE}),
        ({**SIX, "liked": [1, 0, 1, 0, 0, 0]}, {"label": "liked"}, {}, {"loss": BCE}),  # query 3 likes nothing
        ({**SIX, "w": [1.0, 0, 0, 0, 0, 0]}, {"weight": "w"}, {"batch_size": 2}, {}),  # batches of weight 0
    ],
    ids=[
        "large batches",
        "large batches by query",
        "large chunks",
        "held out",
        "events",
        "hard",
        "one row",
        "one candidate",
        "one pair",
        "no positive",
        "no weight",
    ],
)
def test_tiny_data_are_trained_and_tested(
    tmp_path: Path, columns: dict[str, list[Any]], roles: dict[str, Any], data: dict[str, Any], model: dict[str, Any]
) -> None:
    trainer, towers, module = parts(tmp_path, columns, roles, data, model)
    trainer.fit(towers, datamodule=module)
    assert 0 <= trainer.callback_metrics["train/loss"] < 100
    if "split" in data:
        [metrics] = trainer.test(towers, datamodule=module, verbose=False)
        assert 0 < metrics["test/mrr"] <= 1


@pytest.mark.parametrize(
    ("columns", "roles", "data", "model", "message"),
    [
        ({"query_id": [1, 2], "candidate_id": [5, 5]}, {}, {}, {}, "SampledSoftmax compares.*only one"),
        ({**SIX, "w": [0.0] * 6}, {"weight": "w"}, {}, {}, "weights of all 6 training rows are 0"),
        (
            {**SIX, "w": [0.0, 0, 0, 0, 1, 1], "fold": ["train"] * 4 + ["test"] * 2},
            {"weight": "w"},
            {"split": PublishedFold("fold")},
            {},
            "weights of all 4 training rows are 0",
        ),
        (
            {**SIX, "w": [0.0, 1, 0, 1, 1, 1], "liked": [1, 0, 1, 0, 0, 0]},
            {"weight": "w", "label": "liked"},
            {},
            {},
            "weights of all 2 training rows are 0",
        ),
        ({**SIX, "liked": [0] * 6}, {"label": "liked"}, {}, {}, "none with liked = 1"),
        (SIX, {}, {"split": RandomRows(0.01, 0.0)}, {}, "RandomRows leaves no test rows"),
        (SIX, {}, {"split": RandomQueries(0.01, 0.0)}, {}, "RandomQueries leaves no test rows"),
        ({"query_id": [1], "candidate_id": [5]}, {}, {"split": PerQuery()}, {}, "PerQuery leaves no validation rows"),
        ({**SIX, "t": [1] * 6}, {"time": "t"}, {"split": ByTime()}, {}, "ByTime leaves no"),
        (SIX, {}, {"split": LeaveLastN()}, {}, "LeaveLastN needs a time.*query_id, candidate_id"),
        (SIX, {}, {"negatives": Uniform(4)}, {}, "num_negatives is 4.*only 3 candidates"),
        (SIX, {}, {"negatives": Hard(1, (0, 4))}, {}, "rank_range ends at 4.*only 3 candidates"),
        ({**SIX, "n": [[]] * 5 + [[5]]}, {}, {"negatives": FromColumn("m")}, {}, "negatives column 'm'"),
        (SIX, {}, {}, {"ks": [1, 1000]}, "k = 1000 is larger than the corpus, which has 3"),
        (SIX, {}, {}, {"memory_size": 2}, "memory_size is 2.*3 candidates"),
        (SIX, {}, {}, {"memory_size": 10**12}, "memory_size is 1,000,000,000,000"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_tiny_data_are_refused(
    tmp_path: Path,
    columns: dict[str, list[Any]],
    roles: dict[str, Any],
    data: dict[str, Any],
    model: dict[str, Any],
    message: str,
) -> None:
    trainer, towers, module = parts(tmp_path, columns, roles, data, model)
    with pytest.raises(UserError, match=message):
        trainer.fit(towers, datamodule=module)
    assert trainer.global_step == 0


@pytest.mark.parametrize("verb", ["fit", "validate", "test"])
def test_held_out_rows_without_a_positive_are_refused(tmp_path: Path, verb: str) -> None:
    fold = "test" if verb == "test" else "validation"
    columns = {
        "query_id": [1, 1, 2, 2, 3, 3],
        "candidate_id": [5, 6, 5, 7, 6, 7],
        "liked": [1, 0, 1, 0, 1, 0],
        "fold": ["train", fold, "train", fold, "train", "train"],
    }
    trainer, towers, module = parts(tmp_path, columns, {"label": "liked"}, {"split": PublishedFold("fold")}, {})
    with pytest.raises(UserError, match=f"none of the 2 {fold} rows has label 1"):
        getattr(trainer, verb)(towers, datamodule=module)


@pytest.mark.filterwarnings("ignore:no row of epoch 1 had a valid negative")
def test_an_epoch_without_any_negative_causes_a_warning(tmp_path: Path) -> None:
    """One query likes the whole corpus, and batches of one row have no other candidate."""
    for columns, batch_size in (({"query_id": [1, 1, 1], "candidate_id": [5, 6, 7]}, 8), (SIX, 1)):
        trainer, towers, module = parts(tmp_path, columns, {}, {"batch_size": batch_size}, {})
        with pytest.warns(match="no row of epoch 0 had a valid negative.*nothing was learned"):
            trainer.fit(towers, datamodule=module)
