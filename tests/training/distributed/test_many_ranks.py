"""Two and three processes train, measure and refuse as one does: what training_across_ranks.py leaves, compared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from helpers.paths import HELPERS

SCRIPT = HELPERS / "training_across_ranks.py"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that runs, in one start of Python."""
    place = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parent.parent)}
    command = ["timeout", "-k", "5", "250", sys.executable, str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place, env=environment)
    assert done.returncode == 0, done.stderr[-5000:]
    return place


def found(folder: Path, what: str, world_size: int) -> list[Any]:
    """What each rank left."""
    paths = [folder / f"{what}.{world_size}.{rank}.pt" for rank in range(world_size)]
    return [torch.load(path, weights_only=True) for path in paths]


@pytest.mark.parametrize(
    ("case", "world_size"),
    [
        ("softmax", 2),
        ("symmetric", 2),
        ("symmetric", 3),
        ("duplicates", 2),
        ("memory", 2),
        ("labels", 2),
        ("chunks", 2),
    ],
)
def test_ranks_train_as_one_process_does(folder: Path, case: str, world_size: int) -> None:
    """With SGD, in which a gradient's scale shows; batches by query differ in size."""
    [expected] = found(folder, case, 1)
    for rank in found(folder, case, world_size):
        assert rank["steps"] == expected["steps"]
        for name, value in expected["weights"].items():
            torch.testing.assert_close(rank["weights"][name], value, rtol=1e-4, atol=1e-5, msg=f"{case}: {name}")
        moved = [(rank["weights"][name] - value).abs().max().item() for name, value in rank["before"].items()]
        assert min(moved) > 0.01
        assert rank["metrics"] == pytest.approx(expected["metrics"], abs=1e-5)
        assert rank["metrics"]["train/loss"] == pytest.approx(expected["metrics"]["train/loss"], abs=1e-5)


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("evaluate", ["query", "event"])
@pytest.mark.parametrize("num_queries", [5, 40])
def test_ranks_measure_as_one_process_does(folder: Path, num_queries: int, evaluate: str, world_size: int) -> None:
    """To the last digit, and each query once; of 5 queries 2 are tested, of 4 candidates a third rank has none."""
    [expected] = found(folder, f"measured-{num_queries}-{evaluate}", 1)
    for rank in found(folder, f"measured-{num_queries}-{evaluate}", world_size):
        assert torch.equal(rank["query"], expected["query"])
        assert torch.equal(rank["values"].nan_to_num(-1), expected["values"].nan_to_num(-1))
        assert rank["metrics"] == pytest.approx(expected["metrics"], rel=0, abs=1e-12, nan_ok=True)
    if (num_queries, evaluate) == (5, "query"):
        assert len(expected["query"]) == 2
    name = f"of-{num_queries}-{evaluate}-by-"
    shares = [pl.read_parquet(folder / f"{name}{world_size}.{rank}.parquet") for rank in range(world_size)]
    assert pl.concat(shares).equals(pl.read_parquet(folder / f"{name}1.parquet"))
    assert len(shares[-1]) == {(5, 2): 2, (5, 3): 0, (40, 2): 20, (40, 3): 12}[num_queries, world_size]


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            "loss",
            "model.loss.class_path is dssm_lightning.losses.SampledSoftmax in process 0, but dssm_lightning.losses.BPR",
        ),
        ("batch size", "data.batch_size is 8 in process 0, but 7 in process LAST"),
        ("schema", "data.query.0.num_buckets is 300 in process 0, but 301 in process LAST"),
        ("data", "the digest of interactions.candidate#dense in the cache is "),
        ("seed", "seed_everything is 3 in process 0, but 4 in process LAST"),
        ("epochs", "trainer.max_epochs is 2 in process 0, but 3 in process LAST"),
    ],
)
def test_a_rank_that_differs_ends_all(folder: Path, world_size: int, what: str, message: str) -> None:
    """With the same words, before anything is trained."""
    said = [rank[what] for rank in found(folder, "differing", world_size)]
    assert said[0].startswith("the processes differ and cannot work together: ")
    assert message.replace("LAST", str(world_size - 1)) in said[0]
    assert said == [said[0]] * world_size


@pytest.mark.parametrize("world_size", [2, 3])
def test_each_rank_may_have_a_cache_of_its_own(folder: Path, world_size: int) -> None:
    assert [rank["own caches"] for rank in found(folder, "differing", world_size)] == ["nothing"] * world_size


def test_a_backbone_that_rests_is_refused_or_trained_alike(folder: Path) -> None:
    for rank in found(folder, "resting", 2):
        assert not rank["moved"]
        assert "Backbone of 'picture': frozen_epochs is 1" in rank["said"]
        assert "ddp_find_unused_parameters_true" in rank["said"]
    one, other = found(folder, "resting-with-unused", 2)
    assert (one["said"], one["moved"]) == ("nothing", True)
    assert torch.equal(one["weights"], other["weights"])


def test_the_log_says_once_how_many_negatives_a_query_has(folder: Path) -> None:
    """Batches of 6 rows: at most 5 of one process, 11 of two, less what both have."""
    shared, alone = found(folder, "told", 2)[0]
    assert shared == "a query has 8.0 negatives on average in the first batch, from all 2 processes"
    assert alone == "a query has 5.0 negatives on average in the first batch, from one of 2 processes"
    assert found(folder, "told", 2)[1] == []  # one rank tells
