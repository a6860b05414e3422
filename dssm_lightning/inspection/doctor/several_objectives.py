"""Several objectives: those that hardly any row teaches, or that no held-out row measures."""

from __future__ import annotations

from collections.abc import Iterator

from dssm_lightning.data.interactions import TRAIN, VALIDATION
from dssm_lightning.inspection.doctor.findings import Finding, percent, yaml_line
from dssm_lightning.inspection.doctor.subject import Subject

FEWEST = 1.0
"""Positives of an objective in a batch, on average, below which most steps learn nothing of it."""


def check_several(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the objectives of the data."""
    interactions, names = subject.interactions, subject.prepared.objectives
    if interactions.objectives is None:
        return
    learned = None if subject.model is None else subject.model.loss.objectives
    trained, measured = (interactions.objectives[interactions.fold == fold] for fold in (TRAIN, VALIDATION))
    batch_size = min(subject.data.batch_size, len(trained))
    for number, name in enumerate(names):
        where = f"data.objectives.{name}"
        share = float(trained[:, number].float().mean())
        if learned and name in learned and share * batch_size < FEWEST:
            found = f"{percent(share)} of the training rows are positives of {name!r}: most batches have none"
            change = yaml_line("data.batch_size", round(4 / share), "or another rule of the objective")
            yield Finding("warning", "objective-rare", where, found, change)
        if len(measured) and not bool(measured[:, number].any()):
            found = f"no validation row is a positive of {name!r}, so that val/{name}/… is never logged"
            change = yaml_line("data.split.init_args.validation", 0.2, "or another rule of the objective")
            yield Finding("warning", "objective-not-measured", where, found, change)
        if learned and name not in learned:
            found = f"{name!r} is measured, and model.loss does not learn it"
            yield Finding("note", "objective-not-learned", where, found)
    if learned == () and subject.model is not None:
        found = f"{type(subject.model.loss).__name__} takes the positives of all objectives as the same"
        change = yaml_line(
            "model.loss",
            {"class_path": "Objectives", "init_args": {"losses": dict.fromkeys(names, "SampledSoftmax")}},
        )
        yield Finding("note", "objectives-not-learned", "model.loss", found, change)
