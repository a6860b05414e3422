"""Real processes of every launcher: they train like one process, and end when one of them dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from helpers.paths import ROOT
from helpers.small import write_config

from dssm_lightning.cli.main import main

MARK = "DSSM_TEST_PROCESSES"  # marks all processes of a test: workers of torchrun have their own sessions
SGD = {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.5}}}
TORCHRUN = ["-m", "torch.distributed.run"]
FIT = ["-m", "dssm_lightning", "fit", "--config", "here.yaml"]
DDP = ["--trainer.strategy=ddp", "--trainer.accelerator=cpu"]
pytestmark = pytest.mark.slow


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Make a folder with a config, and a mark for the processes of a test; kill those that are left after the test."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path / "here.yaml", model=SGD)
    mark = uuid.uuid4().hex
    yield mark
    for pid in processes(mark):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def start(mark: str, *arguments: str) -> subprocess.Popen[str]:
    """Start Python with a time limit that holds even if this test is killed."""
    paths = os.pathsep.join([str(ROOT), os.environ["PYTHONPATH"]])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", MARK: mark}
    environment.pop("PL_GLOBAL_SEED", None)
    line = ["timeout", "-k", "5", "200", sys.executable, *arguments]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def processes(mark: str) -> dict[int, str]:
    """Return the processes with the mark, with their number on their node."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError, ValueError):
                lines = (folder / "environ").read_text(encoding="utf-8").split("\0")
                settings = dict(line.split("=", 1) for line in lines if "=" in line)
                if settings.get(MARK) == mark:
                    found[int(folder.name)] = settings.get("LOCAL_RANK", "")
    return found


def last(version: int) -> Path:
    return Path("runs") / "here" / f"version_{version}" / "checkpoints" / "last.ckpt"


def weights(path: Path) -> dict[str, torch.Tensor]:
    found = torch.load(path, weights_only=True)["state_dict"]
    assert isinstance(found, dict)
    return found


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_two_nodes_by_torchrun_and_two_spawned_processes_train_as_one(mark: str) -> None:
    """Each node prepares the data, one of them for both; neither waits forever."""
    meet = ["--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d", f"--rdzv_endpoint=127.0.0.1:{free_port()}"]
    half = [*DDP, "--data.batch_size=32"]
    nodes = [start(mark, *TORCHRUN, *meet, *FIT, *half, "--trainer.num_nodes=2") for _ in range(2)]
    for node in nodes:
        output = node.communicate()[0]
        assert node.returncode == 0, output
    spawned = start(mark, *FIT, *half, "--trainer.strategy=ddp_spawn", "--trainer.devices=2")
    output = spawned.communicate()[0]
    assert spawned.returncode == 0, output
    assert "best val/mrr: " in output
    assert len(list(Path("cache").glob("*/report.json"))) == 1
    main(["fit", "--config", "here.yaml", "--data.batch_size=64"])
    for version in (0, 1):
        for name, value in weights(last(2)).items():
            torch.testing.assert_close(weights(last(version))[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("launcher", ["lightning", "torchrun"])
def test_a_process_that_dies_ends_the_run(mark: str, launcher: str) -> None:
    """With an error, and with no process left."""
    at = {"number": signal.SIGKILL, "step": 4, "process_rank": 1}
    die = json.dumps({"class_path": "helpers.resuming.SignalAt", "init_args": at})
    options = [*DDP, "--trainer.devices=2", "--last.every_n_train_steps=3", f"--trainer.callbacks+={die}"]
    by = [*TORCHRUN, "--nproc_per_node=2"] if launcher == "torchrun" else []
    run = start(mark, *by, *FIT, *options)
    output = run.communicate()[0]  # until every process has closed the pipe
    assert run.returncode not in (0, 124, 137, -signal.SIGKILL), output  # neither `timeout` nor the kill itself
    assert ("SIGKILL" if launcher == "torchrun" else "Error") in output
    assert not processes(mark)
    weights(last(0))  # a complete file
