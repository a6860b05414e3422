"""A study on the disk: its trials in an SQLite file, which several processes may work on at the same time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from filelock import FileLock, Timeout

from dssm_lightning.training.tuning.dimension import Dimension, values_of
from dssm_lightning.training.tuning.goal import Goal
from dssm_lightning.training.tuning.proposals import LOCAL, Tried, propose
from dssm_lightning.training.tuning.study_file import as_user_errors, open_file, require_no_other_data
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.optional_packages import naming_packages
from dssm_lightning.utils.seeding import mix

if TYPE_CHECKING:
    import optuna

OWN, PROCESS, REASON, EPOCHS, SECONDS = "own", "process", "reason", "epochs", "seconds"
KEPT = 75.0
"""Percentage of the trials that are better than one which is stopped; a dropout that helps in the end learns slowly."""
WARM_UP = 5
"""Epochs before which no trial is stopped; half of the epochs if there are fewer than twice as many."""
INTERRUPTED = "interrupted"
LONGEST_REASON = 300
DIED = "its process ended: it was killed, or the machine had no memory left"


class TuningStudy:
    """The trials of a config. All processes that open one file share the trials, and each trial runs once.

    Args:
        path: the SQLite file; beside it lie a lock and a folder of what trials leave.
        goal: of this config.
        space: what trials may change.
        trials: how many trials the study has in the end, those of all processes together.
        epochs: of a whole trial; None = unknown.
        seed: of the proposals.

    Raises:
        UserError: the study is that of another config, or the file is no study; Optuna is not installed.
    """

    def __init__(
        self, path: Path, goal: Goal, space: list[Dimension], trials: int, epochs: int | None = None, seed: int = 1
    ) -> None:
        with naming_packages("tune", "tune"):
            import optuna
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.path, self.goal, self.space, self.trials, self.seed = path, goal, space, trials, seed
        self.folder = path.with_suffix(".trials")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._name = f"process-{os.getpid()}-{uuid4().hex[:8]}"
        self._alive = FileLock(self.folder / f"{self._name}.lock")
        self._alive.acquire()
        self._lock = FileLock(path.with_name(f"{path.name}.lock"))
        warm_up = max(2, min(WARM_UP, (epochs or 6) // 2))
        pruner = optuna.pruners.PercentilePruner(KEPT, n_startup_trials=4, n_warmup_steps=warm_up)
        with self._lock, as_user_errors(path):
            require_no_other_data(path)
            self.study, self._storage = open_file(path, goal.mode, pruner)
            self._begin()

    def _begin(self) -> None:
        """Compare the study with the goal, or put the config's own settings into the queue of a new study."""
        found = self.study.user_attrs
        if found.get("digest") is None and self.study.trials:
            raise UserError(f"--study {self.path} has a study that tune did not write: name another file")
        if found.get("digest") is not None:
            if found["digest"] != self.goal.digest:
                raise UserError(self.goal.other(self.path, found))
            return
        for name, value in self.goal._asdict().items():
            self.study.set_user_attr(name, value)
        self._enqueue({each.name: each.own for each in self.space}, own=True)
        self.study.set_user_attr("digest", self.goal.digest)  # last: a study without it is begun again

    def next_trial(self) -> optuna.Trial | None:
        """Return a trial that no other process runs; None if the study has all its trials."""
        with self._lock:
            self._bury()
            found = self.counted()
            if len(found) >= self.trials:
                return None
            self._propose()
            trial = self.study.ask()
            trial.set_user_attr(PROCESS, self._name)
            return trial

    def _propose(self) -> None:
        """Put a trial into the queue if it is empty; a study of many trials leaves that to Optuna."""
        from optuna.samplers import TPESampler

        trials, sign = self.study.get_trials(deepcopy=False), 1.0 if self.goal.mode == "max" else -1.0
        seed = mix(self.seed, len(trials)) % 2**32
        if len(trials) >= LOCAL:
            self.study.sampler = TPESampler(seed=seed)
        elif all(each.state.name != "WAITING" for each in trials):
            complete = {each.number: sign * (each.value or 0.0) for each in trials if each.state.name == "COMPLETE"}
            tried = [Tried(values_of(self.space, each.params), complete.get(each.number)) for each in trials]
            self._enqueue(propose(self.space, tried, seed))

    def _enqueue(self, values: Mapping[str, Any], own: bool = False) -> None:
        parameters = {each.name: each.parameter(values[each.name]) for each in self.space}
        self.study.enqueue_trial(parameters, user_attrs={OWN: own})

    def counted(self) -> list[optuna.trial.FrozenTrial]:
        """Return the trials that have begun, without those that were interrupted and will be repeated."""
        return [
            each
            for each in self.study.get_trials(deepcopy=False)
            if each.state.name != "WAITING" and self.reason(each.number) != INTERRUPTED
        ]

    def reason(self, number: int) -> str | None:
        """Return why a trial failed."""
        found: str | None = self.study.user_attrs.get(f"{REASON} {number}")
        return found

    def complete(self, trial: optuna.Trial, value: float) -> None:
        """Record a trial that has all its epochs, or those that early stopping gave it."""
        self.study.tell(trial, value)

    def prune(self, trial: optuna.Trial) -> None:
        """Record a trial that was stopped because others were better after as many epochs."""
        from optuna.trial import TrialState

        self.study.tell(trial, state=TrialState.PRUNED)

    def fail(self, number: int, reason: str) -> None:
        """Record a trial that died."""
        from optuna.trial import TrialState

        self.study.set_user_attr(f"{REASON} {number}", " ".join(reason.split())[:LONGEST_REASON])
        self.study.tell(number, state=TrialState.FAIL)

    def interrupt(self, trial: optuna.Trial) -> None:
        """Record an interrupted trial, and put its settings into the queue again."""
        self.fail(trial.number, INTERRUPTED)
        self._enqueue(values_of(self.space, trial.params), bool(trial.user_attrs.get(OWN)))

    def close(self) -> None:
        """Let other processes know that this one runs no trial."""
        self._storage.remove_session()
        self._storage.engine.dispose()  # the last one to close leaves the file alone, without its journal
        self._alive.release()
        Path(self._alive.lock_file).unlink(missing_ok=True)

    def _bury(self) -> None:
        """Record the trials of processes that have ended; the config's own settings get a second chance."""
        for each in self.study.get_trials(deepcopy=False):
            name = each.user_attrs.get(PROCESS)
            if each.state.name != "RUNNING" or name == self._name or _is_locked(self.folder / f"{name}.lock"):
                continue
            first = each.user_attrs.get(OWN) and not any(
                other.user_attrs.get(OWN) and other.number < each.number
                for other in self.study.get_trials(deepcopy=False)
            )
            self.fail(each.number, DIED)
            if first:
                self._enqueue(values_of(self.space, each.params), own=True)


def _is_locked(path: Path) -> bool:
    if not path.is_file():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except (Timeout, OSError):
        return True
    lock.release()
    return False
