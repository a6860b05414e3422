"""All checks of a config, in the order in which a person should read what they find."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.inspection.doctor.columns import check_columns
from dssm_lightning.inspection.doctor.contents import check_contents
from dssm_lightning.inspection.doctor.corpus import check_corpus, check_lists
from dssm_lightning.inspection.doctor.findings import LEVELS, Finding
from dssm_lightning.inspection.doctor.histories import check_histories
from dssm_lightning.inspection.doctor.leaks import check_leaks
from dssm_lightning.inspection.doctor.objective import check_objective
from dssm_lightning.inspection.doctor.pairs import check_pairs
from dssm_lightning.inspection.doctor.pictures import check_pictures
from dssm_lightning.inspection.doctor.refusals import refusal
from dssm_lightning.inspection.doctor.schedule import check_schedule
from dssm_lightning.inspection.doctor.settings import Sections
from dssm_lightning.inspection.doctor.several_objectives import check_several
from dssm_lightning.inspection.doctor.sizes import check_sizes
from dssm_lightning.inspection.doctor.subject import Subject
from dssm_lightning.inspection.doctor.times import check_times
from dssm_lightning.inspection.doctor.trial import check_memory, check_trial, run_trial
from dssm_lightning.training.objective_checks import check_objective_weights, check_objectives
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import without_repeats

if TYPE_CHECKING:
    from dssm_lightning.training.module import TwoTower

CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    *(check_leaks, check_pairs, check_times, check_corpus, check_lists, check_several),
    *(check_columns, check_contents, check_histories, check_pictures),
    *(check_schedule, check_objective, check_sizes, check_memory),
)
REFUSED = (UserError, OSError, ValueError, TypeError)
"""What data or a model raise for settings that they refuse; TypeError and ValueError come from torch."""


def examine(
    sections: Sections,
    make_data: Callable[[], RetrievalData],
    make_model: Callable[[], TwoTower],
    batches: int = 8,
) -> list[Finding]:
    """Look at a config and its data before training: the worst findings first.

    What ``fit`` would refuse is a finding, not an error. Nothing is written but the cache of the encoded data.

    Args:
        sections: the config as plain values.
        make_data: makes the data of the config.
        make_model: makes the untrained model of the config.
        batches: training batches that are looked at and trained on; 0 = none.
    """
    findings: list[Finding] = []
    with warnings.catch_warnings(), without_repeats():  # the data and the checks read the same tables
        warnings.simplefilter("ignore")  # a finding says it better
        try:
            data = make_data()
        except REFUSED as error:
            return [refusal(error, sections, "data")]
        model, refused = _model(sections, make_model)
        findings += refused
        try:
            if model is not None:
                data.train_on_liked_rows_only(not model.loss.uses_labels)
                check_objectives(model.loss, data)
            data.assemble()
            if model is not None:
                check_objective_weights(model.loss, data)
        except REFUSED as error:
            return [*findings, refusal(error, sections, "data")]
        model, refused = _built(sections, model, data)
        findings += refused
        findings += _found(Subject(sections, data, model, batches))
    return sorted(dict.fromkeys(findings), key=lambda finding: LEVELS.index(finding.level))


def _model(sections: Sections, make_model: Callable[[], TwoTower]) -> tuple[TwoTower | None, list[Finding]]:
    try:
        return make_model(), []
    except REFUSED as error:
        return None, [refusal(error, sections, "model")]


def _built(sections: Sections, model: TwoTower | None, data: RetrievalData) -> tuple[TwoTower | None, list[Finding]]:
    """Return the model with towers for the data."""
    if model is None:
        return None, []
    try:
        model.build(data.schemas)
        model.configure_optimizers()
    except REFUSED as error:
        return None, [refusal(error, sections, "model")]
    return model, []


def _found(subject: Subject) -> Iterator[Finding]:
    for check in CHECKS:
        try:
            yield from check(subject)
        except UserError as error:
            yield refusal(error, subject.sections, "data")
    try:
        trial = run_trial(subject)
    except REFUSED as error:
        yield refusal(error, subject.sections, "model")
        return
    if trial is not None:
        yield from check_trial(subject, trial)
