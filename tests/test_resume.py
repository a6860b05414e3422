"""A run that is interrupted and resumed from ``last`` ends as the uninterrupted one does, to the last bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from small import small_trainer

from dssm_lightning.callbacks import BestCheckpoint, LastCheckpoint
from dssm_lightning.data.batches import Assembler
from dssm_lightning.data.negatives import Hard
from dssm_lightning.settings import load_data, load_untrained

CONFIG = Path(__file__).parent / "every_kind.yaml"  # dropout of every kind, shared tables, a learnt scale
LEARNT = Path(__file__).parent / "learnt_on_the_way.yaml"  # mined negatives, a memory, a streaming frequency
pytestmark = [
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
    pytest.mark.filterwarnings("ignore:.*could not find the monitored key"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty"),
]


class Stop(BaseException):
    """What a test interrupts with: nothing in between handles it."""


class StopAt(Callback):
    """Interrupts training at a place: (hook, batches trained before)."""

    def __init__(self, hook: str, number: int) -> None:
        self.number, self.seen = number, 0
        setattr(self, hook, self._count)

    def _count(self, *_: Any) -> None:
        self.seen += 1
        if self.seen == self.number:
            raise Stop


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose cache all of this module's runs share."""
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")


def content(path: Path) -> dict[str, Any]:
    found = torch.load(path, weights_only=True)
    assert isinstance(found, dict)
    return found


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def assert_same_training(a: Path, b: Path) -> None:
    one, two = content(a), content(b)
    assert one["global_step"] == two["global_step"] > 0
    for key in ("state_dict", "optimizer_states", "epoch", "RetrievalDataModule"):
        assert same(one[key], two[key]), key


def checkpoints(run: str) -> Path:
    return Path("runs") / run / "checkpoints"


def fit(
    run: str,
    callback: Callback | None = None,
    ckpt_path: Path | None = None,
    every: int | None = None,
    over: Path | None = None,
    **more: Any,
) -> None:
    """What ``fit`` does, without a command line; the callback comes before those that save."""
    configs = [str(path) for path in (CONFIG, over) if path is not None]
    model, data = load_untrained(configs), load_data(configs)
    callbacks = [*([] if callback is None else [callback]), BestCheckpoint("val/ndcg@10"), LastCheckpoint(every)]
    settings = {"max_epochs": 4, "enable_checkpointing": True, "callbacks": callbacks, **more}
    torch.manual_seed(3)
    small_trainer(Path("runs") / run, **settings).fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    """The last checkpoint of a run that nothing interrupts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PL_GLOBAL_SEED", "3")
        fit("whole")
    return place / checkpoints("whole") / "last.ckpt"


def test_the_same_run_twice_is_the_same(whole: Path) -> None:
    fit("again")
    assert_same_training(whole, checkpoints("again") / "last.ckpt")


@pytest.mark.parametrize(
    ("hook", "number"),
    [
        ("on_train_batch_end", 3),  # a batch has been trained on
        ("on_train_batch_start", 10),  # a batch was handed out and is lost
        ("on_before_optimizer_step", 17),  # its gradient is there, the step is not made
        ("on_train_batch_end", 14),  # the last batch of an epoch
        ("on_train_epoch_end", 3),
        *(
            pytest.param(hook, 2, marks=pytest.mark.slow)
            for hook in ("on_train_epoch_start", "on_validation_start", "on_validation_end")
        ),
    ],
)
def test_an_interrupted_run_resumes_to_the_last_bit(whole: Path, hook: str, number: int) -> None:
    run = f"{hook}-{number}"
    with pytest.raises(Stop):
        fit(run, callback=StopAt(hook, number))
    stopped = checkpoints(run) / "last.ckpt"
    assert content(stopped)["global_step"] < content(whole)["global_step"]
    fit(run, ckpt_path=stopped)
    assert_same_training(whole, stopped)


@pytest.fixture(scope="module")
def learnt(place: Path) -> Path:
    """The last checkpoint of a run that draws from what it learns on the way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PL_GLOBAL_SEED", "3")
        fit("learnt", over=LEARNT)
    return place / checkpoints("learnt") / "last.ckpt"


def test_what_is_learnt_on_the_way_is_in_the_checkpoint(learnt: Path) -> None:
    found = content(learnt)
    assert found["RetrievalDataModule"]["negatives"]["0"]["epoch"] == 3  # mined before epochs 1 and 3
    assert found["RetrievalDataModule"]["negatives"]["0"]["pools"].dtype == torch.int32
    assert found["RetrievalDataModule"]["frequency"]["rows"] == 64 * found["global_step"]
    assert (found["state_dict"]["memory.id"] >= 0).sum() > 50
    assert found["state_dict"]["memory.newest"].item() == found["global_step"]


@pytest.mark.parametrize(
    ("hook", "number"),
    [
        ("on_train_batch_end", 3),  # before anything is mined
        ("on_train_batch_start", 10),
        ("on_before_optimizer_step", 10),  # scored, not yet remembered
        ("on_train_batch_end", 17),
        ("on_train_batch_end", 14),  # the last batch of an epoch
        ("on_train_epoch_start", 4),  # before it is mined again
        pytest.param("on_train_epoch_end", 3, marks=pytest.mark.slow),
    ],
)
def test_what_is_learnt_on_the_way_resumes_to_the_last_bit(learnt: Path, hook: str, number: int) -> None:
    run = f"learnt-{hook}-{number}"
    with pytest.raises(Stop):
        fit(run, callback=StopAt(hook, number), over=LEARNT)
    stopped = checkpoints(run) / "last.ckpt"
    assert content(stopped)["global_step"] < content(learnt)["global_step"]
    fit(run, ckpt_path=stopped, over=LEARNT)
    assert_same_training(learnt, stopped)


@pytest.mark.parametrize("when", ["making a batch", "mining"])
def test_an_interrupt_while_something_is_learnt(learnt: Path, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, name, number = (Assembler, "batch", 10) if when == "making a batch" else (Hard, "choose", 2)
    original, calls = getattr(kind, name), []

    def interrupted(self: Any, *args: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            raise Stop
        return original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(kind, name, interrupted)
        with pytest.raises(Stop):
            fit(when, over=LEARNT)
    fit(when, ckpt_path=checkpoints(when) / "last.ckpt", over=LEARNT)
    assert_same_training(learnt, checkpoints(when) / "last.ckpt")


def test_a_limit_ends_an_epoch_early_for_what_is_learnt_as_well() -> None:
    fit("learnt-limit-whole", over=LEARNT, limit_train_batches=3)
    with pytest.raises(Stop):
        fit("learnt-limit", StopAt("on_train_batch_start", 6), over=LEARNT, limit_train_batches=3)
    stopped = checkpoints("learnt-limit") / "last.ckpt"
    fit("learnt-limit", ckpt_path=stopped, over=LEARNT, limit_train_batches=3)
    assert_same_training(checkpoints("learnt-limit-whole") / "last.ckpt", stopped)


def test_an_interrupt_while_a_batch_is_made(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, made = Assembler.batch, []

    def interrupted(self: Assembler, *args: Any) -> Any:
        made.append(1)
        if len(made) == 10:
            raise Stop
        return make(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Assembler, "batch", interrupted)
        with pytest.raises(Stop):
            fit("making")
    stopped = checkpoints("making") / "last.ckpt"
    fit("making", ckpt_path=stopped)
    assert_same_training(whole, stopped)


@pytest.mark.parametrize("every", [1, 4])
def test_a_killed_run_resumes_from_the_step_that_was_saved(whole: Path, every: int) -> None:
    """A kill leaves no time to save: what is there is what ``--last.every_n_train_steps`` wrote."""
    run = f"killed-{every}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LastCheckpoint, "on_exception", lambda *_: None)
        with pytest.raises(Stop):
            fit(run, StopAt("on_train_batch_start", 11), every=every)
    stopped = checkpoints(run) / "last.ckpt"
    assert content(stopped)["global_step"] == 10 // every * every
    fit(run, ckpt_path=stopped, every=every)
    assert_same_training(whole, stopped)


def test_a_run_may_be_resumed_again_and_again(whole: Path) -> None:
    stopped = checkpoints("often") / "last.ckpt"
    for number in (4, 5, 6):
        with pytest.raises(Stop):
            fit("often", callback=StopAt("on_train_batch_end", number), ckpt_path=stopped if stopped.exists() else None)
    fit("often", ckpt_path=stopped)
    assert_same_training(whole, stopped)


@pytest.mark.parametrize(
    "more",
    [
        {"limit_train_batches": 3},
        pytest.param({"max_steps": 17}, marks=pytest.mark.slow),
        pytest.param({"accumulate_grad_batches": 2}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_limits_and_accumulation_resume_as_well(more: dict[str, int]) -> None:
    run = next(iter(more))
    fit(f"{run}-whole", **more)
    with pytest.raises(Stop):
        fit(run, StopAt("on_train_epoch_end", 2), **more)
    fit(run, ckpt_path=checkpoints(run) / "last.ckpt", **more)
    assert_same_training(checkpoints(f"{run}-whole") / "last.ckpt", checkpoints(run) / "last.ckpt")


def test_best_is_known_after_a_resume(whole: Path) -> None:
    with pytest.raises(Stop):
        fit("best", callback=StopAt("on_train_epoch_start", 4))
    fit("best", ckpt_path=checkpoints("best") / "last.ckpt")
    assert_same_training(whole.with_name("best.ckpt"), checkpoints("best") / "best.ckpt")


# -- real processes ----------------------------------------------------------------------------------------------------

SLOWER = "--data.batch_size=16"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes, with all that they started, which are ended whatever happens."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a session of its own
        process.communicate()


def start(started: list[subprocess.Popen[str]], *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CONFIG.parent.parent)}
    environment.pop("PL_GLOBAL_SEED")  # the config's own counts
    # `timeout` counts -k from any signal that it hands on: time enough to write a checkpoint on a busy machine
    command = ["timeout", "--foreground", "-k", "50", "170", sys.executable, "-m", "dssm_lightning", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )
    started.append(process)
    return process


def wait_for(process: subprocess.Popen[str], path: Path, seconds: float = 90) -> None:
    """Until a run has written a file."""
    until = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, f"{path} was not written in {seconds:.0f} s"
        time.sleep(0.02)


def finish(process: subprocess.Popen[str]) -> str:
    output = process.communicate(timeout=170)[0]
    assert process.returncode == 0, output
    return output


@pytest.mark.slow
def test_sigkill_and_ctrl_c_on_real_processes(started: list[subprocess.Popen[str]]) -> None:
    fit_here = ["fit", "--config", str(CONFIG), SLOWER, "--last.every_n_train_steps=3"]
    runs = Path("runs") / CONFIG.stem
    finish(start(started, *fit_here))
    for number, how in ((1, signal.SIGKILL), (2, signal.SIGINT)):
        folder = runs / f"version_{number}"
        last = folder / "checkpoints" / "last.ckpt"
        process = start(started, *fit_here, "--trainer.max_epochs=400")
        wait_for(process, last)
        os.killpg(process.pid, how) if how == signal.SIGKILL else os.kill(process.pid, how)  # `timeout` hands it on
        output = process.communicate(timeout=60)[0]
        assert process.returncode == (-9 if how == signal.SIGKILL else 1), output
        if how == signal.SIGINT:
            assert "Traceback" not in output
        stopped = content(last)["global_step"]
        assert 0 < stopped < content(runs / "version_0" / "checkpoints" / "last.ckpt")["global_step"]
        assert not list(folder.glob("checkpoints/*tmp*"))
        finish(start(started, *fit_here, "--ckpt_path=last"))
        assert_same_training(runs / "version_0" / "checkpoints" / "last.ckpt", last)
        assert (folder / "config.resume-1.yaml").is_file()
        assert not (runs / f"version_{number + 1}").exists()
