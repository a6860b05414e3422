"""Ctrl-C and SIGTERM end a command at any time, with one line and without anything that stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from helpers.small import write_config

from dssm_lightning.cli.main import main

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc")


class Started:
    """Processes of a test, with their output; all end with the test."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, list[subprocess.Popen[str]]()

    def python(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        with (self.folder / f"out.{len(self.processes)}").open("w") as output:
            process = subprocess.Popen(
                [sys.executable, *words],
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def output(self, number: int = 0) -> str:
        return (self.folder / f"out.{number}").read_text(encoding="utf-8")

    def wait_for(self, text: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while text not in self.output():
            assert time.monotonic() < end, f"no {text!r} in {self.output()!r}"
            assert self.processes[0].poll() is None, self.output()
            time.sleep(0.02)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    made = Started(tmp_path)
    yield made
    for process in made.processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # of the session that the test started
        process.wait(10)


BLOCK = """
import os, signal, subprocess, sys, time
from dssm_lightning.utils import interrupts

interrupts.GRACE_S = 0.5
with interrupts.end_on_signals():
    {inside}
"""
SWALLOWED = """
    print("ready", flush=True)
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass
"""
SLOW_CLEANING = """
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaning", flush=True)
        time.sleep(60)
"""
BOTH = pytest.mark.parametrize(
    ("number", "status", "line"),
    [(signal.SIGINT, 130, "interrupted by Ctrl-C"), (signal.SIGTERM, 143, "ended by SIGTERM")],
)


def block(inside: str) -> str:
    return BLOCK.format(inside=inside.strip())


@BOTH
@pytest.mark.parametrize(
    "inside", ["print('ready', flush=True); time.sleep(60)", SWALLOWED], ids=["sleeps", "swallows"]
)
def test_a_signal_is_one_line_and_a_status(
    started: Started, number: signal.Signals, status: int, line: str, inside: str
) -> None:
    process = started.python("-c", block(inside))
    started.wait_for("ready")
    process.send_signal(number)
    assert process.wait(10) == status
    assert started.output() == f"ready\n{line}\n"


def test_a_signal_that_is_ignored_stays_ignored(started: Started) -> None:
    """As in the background of a shell, or under nohup."""
    inside = "print('ready', flush=True); time.sleep(1); print('done')"
    process = started.python("-c", f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{block(inside)}")
    started.wait_for("ready")
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert started.output() == "ready\ndone\n"


def test_a_ctrl_c_within_an_import_of_c_has_the_same_status(started: Started) -> None:
    """They run Python code by this function, and Python then ends by the signal, whatever the status is."""
    ended = "import atexit; from dssm_lightning.utils.interrupts import end_quietly; atexit.register(end_quietly)"
    inside = """
    import ctypes
    run = ctypes.pythonapi.PyRun_String
    run.argtypes, run.restype = [ctypes.c_char_p, ctypes.c_int, ctypes.py_object, ctypes.py_object], ctypes.py_object
    run(b"print(chr(33), flush=True); import time; time.sleep(60)", 257, {}, {})
"""
    (started.folder / "imports.py").write_text(f"{ended}\n{block(inside)}")
    process = started.python("-m", "imports")
    started.wait_for("!")
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert started.output() == "!\ninterrupted by Ctrl-C\n"


def test_a_second_signal_does_not_wait_for_what_the_first_one_cleans(started: Started) -> None:
    process = started.python("-c", block(SLOW_CLEANING).replace("GRACE_S = 0.5", "GRACE_S = 60"))
    started.wait_for("ready")
    process.send_signal(signal.SIGINT)
    started.wait_for("cleaning")
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert started.output() == "ready\ncleaning\ninterrupted by Ctrl-C\n"


def test_a_fit_has_the_time_that_it_needs(started: Started) -> None:
    inside = """
    interrupts.wait_for_training(True)
    signal.signal(signal.SIGTERM, lambda *_: None)
    print("ready", flush=True)
    for _ in range(20):
        time.sleep(0.1)
    print("saved")
"""
    process = started.python("-c", block(inside))
    started.wait_for("ready")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert started.output() == "ready\nsaved\n"


def test_the_signal_of_a_forked_process_does_not_end_its_parent(started: Started) -> None:
    inside = """
    child = os.fork()
    if not child:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
        print("ready", flush=True)
        time.sleep(60)
    time.sleep(0.3)
    os.kill(child, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    time.sleep(1)
"""
    process = started.python("-c", block(inside))
    assert process.wait(10) == 0, started.output()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_launched_process_ends_after_the_one_that_launched_it(started: Started, number: signal.Signals) -> None:
    inside = """
    words = [sys.executable, sys.argv[0], "launched"]
    if len(sys.argv) == 1:
        subprocess.Popen(words, env={**os.environ, "LOCAL_RANK": "1"})
    else:
        print(f"child {os.getpid()}", flush=True)
    while True:
        time.sleep(0.1)
"""
    (started.folder / "launch.py").write_text(block(inside))
    process = started.python("launch.py")
    started.wait_for("child")
    child = int(started.output().split()[1])
    process.send_signal(number)
    process.wait(10)
    wait_for_end([child], 10)


def wait_for_end(processes: list[int], seconds: float) -> None:
    end = time.monotonic() + seconds
    while running := [each for each in processes if is_running(each)]:
        assert time.monotonic() < end, f"still running after {seconds} s: {running}"
        time.sleep(0.1)


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# -- commands ----------------------------------------------------------------------------------------------------------

SLOW = """
import sys, time

def slow(folder, *rest):
    write(folder, *rest)
    print("preparing", flush=True)
    time.sleep(300)

from dssm_lightning.utils.interrupts import end_on_signals
with end_on_signals():
    from dssm_lightning.data.preparation import cache
    write, cache._write_into = cache._write_into, slow
from dssm_lightning.__main__ import run
run()
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["baseline", "fit"])
@BOTH
def test_an_interrupted_preparation_leaves_nothing(
    started: Started,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    number: signal.Signals,
    status: int,
    line: str,
) -> None:
    """Everything is written when the signal comes, and only the rename is missing."""
    config = write_config(started.folder / "small.yaml")
    process = started.python("-c", SLOW, command, "--config", str(config))
    started.wait_for("preparing")
    assert [path.suffix[:4] for path in (started.folder / "cache").iterdir() if path.is_dir()] == [".tmp"]
    process.send_signal(number)
    assert process.wait(30) == status
    assert started.output().endswith(f"{line}\n")
    assert "Traceback" not in started.output()
    assert [path for path in (started.folder / "cache").iterdir() if path.is_dir()] == []
    monkeypatch.chdir(started.folder)
    main(["baseline", "--config", str(config)])


def children(process: int) -> list[int]:
    """The processes that Lightning's launcher started."""
    found = []
    with suppress(OSError):  # some children end at once
        for each in Path(f"/proc/{process}/task/{process}/children").read_text().split():
            if b"LOCAL_RANK=1" in Path(f"/proc/{each}/environ").read_bytes().split(b"\0"):
                found.append(int(each))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 6])
@pytest.mark.parametrize(
    ("to", "number"),
    [("first", signal.SIGTERM), ("first", signal.SIGINT), ("first", signal.SIGKILL), ("second", signal.SIGTERM)],
)
def test_a_signal_to_one_of_two_processes_before_training_ends_both(
    started: Started, to: str, number: signal.Signals, seconds: float
) -> None:
    config = write_config(started.folder / "small.yaml", trainer={"max_epochs": 100_000})
    words = ["fit", "--config", str(config), "--trainer.strategy", "ddp", "--trainer.devices", "2"]
    process = started.python("-m", "dssm_lightning", *words)
    end = time.monotonic() + 90
    while not (second := children(process.pid)):
        assert time.monotonic() < end, started.output()
        assert process.poll() is None, started.output()
        time.sleep(0.05)
    time.sleep(seconds)
    os.kill(process.pid if to == "first" else second[0], number)
    status = process.wait(60)
    wait_for_end(second, 60)
    if to == "first":
        assert status == {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}[number]
        assert "Traceback" not in started.output()
    else:  # Lightning kills the first process, or its connection breaks
        assert status in (1, 143, -9)
