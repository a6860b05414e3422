"""Run the trials of a search, one after the other, in one process or several."""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
import yaml

from dssm_lightning.cli.tuning.job import Job
from dssm_lightning.cli.tuning.trial_fit import fit_trial
from dssm_lightning.training.tuning.dimension import changes_of, described
from dssm_lightning.training.tuning.epochs import ReportEpochs
from dssm_lightning.training.tuning.gain import write_rows
from dssm_lightning.training.tuning.study import EPOCHS, OWN, SECONDS, TuningStudy
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_info, show_messages

if TYPE_CHECKING:
    import optuna

MOST_FAILURES = 5
"""If as many trials have failed and none has not, the study ends: something else than their settings is wrong."""
JOIN_S = 30.0
"""Seconds that another process has to end by itself after a signal."""


def run_trials(job: Job, jobs: int = 1) -> None:
    """Run trials until the study has all of them or the time is out, with further processes beside this one.

    Raises:
        UserError: the config's own settings are refused; no trial succeeds.
        KeyboardInterrupt: Ctrl-C; the trial that it stopped is repeated when the study goes on.
    """
    study = job.open()
    try:
        with _further_processes(job, jobs - 1):
            while not _is_over(job) and (trial := study.next_trial()) is not None:
                _run(job, study, trial)
                _stop_if_hopeless(study)
    finally:
        study.close()


def _is_over(job: Job) -> bool:
    return job.deadline is not None and time.time() >= job.deadline


def _run(job: Job, study: TuningStudy, trial: optuna.Trial) -> None:
    """Run one trial, and record how it ends; what stops it is an error of the trial unless a person stops it."""
    deadline = None if job.deadline is None else time.monotonic() + job.deadline - time.time()
    own, began = bool(trial.user_attrs.get(OWN)), time.monotonic()
    report = ReportEpochs(job.metric, job.mode, lambda value, step: _gives_up(trial, value, step, own), deadline)
    try:
        values = {each.name: each.suggest(trial) for each in job.space}
        _fit(job, values, report)
    except BaseException as error:
        _note(trial, report, began)
        if _stopped_by_a_person(error):
            study.interrupt(trial)
            raise
        study.fail(trial.number, f"{type(error).__name__}: {error}")
        log_info(f"trial {trial.number} failed: {study.reason(trial.number)}")
        if own and isinstance(error, UserError):
            raise
    else:
        _note(trial, report, began)
        _finish(study, trial, report, own)
        log_info(_line(job, study, trial, values, report))
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _fit(job: Job, values: dict[str, Any], report: ReportEpochs) -> None:
    changes = changes_of(job.space, values)
    with TemporaryDirectory(prefix="dssm-tune-") as folder:
        path = Path(folder) / "trial.yaml"
        path.write_text(yaml.safe_dump(job.overlay(changes), sort_keys=False), encoding="utf-8")
        fit_trial(job.configs, job.words, [report], path if changes else None)


def _gives_up(trial: optuna.Trial, value: float, step: int, own: bool) -> bool:
    trial.report(value, step)
    return not own and trial.should_prune()


def _note(trial: optuna.Trial, report: ReportEpochs, began: float) -> None:
    trial.set_user_attr(EPOCHS, report.validations)
    trial.set_user_attr(SECONDS, round(time.monotonic() - began, 1))


def _finish(study: TuningStudy, trial: optuna.Trial, report: ReportEpochs, own: bool) -> None:
    if report.best is None:
        study.fail(trial.number, "no validation ran (trainer.limit_val_batches, check_val_every_n_epoch, max_time)")
    elif report.pruned or (report.out_of_time and not own):
        study.prune(trial)
    else:
        if report.rows is not None:
            write_rows(study.folder, trial.number, report.rows)
        study.complete(trial, report.best)


def _line(job: Job, study: TuningStudy, trial: optuna.Trial, values: dict[str, Any], report: ReportEpochs) -> str:
    end = "pruned" if report.pruned else "out of time" if report.out_of_time else "done"
    value = "nothing" if report.best is None else f"{report.best:.4f}"
    seconds = study.study.trials[trial.number].user_attrs[SECONDS]
    settings = described(job.space, values)
    return (
        f"trial {trial.number} {end}, {len(study.counted())} of {job.trials}: {job.metric} {value} after "
        f"{report.validations} epochs, {seconds:.0f} s: {settings}"
    )


def _stopped_by_a_person(error: BaseException) -> bool:
    """Return whether Ctrl-C or SIGTERM ended a fit; a parser that refuses a value of the trial exits as well."""
    if isinstance(error, SystemExit):
        return error.code != 2
    return isinstance(error, KeyboardInterrupt | GeneratorExit)


def _stop_if_hopeless(study: TuningStudy) -> None:
    trials = study.counted()
    if len(trials) >= MOST_FAILURES and all(each.state.name == "FAIL" for each in trials):
        last = study.reason(trials[-1].number)
        raise UserError(
            f"all {len(trials)} trials have failed, the last one: {last}; does `fit` work with this config?"
        )


# -- several processes -------------------------------------------------------------------------------------------------


@contextmanager
def _further_processes(job: Job, count: int) -> Iterator[None]:
    """Work on the study with further processes of this command, and wait for them at the end."""
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=_work, args=(job,), daemon=True) for _ in range(count)]
    for process in started:
        process.start()
    try:
        yield
        for process in started:
            process.join()
    except BaseException:
        for process in started:
            process.terminate()
        for process in started:
            process.join(JOIN_S)
        raise


def _work(job: Job) -> None:
    """Run trials in a further process; its errors are those of its trials."""
    show_messages()
    torch.set_num_threads(1)
    try:
        run_trials(job)
    except KeyboardInterrupt:
        log_info("interrupted")
    except UserError as error:
        log_info(str(error))
