"""One process of DDP over NCCL trains and measures as a plain fit on the same GPU does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.one_nccl_process import CASES
from helpers.paths import HELPERS

pytestmark = pytest.mark.gpu

CLOSE = 1e-4
"""Of losses and weights after an epoch. NCCL adds nothing with one process; kernels that add in any order do."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of all fits, from one start of Python."""
    place = tmp_path_factory.mktemp("nccl")
    command = ["timeout", "-k", "5", "150", sys.executable, str(HELPERS / "one_nccl_process.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
    assert done.returncode == 0, done.stderr[-5000:]
    return place


def found(folder: Path, case: str, strategy: str) -> dict[str, Any]:
    kept = torch.load(folder / f"{CASES.index(case)}.{strategy}.pt", weights_only=True)
    assert isinstance(kept, dict)
    return kept


@pytest.mark.parametrize("case", CASES)
def test_a_process_of_ddp_trains_as_a_plain_fit(folder: Path, case: str) -> None:
    one, other = (found(folder, case, strategy) for strategy in ("auto", "ddp"))
    assert other["losses"] == pytest.approx(one["losses"], rel=CLOSE)
    for name, value in one["weights"].items():
        torch.testing.assert_close(other["weights"][name], value, rtol=CLOSE, atol=20 * CLOSE, msg=name)  # Adam's steps
    names = [name for name in one["metrics"] if name.startswith(("test/ndcg", "test/recall"))]
    assert names
    for name in names:  # two of 60 queries may exchange near-ties
        assert other["metrics"][name] == pytest.approx(one["metrics"][name], abs=0.03)
