"""What ``tune`` shows: the space before it starts, the trials and what mattered at its end."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dssm_lightning.training.tuning.dimension import Dimension, described, values_of
from dssm_lightning.training.tuning.gain import Gain, measure_gain, read_rows
from dssm_lightning.training.tuning.study import EPOCHS, OWN, SECONDS, TuningStudy
from dssm_lightning.utils.console import cell, show, show_text

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from rich.table import Table

ENOUGH_FOR_IMPORTANCE = 10
"""Complete and pruned trials below which the importance of a setting is noise."""


def show_space(space: Sequence[Dimension]) -> None:
    """Show what is searched, with the config's own values, which are trial 0."""
    table = _table("setting", "own", "searched", "where")
    for each in space:
        table.add_row(*map(cell, (each.name, each.text(each.own), each.range, each.where)))
    show(table)


def ranked(study: TuningStudy) -> list[FrozenTrial]:
    """Return the complete trials, the best first."""
    complete = [each for each in study.counted() if each.state.name == "COMPLETE"]
    sign = -1.0 if study.goal.mode == "max" else 1.0
    return sorted(complete, key=lambda each: (sign * (each.value or 0.0), each.number))


def show_trials(study: TuningStudy) -> None:
    """Show the trials: the complete ones by rank, then those that were pruned, and those that failed."""
    table = _table("rank", study.goal.metric, "trial", "epochs", "seconds", "settings that differ from the config")
    for rank, each in enumerate(ranked(study), 1):
        _add(table, study, each, str(rank), each.value)
    for each in study.counted():
        if each.state.name == "PRUNED":
            _add(table, study, each, "pruned", _best_so_far(each, study.goal.mode))
    for each in study.counted():
        if each.state.name in ("FAIL", "RUNNING"):
            _add(table, study, each, "failed" if each.state.name == "FAIL" else "running", None)
    show(table)


def _add(table: Table, study: TuningStudy, trial: FrozenTrial, rank: str, value: float | None) -> None:
    text = described(study.space, values_of(study.space, trial.params))
    reason = study.reason(trial.number)
    number = f"{trial.number} (own)" if trial.user_attrs.get(OWN) else str(trial.number)
    seconds = trial.user_attrs.get(SECONDS)
    counts = (str(trial.user_attrs.get(EPOCHS, "")), "" if seconds is None else f"{seconds:.0f}")
    shown = "" if value is None else f"{value:.4f}"
    table.add_row(rank, shown, number, *counts, cell(f"{reason}: {text}" if reason else text))


def _best_so_far(trial: FrozenTrial, mode: str) -> float | None:
    values = trial.intermediate_values.values()
    return (max(values) if mode == "max" else min(values)) if values else None


def show_importance(study: TuningStudy) -> None:
    """Show what mattered: the share of the differences between trials that each setting explains."""
    found = _importance(study)
    if not found:
        show_text(f"what mattered: unknown before {ENOUGH_FOR_IMPORTANCE} trials of different values")
        return
    table = _table("what mattered", "share of the differences", "best value")
    best = values_of(study.space, ranked(study)[0].params)
    for name, share in found.items():
        dimension = next(each for each in study.space if each.name == name)
        table.add_row(cell(name), f"{share:.0%}", cell(dimension.text(best[name])))
    show(table)


def _importance(study: TuningStudy) -> dict[str, float]:
    """Return the importance of each setting; a pruned trial counts with the best that it had reached."""
    import optuna

    reached = {each.number: _best_so_far(each, study.goal.mode) for each in study.counted()}
    trials = [each for each in study.counted() if each.state.name in ("COMPLETE", "PRUNED") and each.params]
    known = [each for each in trials if reached[each.number] is not None]
    if len(known) < ENOUGH_FOR_IMPORTANCE:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental, and settings of which all trials have one value
        copy = optuna.create_study(direction=study.study.direction)
        for each in known:
            copy.add_trial(
                optuna.trial.create_trial(
                    params=each.params, distributions=each.distributions, value=reached[each.number]
                )
            )
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.25)
        try:
            return optuna.importance.get_param_importances(copy, evaluator=evaluator)
        except (ValueError, RuntimeError):  # all trials have one value
            return {}


def gain_of(study: TuningStudy) -> Gain | None:
    """Return the gain of the best trial over the config's own settings; None if one of them is unknown."""
    trials = ranked(study)
    own = [each.number for each in trials if each.user_attrs.get(OWN)]
    read = read_rows(study.folder, [each.number for each in trials])
    if not own or read is None or trials[0].number == own[0] or not {own[0], trials[0].number} <= read[0].keys():
        return None
    return measure_gain(*read, own=own[0], best=trials[0].number, mode=study.goal.mode)


def show_gain(study: TuningStudy) -> None:
    """Say how much better the best trial is than the config, and whether that is within chance."""
    trials, metric = ranked(study), study.goal.metric
    own = [each for each in trials if each.user_attrs.get(OWN)]
    if not trials or not own:
        show_text("the config's own settings have no complete trial, with which a gain could be measured")
        return
    if trials[0].number == own[0].number:
        show_text(f"no trial is better than the config's own settings ({metric} {own[0].value:.4f})")
        return
    gain = gain_of(study)
    values = f"{metric} {own[0].value:.4f} → {trials[0].value:.4f}"
    if gain is None:
        show_text(f"gain over the config: {values}; its spread is unknown, since {metric} is no mean over queries")
        return
    text = (
        f"gain over the config: {values}: {gain.difference:+.4f} (95 % {gain.low:+.4f} to {gain.high:+.4f} over "
        f"queries; {gain.expected:+.4f} on queries that did not choose the trial)"
    )
    show_text(text + ("; this is within chance" if gain.within_chance else "") + "; one seed for each trial")


def _table(*headers: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    columns = [Column(each, overflow="fold", justify="left") for each in headers]
    return Table(*columns, box=SIMPLE_HEAD, padding=0, pad_edge=False)
