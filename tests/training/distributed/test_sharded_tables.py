"""Sharded tables train like complete tables, and their checkpoints are the same; sparse tables under DDP."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.paths import HELPERS
from helpers.tables_across_ranks import DENSE, KINDS, SPARSE, fit
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import Tensor, nn

from dssm_lightning.training.checkpoint_files import read_checkpoint, read_schemas
from dssm_lightning.training.distributed.sharded_tables import ShardedTables, data_parallel_group, one_file

SCRIPT = HELPERS / "tables_across_ranks.py"


def run_processes() -> None:
    """Train in two processes, in one start of Python."""
    command = ["timeout", "-k", "5", "200", sys.executable, str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]


def content(name: str) -> dict[str, Any]:
    found = torch.load(name, weights_only=True)
    assert isinstance(found, dict)
    return found


def assert_equal_but_for_rounding(name: str, expected: str) -> None:
    one, two = content(name), content(expected)
    assert one["global_step"] == two["global_step"] > 0
    assert one["state_dict"].keys() == two["state_dict"].keys()
    states = [part["optimizer_states"][0]["state"] for part in (one, two)]
    assert states[0].keys() == states[1].keys()
    both = [(one["state_dict"][key], value) for key, value in two["state_dict"].items()]
    both += [(states[0][number][key], value) for number, kept in states[1].items() for key, value in kept.items()]
    for found, value in both:
        torch.testing.assert_close(found, value, rtol=1e-4, atol=2e-5)
    assert one["lr_schedulers"] == two["lr_schedulers"]


def fit_whole(name: str, configs: tuple[Path, ...], epochs: int, **changes: Any) -> dict[str, Tensor]:
    model = fit(configs, epochs, **changes)
    model.trainer.save_checkpoint(name)
    return dict(model.trainer.callback_metrics)


@pytest.mark.slow
def test_two_processes_shard_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")  # each fit sets it, and the next test must not find it
    monkeypatch.setenv("PL_SEED_WORKERS", "0")
    metrics = fit_whole("whole-1.ckpt", KINDS, 1)
    fit_whole("whole-3.ckpt", KINDS, 3, ckpt_path="whole-1.ckpt")
    fit_whole("sparse-by-one.ckpt", SPARSE, 2, batch_size=32)
    fit_whole("groups-by-one.ckpt", DENSE, 2, batch_size=32)
    run_processes()

    assert_equal_but_for_rounding("shared-1.ckpt", "whole-1.ckpt")
    found = [torch.load(f"found-{process}.pt", weights_only=True) for process in range(2)]
    for each in found:
        assert each["metrics"] == {name: pytest.approx(value.item(), abs=1e-5) for name, value in metrics.items()}
    tables = content("whole-1.ckpt")["state_dict"]
    assert len(found[0]["held"]) > 5
    for name, rows in found[0]["held"].items():  # of the weights, the gradient and two moments
        assert len(rows) == 4
        assert len(set(rows)) == 1
        assert rows[0] + found[1]["held"][name][0] == len(tables[name]) >= 40
        assert rows[0] == -(-len(tables[name]) // 2)

    # one file -> shards -> a folder of shards -> shards -> one file; and from a file of shards to one process
    assert_equal_but_for_rounding("shared-3.ckpt", "whole-3.ckpt")
    fit_whole("whole-again-3.ckpt", KINDS, 3, ckpt_path="shared-1.ckpt")
    assert_equal_but_for_rounding("whole-again-3.ckpt", "whole-3.ckpt")
    one_file(Path("folder-2.ckpt"), Path("whole-2.ckpt"))
    fit_whole("from-folder-3.ckpt", KINDS, 3, ckpt_path="whole-2.ckpt")
    assert_equal_but_for_rounding("from-folder-3.ckpt", "whole-3.ckpt")

    # two groups with different batches, and sparse tables under DDP: like one process with twice the batch
    assert_equal_but_for_rounding("groups.ckpt", "groups-by-one.ckpt")
    assert_equal_but_for_rounding("sparse.ckpt", "sparse-by-one.ckpt")
    start = fit(SPARSE, 0).state_dict()
    for name in (name for name in start if name.endswith("table.weight")):
        moved = [
            (content(path)["state_dict"][name] != start[name]).any(dim=1)
            for path in ("sparse.ckpt", "sparse-by-one.ckpt")
        ]
        assert torch.equal(*moved)  # only rows that were used, also by the weight decay
        assert 0 < int(moved[0].sum()) < len(start[name])


# -- refused before training -------------------------------------------------------------------------------------------


def test_tables_that_cannot_be_sharded() -> None:
    net = nn.ModuleDict({"query_id": nn.Embedding(500, 2, sparse=True), "gender": nn.Embedding(3, 2)})
    with pytest.raises(ValueError, match=r"10,000 rows.*largest has 500"):
        ShardedTables().share(net)
    with pytest.raises(ValueError, match=r"query_id has sparse gradients.*DTensor.*sparse: false"):
        ShardedTables(min_rows=500).share(net)


def test_strategies_that_are_refused() -> None:
    assert data_parallel_group(DDPStrategy(), "predict") is None
    with pytest.raises(ValueError, match=r"ModelParallelStrategy.*ShardedTables"):
        data_parallel_group(ModelParallelStrategy(), "fit")
    with pytest.raises(ValueError, match=r"predict.*ShardedTables.*one process"):
        data_parallel_group(ShardedTables(), "predict")


def test_a_folder_of_shards_is_not_read_as_a_file(tmp_path: Path) -> None:
    """Its schemas can be read, so that a fit that resumes from it can check its data before training."""
    with pytest.raises(ValueError, match=r"shares of several processes.*one_file\("):
        read_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"meta\.pt"):
        read_schemas(tmp_path)
