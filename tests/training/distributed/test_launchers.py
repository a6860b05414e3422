"""Real processes by every launcher: they train as one process does, and end when one of them dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from helpers.paths import ROOT
from helpers.small import write_config

from dssm_lightning.cli.main import main

MARK = "DSSM_TEST_PROCESSES"  # set for all that a test starts: workers of torchrun lead sessions of their own
SGD = {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.5}}}
TORCHRUN = ["-m", "torch.distributed.run"]
FIT = ["-m", "dssm_lightning", "fit", "--config", "here.yaml"]
DDP = ["--trainer.strategy=ddp", "--trainer.accelerator=cpu"]
pytestmark = pytest.mark.slow


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder with a config, and what marks the processes that are started there: whatever happens, none stays."""
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path / "here.yaml", model=SGD)
    mark = uuid.uuid4().hex
    yield mark
    for pid in processes(mark):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def start(mark: str, *arguments: str) -> subprocess.Popen[str]:
    """Python, with a limit that holds whatever happens to this test."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", MARK: mark}
    environment.pop("PL_GLOBAL_SEED", None)
    line = ["timeout", "-k", "5", "200", sys.executable, *arguments]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def processes(mark: str) -> dict[int, str]:
    """Every process that bears the mark, with its place among those of its node."""
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
    """Each node prepares the data, one of them for both; neither waits for the other for ever."""
    meet = ["--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d", f"--rdzv_endpoint=127.0.0.1:{free_port()}"]
    half = [*DDP, "--data.batch_size=32"]
    nodes = [start(mark, *TORCHRUN, *meet, *FIT, *half, "--trainer.num_nodes=2") for _ in range(2)]
    for node in nodes:
        output = node.communicate(timeout=200)[0]
        assert node.returncode == 0, output
    spawned = start(mark, *FIT, *half, "--trainer.strategy=ddp_spawn", "--trainer.devices=2")
    output = spawned.communicate(timeout=200)[0]
    assert spawned.returncode == 0, output
    assert "best val/mrr: " in output
    assert len(list(Path("cache").glob("*/report.json"))) == 1
    main(["fit", "--config", "here.yaml", "--data.batch_size=64"])
    for version in (0, 1):
        for name, value in weights(last(2)).items():
            torch.testing.assert_close(weights(last(version))[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("launcher", ["lightning", "torchrun"])
def test_a_rank_that_dies_ends_the_run(mark: str, launcher: str) -> None:
    """Within a minute, with an error, and with nothing left running."""
    for_ever = [*DDP, "--trainer.devices=2", "--trainer.max_epochs=9999", "--last.every_n_train_steps=3"]
    by = [*TORCHRUN, "--nproc_per_node=2"] if launcher == "torchrun" else []
    run = start(mark, *by, *FIT, *for_ever)
    until = time.monotonic() + 150
    while not last(0).is_file():
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.1)
    [victim] = [pid for pid, place in processes(mark).items() if place == "1"]
    os.kill(victim, signal.SIGKILL)
    died = time.monotonic()
    output = run.communicate(timeout=60)[0]  # all that hold its end of the pipe are gone then
    assert run.returncode not in (0, 124, 137), output
    assert time.monotonic() - died < 60
    assert ("SIGKILL" if launcher == "torchrun" else "Error") in output
    while processes(mark):
        assert time.monotonic() - died < 60
        time.sleep(0.1)
    weights(last(0))  # whole
