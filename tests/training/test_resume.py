"""A run that is interrupted and resumed from ``last`` ends as the uninterrupted one does, to the last bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.paths import HELPERS
from helpers.resuming import (
    CONFIG,
    LEARNT,
    LONG,
    Stop,
    StopAt,
    assert_same_training,
    checkpoints,
    content,
    fit,
    fit_long,
)
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Timer

from dssm_lightning.data.batching.assembler import Assembler
from dssm_lightning.data.negatives import Hard
from dssm_lightning.data.resuming import Layout, adapt
from dssm_lightning.training.callbacks.last_checkpoint import LastCheckpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
    pytest.mark.filterwarnings("ignore:.*could not find the monitored key"),
    pytest.mark.filterwarnings("ignore:.*exists and is not empty"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose cache all of this module's runs share."""
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")


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


class Validated(Callback):
    """Keeps the metric of each epoch that is validated."""

    def __init__(self) -> None:
        self.found: dict[int, float] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.found[trainer.current_epoch] = float(trainer.callback_metrics["val/ndcg@10"])


@pytest.mark.parametrize("hook", ["on_validation_start", "on_validation_batch_start", "on_validation_end"])
def test_a_validation_that_is_interrupted_is_not_lost(hook: str) -> None:
    whole, rest = Validated(), Validated()
    fit("validated", also=(whole,), max_epochs=3)
    with pytest.raises(Stop):
        fit(f"validated-{hook}", StopAt(hook, 2), max_epochs=3)
    fit(f"validated-{hook}", ckpt_path=checkpoints(f"validated-{hook}") / "last.ckpt", also=(rest,), max_epochs=3)
    assert rest.found == {epoch: whole.found[epoch] for epoch in (1, 2)}


class Steps(Callback):
    """Keeps the steps after which is validated."""

    def __init__(self) -> None:
        self.found: list[int] = []

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.found.append(trainer.global_step)


def test_a_validation_within_an_epoch_is_neither_lost_nor_repeated() -> None:
    """Each third of seven batches is validated after, and saved: 3 and 6 in each epoch."""
    whole, first, rest = Steps(), Steps(), Steps()
    fit("thirds", also=(whole,), max_epochs=2, val_check_interval=3, every=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LastCheckpoint, "on_exception", lambda *_: None)  # killed
        with pytest.raises(Stop):
            fit(
                "thirds-killed",
                StopAt("on_validation_end", 2),
                also=(first,),
                max_epochs=2,
                val_check_interval=3,
                every=3,
            )
    last = checkpoints("thirds-killed") / "last.ckpt"
    fit("thirds-killed", ckpt_path=last, also=(rest,), max_epochs=2, val_check_interval=3, every=3)
    assert whole.found == [3, 6, 10, 13]
    assert first.found == [3, 6]  # and its end was not reached
    assert rest.found == [6, 10, 13]
    assert_same_training(checkpoints("thirds") / "last.ckpt", last)


@pytest.fixture(scope="module")
def long(place: Path) -> Path:
    """The last checkpoint of a run with all that a long run has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PL_GLOBAL_SEED", "3")
        fit_long("long")
    return place / checkpoints("long") / "last.ckpt"


@pytest.mark.parametrize(
    ("hook", "number", "every"),
    [
        ("on_train_batch_start", 12, 2),  # in mid-epoch, an odd step, and a kill
        ("on_train_batch_start", 14, None),
        ("on_validation_batch_start", 2, 3),  # the averaged weights are in place
        pytest.param("on_validation_end", 1, 3, marks=pytest.mark.slow),
        pytest.param("on_train_epoch_start", 3, None, marks=pytest.mark.slow),
    ],
)
def test_a_long_run_resumes_to_the_last_bit(long: Path, hook: str, number: int, every: int | None) -> None:
    run = f"long-{hook}-{number}"
    with pytest.MonkeyPatch.context() as patch:
        if every == 2:
            patch.setattr(LastCheckpoint, "on_exception", lambda *_: None)
        with pytest.raises(Stop):
            fit_long(run, StopAt(hook, number), every=every)
    stopped = checkpoints(run) / "last.ckpt"
    assert content(stopped)["global_step"] < content(long)["global_step"]
    fit_long(run, ckpt_path=stopped, every=every)
    assert_same_training(long, stopped)
    assert_same_training(long.with_name("best.ckpt"), stopped.with_name("best.ckpt"))


def test_a_run_that_was_interrupted_may_be_killed_later(long: Path) -> None:
    """The interrupt lost a batch that had begun; what is saved after a step later on knows nothing of it."""
    stopped = checkpoints("killed-later") / "last.ckpt"
    with pytest.raises(Stop):
        fit_long("killed-later", StopAt("on_train_batch_start", 3))
    with pytest.raises(Stop):
        fit_long("killed-later", StopAt("on_train_batch_start", 3), ckpt_path=stopped, every=1)
    fit_long("killed-later", ckpt_path=stopped)
    assert_same_training(long, stopped)


def test_a_fit_that_max_steps_ends_within_an_epoch_goes_on(long: Path) -> None:
    fit_long("steps", max_steps=7)  # of 4 an epoch
    stopped = checkpoints("steps") / "last.ckpt"
    assert content(stopped)["RetrievalDataModule"]["done"] == 6
    fit_long("steps", ckpt_path=stopped)
    assert_same_training(long, stopped)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to create the checkpoint")
def test_a_fit_that_max_time_ends_within_an_epoch_goes_on(long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = count()  # one passes whenever the clock is looked at: before the fit and after each batch
    monkeypatch.setattr(Timer, "time_elapsed", lambda *_: float(next(seconds)))
    fit_long("time", max_time={"seconds": 5})
    stopped = checkpoints("time") / "last.ckpt"
    assert content(stopped)["RetrievalDataModule"]["done"] == 6  # time is up after 5 batches, and two make a sum
    fit_long("time", ckpt_path=stopped)
    assert_same_training(long, stopped)


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


# -- several processes, other numbers of them --------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_resume_and_one_goes_on_with_their_checkpoint(place: Path) -> None:
    script = HELPERS / "resume_across_ranks.py"
    command = ["timeout", "-k", "5", "150", sys.executable, str(script), str(place)]
    environment = {**os.environ, "PYTHONPATH": str(script.parent.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert [Path(f"terminated.{rank}").read_text() for rank in (0, 1)] == ["143", "143"]  # SIGTERM went to one alone
    for run in ("two-killed", "two-terminated"):
        for which in ("last.ckpt", "best.ckpt"):
            assert_same_training(checkpoints("two") / which, checkpoints(run) / which)
    last = checkpoints("two-by-one") / "last.ckpt"
    stopped = content(last)
    assert stopped["RetrievalDataModule"]["layout"] == {"seed": 3, "world_size": 2, "batch_size": 32, "batches": 7}
    with pytest.warns(match="2 processes with batches of 32, and 1 process with batches of 64"):
        fit_long("two-by-one", ckpt_path=last, max_epochs=2)
    finished = content(last)
    assert (
        0 < stopped["global_step"] < finished["global_step"] == content(checkpoints("two") / "last.ckpt")["global_step"]
    )


def at(done: int, world_size: int, batch_size: int) -> dict[str, Any]:
    """What of a checkpoint says how far a run of 1,024 rows an epoch has come."""
    layout = Layout(3, world_size, batch_size, 1024 // (world_size * batch_size))._asdict()
    current = {"ready": done, "started": done, "processed": done, "completed": done - 1}
    loops = {"fit_loop": {"epoch_loop.batch_progress": {"total": {"ready": 20}, "current": current}}}
    return {"data": {"epoch": 1, "done": done, "layout": layout}, "loops": loops}


@pytest.mark.filterwarnings("ignore:the checkpoint was written by")
@pytest.mark.parametrize(
    ("done", "ranks", "now", "then"),
    [
        (3, (2, 64), (2, 64), 3),
        (3, (2, 64), (1, 128), 3),  # the same rows a step
        (3, (2, 64), (4, 32), 3),
        (4, (2, 64), (4, 64), 2),  # twice as many
        (3, (2, 64), (1, 64), 6),  # half as many
        (0, (2, 64), (3, 50), 0),  # an epoch's start
    ],
)
def test_a_checkpoint_fits_other_ranks(done: int, ranks: tuple[int, int], now: tuple[int, int], then: int) -> None:
    checkpoint = at(done, *ranks)
    adapt(checkpoint, "data", Layout(3, *now, 1024 // (now[0] * now[1])))
    assert checkpoint["data"]["done"] == then
    assert checkpoint["loops"] == at(then, *ranks)["loops"]  # Lightning's counters with it


def test_a_checkpoint_that_does_not_fit_other_ranks_says_what_would() -> None:
    with pytest.raises(
        ValueError,
        match=r"after 3 steps of 2 processes with batches of 64.*4 processes with batches of 64.*128 rows",
    ):
        adapt(at(3, 2, 64), "data", Layout(3, 4, 64, 4))
    old = {"data": {"epoch": 1, "done": 3}}  # of a version that kept no layout
    adapt(old, "data", Layout(3, 4, 64, 4))
    assert old == {"data": {"epoch": 1, "done": 3}}


class Rows(Callback):
    """Keeps the rows of each batch that is trained on."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seen += batch.row.tolist()


def test_other_batches_go_on_in_the_same_order_where_one_begins_there() -> None:
    """480 rows: 7 batches of 64, or 15 of 32; after 3 of 64 there are 9 of 32 left."""
    whole, first, rest = Rows(), Rows(), Rows()
    fit("rows", also=(whole,), max_epochs=1)
    with pytest.raises(Stop):
        fit("rows-by-two", StopAt("on_train_batch_start", 4), also=(first,), max_epochs=1)
    last = checkpoints("rows-by-two") / "last.ckpt"
    with pytest.raises(ValueError, match="after 3 steps of 1 process with batches of 64"):
        fit("rows-by-two", ckpt_path=last, batch_size=50, max_epochs=1)
    with pytest.warns(match="the order of the rows stays"):
        fit("rows-by-two", ckpt_path=last, also=(rest,), batch_size=32, max_epochs=1)
    assert len(rest.seen) == 9 * 32
    assert [*first.seen, *rest.seen][: len(whole.seen)] == whole.seen
    assert content(last)["RetrievalDataModule"]["epoch"] == 1


def test_another_seed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Stop):
        fit("seed", StopAt("on_train_batch_start", 4), max_epochs=1)
    monkeypatch.setenv("PL_GLOBAL_SEED", "4")
    with pytest.warns(match="seed_everything is 4, and the checkpoint was trained with 3"):
        fit("seed", ckpt_path=checkpoints("seed") / "last.ckpt", max_epochs=1)


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


def wait_for_another(process: subprocess.Popen[str], path: Path, step: int, seconds: float = 90) -> None:
    """Until a run has written a checkpoint of a step beyond this one."""
    until = time.monotonic() + seconds
    while not path.exists() or content(path)["global_step"] <= step:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, f"{path} was not written in {seconds:.0f} s"
        time.sleep(0.05)


def finish(process: subprocess.Popen[str]) -> str:
    output = process.communicate(timeout=170)[0]
    assert process.returncode == 0, output
    return output


@pytest.mark.slow
def test_a_real_process_is_killed_interrupted_and_terminated(started: list[subprocess.Popen[str]]) -> None:
    configs = [option for path in (CONFIG, *LONG) for option in ("--config", str(path))]
    fit_here = ["fit", *configs, SLOWER, "--last.every_n_train_steps=3"]
    runs = Path("runs") / CONFIG.stem
    finish(start(started, *fit_here))
    folder = runs / "version_1"
    last = folder / "checkpoints" / "last.ckpt"
    reached = 0
    for number, (how, status) in enumerate({signal.SIGKILL: -9, signal.SIGINT: 1, signal.SIGTERM: 143}.items()):
        process = start(started, *fit_here, "--trainer.max_epochs=400", *(["--ckpt_path=last"] if number else []))
        wait_for_another(process, last, reached)
        os.killpg(process.pid, how) if how == signal.SIGKILL else os.kill(process.pid, how)  # `timeout` hands it on
        output = process.communicate(timeout=60)[0]
        assert process.returncode == status, output
        assert how == signal.SIGKILL or "Traceback" not in output
        stopped = content(last)["global_step"]
        assert reached < stopped < content(runs / "version_0" / "checkpoints" / "last.ckpt")["global_step"]
        assert not list(folder.glob("checkpoints/*tmp*"))
        reached = stopped
    finish(start(started, *fit_here, "--ckpt_path=last"))
    for which in ("last.ckpt", "best.ckpt"):
        assert_same_training(runs / "version_0" / "checkpoints" / which, last.with_name(which))
    assert (folder / "config.resume-3.yaml").is_file()
    assert not (runs / "version_2").exists()
    two, uninterrupted = (  # by another metric
        {path.name for path in (runs / version / "checkpoints").glob("mrr-*.ckpt")}
        for version in ("version_1", "version_0")
    )
    assert len(two) == 2
    assert two == uninterrupted
