"""W ranks of batch B give the loss and the gradients of one process of batch W·B."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dssm_lightning import distributed
from dssm_lightning.distributed import Pool

SCRIPT = Path(__file__).parent / "gradients_across_ranks.py"


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [2, 3])
def test_gradients_equal_those_of_one_big_batch(world_size: int) -> None:
    command = ["timeout", "-k", "5", "120", sys.executable, str(SCRIPT), str(world_size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["pools"]  # every rank mined its share
    assert {"ignore", "count", "log_q", "inclusion", "symmetric", "triplet", "memory"} == set(report["losses"])
    for name, found in report["losses"].items():
        assert found["loss"] < 1e-6, name
        assert found["cosine"] > 0.99999, name
        assert found["norm"] < 1e-5, name
        assert found["gradient"] > 1e-3, name  # there is something to compare


def test_one_process_gathers_itself() -> None:
    pool = Pool(torch.randn(3, 2), torch.tensor([1, 4, 7]), torch.ones(3), torch.zeros(3))
    assert distributed.gather_pool(pool) is pool
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert torch.equal(distributed.gather_rows(pool.embedding), pool.embedding)
    assert distributed.sum_over_ranks(torch.tensor(3.0)).item() == 3.0
