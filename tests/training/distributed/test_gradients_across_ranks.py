"""W processes with batches of B rows have the loss and the gradients of one process with a batch of W·B rows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import torch
from helpers.chunks import LOSSES
from helpers.paths import HELPERS, ROOT

from dssm_lightning import losses
from dssm_lightning.training.candidate_pool import Pool, gather_pool
from dssm_lightning.utils import distributed

SCRIPT = HELPERS / "gradients_across_ranks.py"


@pytest.fixture(scope="module")
def reports() -> dict[int | str, dict[str, Any]]:
    """The differences of two and three processes, and of two with chunks, from one start of Python."""
    command = ["timeout", "-k", "5", "200", sys.executable, str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip((2, 3, "chunks"), map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [2, 3])
def test_gradients_equal_those_of_one_big_batch(reports: dict[int | str, dict[str, Any]], world_size: int) -> None:
    """For every loss; in-batch, shared and own negatives; of both towers, the scale and the parameters of a loss."""
    report = reports[world_size]
    assert report["pools"]  # mined by all processes
    assert len(report["cases"]) >= 60
    for name, found in report["cases"].items():
        assert found["loss"] < 1e-6, name
        assert found["cosine"] > 0.99999, name
        assert found["norm"] < 1e-5, name
        assert found["gradient"] > 1e-4, name  # there is something to compare


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [2, 3])
def test_without_cross_device_negatives_each_process_trains_alone(
    reports: dict[int | str, dict[str, Any]], world_size: int
) -> None:
    assert reports[world_size]["local"] < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [2, 3])
def test_gathering_of_unequal_numbers_of_rows(reports: dict[int | str, dict[str, Any]], world_size: int) -> None:
    """Process r has r rows. The gradient of process r is 10 ** r, and the owner gets the sum. All have id 7: once."""
    found, last = reports[world_size]["gathered"], world_size - 1
    assert found["rows"] == [1.0, 2.0, 2.0][: last * (last + 1) // 2]
    assert found["gradient"] == [sum(10.0**process for process in range(world_size))] * last
    assert found["before"] == sum(range(last))
    assert found["ids"] == [*range(1, world_size), 7, 8]
    assert found["count"] == [*[1.0] * last, world_size, last]
    assert found["owner"] == [*map(float, range(1, world_size)), 0.0, 1.0]  # of the first process that has the id
    assert found["proposed"] == pytest.approx([world_size] * (world_size + 1))


@pytest.mark.slow
def test_gradients_in_chunks_equal_those_of_one_big_batch(reports: dict[int | str, dict[str, Any]]) -> None:
    assert len(reports["chunks"]) == len(LOSSES)  # without WARP, and once more with dropout
    for name, found in reports["chunks"].items():
        assert found["loss"] < 1e-6, name
        assert found["cosine"] > 0.99999, name
        assert found["norm"] < 1e-5, name
        assert found["gradient"] > 1e-3, name  # there is something to compare


def test_every_loss_is_compared() -> None:
    text = SCRIPT.read_text(encoding="utf-8").partition("LOSSES = {")[2].partition("\n}")[0]
    assert all(name in text for name in losses.__all__ if name not in ("Loss", "Scores", "Taught"))


def test_one_process_gathers_itself() -> None:
    pool = Pool(torch.randn(3, 2), torch.tensor([1, 4, 7]), torch.ones(3), torch.zeros(3))
    assert gather_pool(pool) is pool
    assert (distributed.process_rank(), distributed.world_size()) == (0, 1)
    assert torch.equal(distributed.gather_rows(pool.embedding), pool.embedding)
    assert distributed.sum_over_ranks(torch.tensor(3.0)).item() == 3.0


# -- forbidden everywhere ----------------------------------------------------------------------------------------------

PACKAGE = sorted((ROOT / "dssm_lightning").rglob("*.py"))


def test_only_one_module_communicates() -> None:
    """Lightning's ``all_gather`` has no gradient by default and another shape in one process; torch's own warns.

    The strategy of sharded tables communicates as well; other modules know a sharded table by its type.
    """
    for path in PACKAGE:
        text = path.read_text(encoding="utf-8")
        assert "self.all_gather" not in text, path
        assert "distributed.nn" not in text, path
        if path.name not in ("distributed.py", "sharded_tables.py"):
            assert "import torch.distributed" not in text, path
            assert "from torch.distributed" not in text.replace("from torch.distributed.tensor import", ""), path


def test_started_processes_have_a_time_limit() -> None:
    """A hanging process ignores SIGTERM, and a collective waits for half an hour: only SIGKILL ends it.

    ``timeout -k``, the ``timeout=`` of ``subprocess.run`` and ``killpg`` of an own session send it.
    """
    for path in sorted((ROOT / "tests").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        ends = ('"timeout", "-' in text, re.search(r"subprocess\.run\([^)]*timeout=\d", text), "SIGKILL)  # of" in text)
        assert "sys.executable" not in text or any(ends), path
        assert ("mp.spawn(" not in text and "start_processes(" not in text) or "timeout=timedelta(" in text, path
