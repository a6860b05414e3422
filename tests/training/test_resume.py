"""A run that is interrupted and resumed from ``last`` ends like the uninterrupted run, to the last bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
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

from dssm_lightning.cli.main import main
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
    """A folder with a cache for all runs of this module."""
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(autouse=True)
def _in_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")


def uninterrupted(place: Path, run: Callable[..., None], name: str, **settings: Any) -> Path:
    """Train a run without interruption, and return its last checkpoint."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PL_GLOBAL_SEED", "3")
        run(name, **settings)
    return place / checkpoints(name) / "last.ckpt"


class Validated(Callback):
    """Keeps a metric of each validation, by epoch."""

    def __init__(self) -> None:
        self.found: dict[int, float] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.found[trainer.current_epoch] = float(trainer.callback_metrics["val/ndcg@10"])


@pytest.fixture(scope="module")
def validated() -> Validated:
    """The metrics of the run ``whole``."""
    return Validated()


@pytest.fixture(scope="module")
def whole(place: Path, validated: Validated) -> Path:
    """The last checkpoint of a plain run."""
    return uninterrupted(place, fit, "whole", also=(validated,))


def test_the_same_run_twice_is_the_same(whole: Path) -> None:
    fit("again")
    assert_same_training(whole, checkpoints("again") / "last.ckpt")


@pytest.mark.parametrize("hook", ["on_validation_start", "on_validation_batch_start", "on_validation_end"])
def test_an_interrupted_validation_is_repeated(whole: Path, validated: Validated, hook: str) -> None:
    rest = Validated()
    stopped = checkpoints(f"validated-{hook}") / "last.ckpt"
    with pytest.raises(Stop):
        fit(f"validated-{hook}", StopAt(hook, 2))
    fit(f"validated-{hook}", ckpt_path=stopped, also=(rest,))
    assert rest.found == {epoch: validated.found[epoch] for epoch in (1, 2, 3)}
    assert_same_training(whole, stopped)


class Steps(Callback):
    """Keeps the step of each validation."""

    def __init__(self) -> None:
        self.found: list[int] = []

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.found.append(trainer.global_step)


def test_a_validation_within_an_epoch_is_neither_lost_nor_repeated() -> None:
    """Seven batches an epoch; a validation and a checkpoint after every third, at 3 and 6 of each epoch."""
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
    assert first.found == [3, 6]  # killed before the end of the second
    assert rest.found == [6, 10, 13]
    assert_same_training(checkpoints("thirds") / "last.ckpt", last)


@pytest.fixture(scope="module")
def long(place: Path) -> Path:
    """The last checkpoint of a run with all features of a long run."""
    return uninterrupted(place, fit_long, "long")


@pytest.mark.parametrize(
    ("hook", "number", "every"),
    [
        ("on_train_batch_start", 12, 2),  # within an epoch, at an odd step, by a kill
        ("on_train_batch_start", 14, None),
        ("on_validation_batch_start", 2, 3),  # the model holds the averaged weights
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


def test_a_run_may_be_interrupted_and_later_killed(long: Path) -> None:
    """The interrupt loses a batch that had started; a later checkpoint must not count this batch."""
    stopped = checkpoints("killed-later") / "last.ckpt"
    with pytest.raises(Stop):
        fit_long("killed-later", StopAt("on_train_batch_start", 3))
    with pytest.raises(Stop):
        fit_long("killed-later", StopAt("on_train_batch_start", 3), ckpt_path=stopped, every=1)
    fit_long("killed-later", ckpt_path=stopped)
    assert_same_training(long, stopped)


def test_a_fit_that_max_steps_ends_within_an_epoch_can_be_resumed(long: Path) -> None:
    fit_long("steps", max_steps=7)  # of 4 an epoch
    stopped = checkpoints("steps") / "last.ckpt"
    assert content(stopped)["RetrievalDataModule"]["done"] == 6
    fit_long("steps", ckpt_path=stopped)
    assert_same_training(long, stopped)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks used to create the checkpoint")
def test_a_fit_that_max_time_ends_within_an_epoch_can_be_resumed(long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = count()  # the clock moves by one second at each reading: before the fit and after each batch
    monkeypatch.setattr(Timer, "time_elapsed", lambda *_: float(next(seconds)))
    fit_long("time", max_time={"seconds": 5})
    stopped = checkpoints("time") / "last.ckpt"
    assert (
        content(stopped)["RetrievalDataModule"]["done"] == 6
    )  # time is up after 5 batches, but two batches make a step
    fit_long("time", ckpt_path=stopped)
    assert_same_training(long, stopped)


@pytest.fixture(scope="module")
def learnt(place: Path) -> Path:
    """The last checkpoint of a run with mined negatives, a memory and a streaming frequency."""
    return uninterrupted(place, fit, "learnt", over=LEARNT)


def test_pools_memory_and_frequency_are_in_the_checkpoint(learnt: Path) -> None:
    found = content(learnt)
    assert found["RetrievalDataModule"]["negatives"]["0"]["epoch"] == 3  # mined before epochs 1 and 3
    assert found["RetrievalDataModule"]["negatives"]["0"]["pools"].dtype == torch.int32
    assert found["RetrievalDataModule"]["frequency"]["rows"] == 64 * found["global_step"]
    assert (found["state_dict"]["memory.id"] >= 0).sum() > 50
    assert found["state_dict"]["memory.newest"].item() == found["global_step"]


@pytest.mark.parametrize(
    ("hook", "number"),
    [
        ("on_train_batch_end", 3),  # before the first mining
        ("on_train_batch_start", 10),  # a batch has started and is lost
        ("on_before_optimizer_step", 10),  # the batch has been scored, and is not yet in the memory
        ("on_train_batch_end", 14),  # the last batch of an epoch
        ("on_train_batch_end", 17),
        ("on_train_epoch_start", 4),  # before the second mining
        ("on_train_epoch_end", 3),
    ],
)
def test_an_interrupted_run_resumes_to_the_last_bit(learnt: Path, hook: str, number: int) -> None:
    run = f"learnt-{hook}-{number}"
    with pytest.raises(Stop):
        fit(run, callback=StopAt(hook, number), over=LEARNT)
    stopped = checkpoints(run) / "last.ckpt"
    assert content(stopped)["global_step"] < content(learnt)["global_step"]
    fit(run, ckpt_path=stopped, over=LEARNT)
    assert_same_training(learnt, stopped)
    assert_same_training(learnt.with_name("best.ckpt"), stopped.with_name("best.ckpt"))


@pytest.mark.parametrize("when", ["making a batch", "mining"])
def test_an_interrupt_within_a_batch_or_the_mining(learnt: Path, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_run_with_limited_epochs_resumes_to_the_last_bit() -> None:
    limits = {"over": LEARNT, "limit_train_batches": 3, "max_epochs": 3}
    fit("limit-whole", **limits)
    with pytest.raises(Stop):
        fit("limit", StopAt("on_train_batch_start", 6), **limits)
    stopped = checkpoints("limit") / "last.ckpt"
    fit("limit", ckpt_path=stopped, **limits)
    assert_same_training(checkpoints("limit-whole") / "last.ckpt", stopped)


@pytest.mark.slow
def test_a_run_with_max_steps_resumes_to_the_last_bit() -> None:
    fit("max-steps-whole", max_steps=17)
    with pytest.raises(Stop):
        fit("max-steps", StopAt("on_train_epoch_end", 2), max_steps=17)
    stopped = checkpoints("max-steps") / "last.ckpt"
    fit("max-steps", ckpt_path=stopped, max_steps=17)
    assert_same_training(checkpoints("max-steps-whole") / "last.ckpt", stopped)


@pytest.mark.parametrize(("every", "over"), [(4, ()), (1, LEARNT)], ids=["plain", "learnt"])
def test_a_killed_run_resumes_from_the_saved_step(
    request: pytest.FixtureRequest, every: int, over: Path | tuple[Path, ...]
) -> None:
    """A kill leaves no time to save: the checkpoint is the one of ``--last.every_n_train_steps``."""
    run, expected = f"killed-{every}", request.getfixturevalue("learnt" if over else "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LastCheckpoint, "on_exception", lambda *_: None)
        with pytest.raises(Stop):
            fit(run, StopAt("on_train_batch_start", 11), every=every, over=over)
    stopped = checkpoints(run) / "last.ckpt"
    assert content(stopped)["global_step"] == 10 // every * every
    fit(run, ckpt_path=stopped, every=every, over=over)
    assert_same_training(expected, stopped)


def test_a_run_may_be_resumed_again_and_again(whole: Path) -> None:
    stopped = checkpoints("often") / "last.ckpt"
    for number, ckpt_path in ((4, None), (6, stopped)):
        with pytest.raises(Stop):
            fit("often", callback=StopAt("on_train_batch_end", number), ckpt_path=ckpt_path)
    fit("often", ckpt_path=stopped)
    assert_same_training(whole, stopped)


# -- several processes, other numbers of them --------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_resume_and_one_process_continues_from_their_checkpoint(place: Path) -> None:
    script = HELPERS / "resume_across_ranks.py"
    command = ["timeout", "-k", "5", "150", sys.executable, str(script), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    statuses = [Path(f"terminated.{process}").read_text() for process in (0, 1)]
    assert statuses == ["143", "143"]  # SIGTERM to one of them stops both
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
    """The part of a checkpoint that holds the progress of a run with 1,024 rows an epoch."""
    layout = Layout(3, world_size, batch_size, 1024 // (world_size * batch_size))._asdict()
    current = {"ready": done, "started": done, "processed": done, "completed": done - 1}
    loops = {"fit_loop": {"epoch_loop.batch_progress": {"total": {"ready": 20}, "current": current}}}
    return {"data": {"epoch": 1, "done": done, "layout": layout}, "loops": loops}


@pytest.mark.filterwarnings("ignore:the checkpoint was written by")
@pytest.mark.parametrize(
    ("done", "before", "now", "then"),
    [
        (3, (2, 64), (2, 64), 3),
        (3, (2, 64), (1, 128), 3),  # the same rows a step
        (3, (2, 64), (4, 32), 3),
        (4, (2, 64), (4, 64), 2),  # twice as many
        (3, (2, 64), (1, 64), 6),  # half as many
        (0, (2, 64), (3, 50), 0),  # an epoch's start
    ],
)
def test_a_checkpoint_fits_other_numbers_of_processes(
    done: int, before: tuple[int, int], now: tuple[int, int], then: int
) -> None:
    checkpoint = at(done, *before)
    adapt(checkpoint, "data", Layout(3, *now, 1024 // (now[0] * now[1])))
    assert checkpoint["data"]["done"] == then
    assert checkpoint["loops"] == at(then, *before)["loops"]  # Lightning's counters


def test_a_checkpoint_that_does_not_fit_other_processes_names_a_batch_size_that_does() -> None:
    with pytest.raises(
        ValueError,
        match=r"after 3 steps of 2 processes with batches of 64.*4 processes with batches of 64.*128 rows",
    ):
        adapt(at(3, 2, 64), "data", Layout(3, 4, 64, 4))
    old = {"data": {"epoch": 1, "done": 3}}  # of a release without a layout
    adapt(old, "data", Layout(3, 4, 64, 4))
    assert old == {"data": {"epoch": 1, "done": 3}}


class Rows(Callback):
    """Keeps the rows of each trained batch."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seen += batch.row.tolist()


def test_other_batch_sizes_continue_in_the_same_order_at_a_common_boundary() -> None:
    """480 rows: 7 batches of 64, or 15 of 32; after 3 batches of 64, 9 batches of 32 are left."""
    whole, first, rest = Rows(), Rows(), Rows()
    fit("rows", also=(whole,), max_epochs=1)
    with pytest.raises(Stop):
        fit("rows-by-two", StopAt("on_train_batch_start", 4), also=(first,), max_epochs=1)
    last = checkpoints("rows-by-two") / "last.ckpt"
    with pytest.raises(ValueError, match="after 3 steps of 1 process with batches of 64"):
        fit("rows-by-two", ckpt_path=last, batch_size=50, max_epochs=1)
    with pytest.warns(match="1 process with batches of 64.*1 process with batches of 32"):
        fit("rows-by-two", ckpt_path=last, also=(rest,), batch_size=32, max_epochs=1)
    assert len(rest.seen) == 9 * 32
    assert [*first.seen, *rest.seen][: len(whole.seen)] == whole.seen
    assert content(last)["RetrievalDataModule"]["epoch"] == 1


def test_another_seed_causes_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Stop):
        fit("seed", StopAt("on_train_batch_start", 4), max_epochs=1)
    monkeypatch.setenv("PL_GLOBAL_SEED", "4")
    with pytest.warns(match="seed_everything is 4, and the checkpoint was trained with 3"):
        fit("seed", ckpt_path=checkpoints("seed") / "last.ckpt", max_epochs=1)


# -- real processes ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_real_process_is_killed_interrupted_and_terminated() -> None:
    """By signals that it sends to itself within a step: after each, a new process resumes."""
    configs = [option for path in (CONFIG, *LONG) for option in ("--config", str(path))]
    here = ["fit", *configs, "--last.every_n_train_steps=3"]
    main(here)
    runs = Path("runs") / CONFIG.stem
    expected, folder = runs / "version_0" / "checkpoints", runs / "version_1"
    last = folder / "checkpoints" / "last.ckpt"
    for number, step, status, saved in (
        (signal.SIGKILL, 7, -9, 6),
        (signal.SIGINT, 9, 130, 10),  # after the step
        (signal.SIGTERM, 12, 143, 13),
    ):
        at = {"number": number, "step": step}
        callback = json.dumps({"class_path": "helpers.resuming.SignalAt", "init_args": at})
        resume = ["--ckpt_path=last"] if last.is_file() else []
        output, found = run_process(*here, f"--trainer.callbacks+={callback}", *resume)
        assert found == status, output
        assert "Traceback" not in output
        assert content(last)["global_step"] == saved
        assert not list(folder.glob("checkpoints/*tmp*"))
    main([*here, "--ckpt_path=last"])
    for which in ("last.ckpt", "best.ckpt"):
        assert_same_training(expected / which, last.with_name(which))
    assert (folder / "config.resume-3.yaml").is_file()
    assert not (runs / "version_2").exists()
    resumed, uninterrupted = ({path.name for path in place.glob("mrr-*.ckpt")} for place in (last.parent, expected))
    assert len(resumed) == 2  # the two best by another metric
    assert resumed == uninterrupted


def run_process(*arguments: str) -> tuple[str, int]:
    """Run the command line in a process of its own, and return its output and exit status."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = ["timeout", "-k", "5", "200", sys.executable, "-m", "dssm_lightning", *arguments]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=environment
    )
    return done.stdout, done.returncode
