"""Two and three processes train, evaluate and refuse like one process: the results of training_across_ranks.py."""

from __future__ import annotations

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
    """The results of all processes, from one start of Python."""
    place = tmp_path_factory.mktemp("processes")
    command = ["timeout", "-k", "5", "250", sys.executable, str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
    assert done.returncode == 0, done.stderr[-5000:]
    return place


def found(folder: Path, what: str, world_size: int) -> list[Any]:
    """Return the result of each process."""
    paths = [folder / f"{what}.{world_size}.{process}.pt" for process in range(world_size)]
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
        ("taught", 2),
        ("widths", 2),
    ],
)
def test_processes_train_like_one_process(folder: Path, case: str, world_size: int) -> None:
    """With SGD, which shows the scale of a gradient; batches by query differ in size."""
    [expected] = found(folder, case, 1)
    for process in found(folder, case, world_size):
        assert process["steps"] == expected["steps"]
        for name, value in expected["weights"].items():
            torch.testing.assert_close(process["weights"][name], value, rtol=1e-4, atol=1e-5, msg=f"{case}: {name}")
        moved = [(process["weights"][name] - value).abs().max().item() for name, value in process["before"].items()]
        assert min(moved) > 0.01
        assert process["metrics"] == pytest.approx(expected["metrics"], abs=1e-5)
        assert process["metrics"]["train/loss"] == pytest.approx(expected["metrics"]["train/loss"], abs=1e-5)


@pytest.mark.parametrize(
    ("num_queries", "world_size", "own"),
    [(5, 2, 2), (5, 3, 0), (40, 2, 20), (40, 3, 12)],
    ids=["5-2", "5-3", "40-2", "40-3"],
)
@pytest.mark.parametrize("evaluate", ["query", "event"])
def test_processes_evaluate_like_one_process(
    folder: Path, evaluate: str, num_queries: int, world_size: int, own: int
) -> None:
    """To the last digit, and each query once; of 5 queries 2 are tested, of 4 candidates a third process has none."""
    [expected] = found(folder, f"measured-{num_queries}-{evaluate}", 1)
    for process in found(folder, f"measured-{num_queries}-{evaluate}", world_size):
        assert torch.equal(process["query"], expected["query"])
        assert torch.equal(process["values"].nan_to_num(-1), expected["values"].nan_to_num(-1))
        assert process["metrics"] == pytest.approx(expected["metrics"], rel=0, abs=1e-12, nan_ok=True)
    if (num_queries, evaluate) == (5, "query"):
        assert len(expected["query"]) == 2
    name = f"of-{num_queries}-{evaluate}-by-"
    parts = [pl.read_parquet(folder / f"{name}{world_size}.{process}.parquet") for process in range(world_size)]
    assert pl.concat(parts).equals(pl.read_parquet(folder / f"{name}1.parquet"))
    assert len(parts[-1]) == own


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (
            "loss",
            "model.loss.class_path is dssm_lightning.losses.SampledSoftmax in process 0, but dssm_lightning.losses.BPR",
        ),
        ("batch size", "data.batch_size is 8 in process 0, but 7 in process 1"),
        ("schema", "data.query.0.num_buckets is 300 in process 0, but 301 in process 1"),
        ("data", "the digest of interactions.candidate#dense in the cache is "),
        ("seed", "seed_everything is 3 in process 0, but 4 in process 1"),
        ("epochs", "trainer.max_epochs is 2 in process 0, but 3 in process 1"),
    ],
)
def test_a_process_that_differs_ends_all(folder: Path, what: str, message: str) -> None:
    """With the same message, before training."""
    one, other = (process[what] for process in found(folder, "differing", 2))
    assert one.startswith("the processes differ and cannot work together: ")
    assert message in one
    assert one == other


def test_each_process_may_have_its_own_cache(folder: Path) -> None:
    assert [process["own caches"] for process in found(folder, "differing", 2)] == ["nothing"] * 2


def test_a_frozen_backbone_is_refused_or_trained_equally(folder: Path) -> None:
    for process in found(folder, "resting", 2):
        assert not process["moved"]
        assert "Backbone of 'picture': frozen_epochs is 1" in process["message"]
        assert "ddp_find_unused_parameters_true" in process["message"]
    one, other = found(folder, "resting-with-unused", 2)
    assert (one["message"], one["moved"]) == ("nothing", True)
    assert torch.equal(one["weights"], other["weights"])


def test_the_log_has_the_number_of_negatives_once(folder: Path) -> None:
    """Batches of 6 rows: at most 5 negatives of one process, 11 of two, minus the candidates of both."""
    shared, alone = found(folder, "logged", 2)[0]
    assert "8.0 negatives" in shared
    assert "all 2 processes" in shared
    assert "5.0 negatives" in alone
    assert "one of 2 processes" in alone
    assert found(folder, "logged", 2)[1] == []  # only process 0 logs
