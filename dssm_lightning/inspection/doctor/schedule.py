"""The trainer's settings: what is monitored, when the fit ends, the learning rate, and leftovers of debugging."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.optim import lr_scheduler

from dssm_lightning.data.interactions import VALIDATION
from dssm_lightning.evaluation.evaluator import Evaluation
from dssm_lightning.evaluation.logged_names import logged_names
from dssm_lightning.inspection.doctor.findings import Finding, yaml_line
from dssm_lightning.inspection.doctor.subject import Subject
from dssm_lightning.inspection.doctor.trial import order_of
from dssm_lightning.training.optimizers.parameter_groups import parameter_groups
from dssm_lightning.utils.suggestions import nearest_names

DEBUGGING = ("fast_dev_run", "overfit_batches", "limit_train_batches")
_LESS = ("loss", "alignment", "query_uniformity", "candidate_uniformity")
"""Endings of metrics of which less is better."""
HIGHEST_RATE = 0.1
"""The greatest rate of an optimizer of Adam's kind that can be meant: each step moves each weight by the rate."""


def check_schedule(subject: Subject) -> Iterator[Finding]:
    """Yield settings of the trainer, the checkpoint and the optimizer that are wrong together."""
    yield from _trainer(subject)
    yield from _monitor(subject)
    yield from _stopping(subject)
    if subject.model is not None:
        yield from _rates(subject)


def _trainer(subject: Subject) -> Iterator[Finding]:
    for name in DEBUGGING:
        value = subject.setting(f"trainer.{name}")
        if value not in (None, False, 0, 0.0, 1.0) or (value == 1 and isinstance(value, int) and value is not False):
            found = f"{name} is {value}, which is for debugging: the fit sees a part of the data"
            yield Finding("warning", "debugging", f"trainer.{name}", found, yaml_line(f"trainer.{name}", None))
    if not any(subject.setting(f"trainer.{name}") for name in ("max_epochs", "max_steps", "max_time")):
        found = "no limit is set, and Lightning trains 1,000 epochs"
        yield Finding("warning", "epochs", "trainer.max_epochs", found, yaml_line("trainer.max_epochs", 20))
    accelerator = subject.setting("trainer.accelerator", "auto")
    if accelerator in ("gpu", "cuda") and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        found = f"accelerator is {accelerator}, and this machine has none"
        yield Finding("error", "accelerator", "trainer.accelerator", found, yaml_line("trainer.accelerator", "auto"))
    every, epochs = subject.setting("trainer.check_val_every_n_epoch", 1), subject.max_epochs
    if epochs and isinstance(every, int) and every > epochs:
        found = f"validation every {every} epochs, of {epochs}: the fit never validates"
        change = yaml_line("trainer.check_val_every_n_epoch", 1)
        yield Finding("warning", "validation", "trainer.check_val_every_n_epoch", found, change)


def _validates(subject: Subject) -> bool:
    return len(subject.rows[VALIDATION]) > 0 and subject.setting("trainer.limit_val_batches", 1.0) != 0


def _monitor(subject: Subject) -> Iterator[Finding]:
    monitor = subject.setting("checkpoint.monitor")
    where = "checkpoint.monitor"
    if monitor is None:
        if _validates(subject):
            found = "nothing is monitored: the checkpoint of the last epoch is kept, not the best"
            change = yaml_line("checkpoint", {"monitor": "val/ndcg@10", "patience": 3})
            yield Finding("warning", "monitor", where, found, change)
        return
    data, ks = subject.data, None if subject.model is None else subject.model.ks
    logged = logged_names(Evaluation.of(data.ranking(VALIDATION), ks, data.labelled), data)
    if monitor not in logged:
        best = "val/ndcg@10" if "auroc" in str(monitor) and "val/ndcg@10" in logged else None
        meant = best or nearest_names(str(monitor), logged, 1)[0]
        found = f"{monitor!r} is never logged; the most similar is {meant!r}"
        if str(monitor).endswith("/auroc") and not subject.data.labelled:
            found = f"{monitor!r} needs labels, and the source names none"
        yield Finding("error", "monitor", where, found, yaml_line(where, meant))
        return
    less = str(monitor).rpartition("/")[2] in _LESS
    mode = subject.setting("checkpoint.mode", "max")
    if (mode == "min") != less:
        found = f"mode is {mode}, and of {monitor} {'less' if less else 'more'} is better: the worst checkpoint is kept"
        yield Finding("error", "monitor-mode", where, found, yaml_line("checkpoint.mode", "min" if less else "max"))


def _stopping(subject: Subject) -> Iterator[Finding]:
    patience = subject.setting("checkpoint.patience")
    monitor = str(subject.setting("checkpoint.monitor", ""))
    validation: Any = 1 if subject.split == "LeaveLastN" else 0.1
    change = yaml_line("data.split.init_args.validation", validation)
    if not len(subject.rows[VALIDATION]):
        if monitor.startswith("val/"):
            found = f"{monitor} is monitored, and the split keeps no validation rows: "
            found += "the fit cannot stop early" if patience else "the checkpoint of the last epoch is kept"
            yield Finding("error" if patience else "note", "validation", "data.split", found, change)
        return
    if not _validates(subject):
        found = "limit_val_batches is 0, so that nothing is monitored"
        yield Finding("warning", "validation", "trainer", found, yaml_line("trainer.limit_val_batches", 1.0))
        return
    callbacks = str(subject.setting("trainer.callbacks", ""))
    if patience is None and "EarlyStopping" not in callbacks and monitor:
        found = f"the fit does not stop when {monitor} stops getting better"
        yield Finding("note", "early-stopping", "checkpoint.patience", found, yaml_line("checkpoint.patience", 3))
    elif isinstance(patience, int) and subject.max_epochs and patience >= subject.max_epochs:
        found = f"patience is {patience}, and there are {subject.max_epochs} epochs: the fit never stops early"
        yield Finding("warning", "early-stopping", "checkpoint.patience", found, yaml_line("checkpoint.patience", 3))


# -- the learning rate ------------------------------------------------------------------------------------------------


def _rates(subject: Subject) -> Iterator[Finding]:
    model = subject.model
    assert model is not None
    optimizer = model.make_optimizer(parameter_groups(model))
    kind, rate = type(optimizer).__name__, float(optimizer.param_groups[0]["lr"])
    where = "model.optimizer.init_args.lr"
    if "Adam" in kind and not 1e-6 <= rate <= HIGHEST_RATE:
        found = f"{kind} with a rate of {rate:g}, by which each step moves each weight"
        yield Finding("warning", "learning-rate", where, found, yaml_line(where, 0.001))
    if model.make_lr_scheduler is None:
        return
    schedule = model.make_lr_scheduler(optimizer)
    by_step = model.lr_scheduler_interval == "step"
    length, setting = _length(schedule)
    total = subject.max_epochs * (len(order_of(subject)) if by_step else 1)
    unit = "steps" if by_step else "epochs"
    if length is None or not total:
        return
    path = f"model.lr_scheduler.init_args.{setting}"
    if isinstance(schedule, lr_scheduler.CosineAnnealingLR | lr_scheduler.OneCycleLR) and length < 0.9 * total:
        found = f"{setting} is {length:,} {unit}, and the fit has {total:,}: the rate rises again"
        yield Finding("warning", "rate-schedule", path, found, yaml_line(path, total))
    elif length > 1.5 * total:
        found = f"{setting} is {length:,} {unit}, and the fit has {total:,}: the rate hardly falls"
        yield Finding("warning", "rate-schedule", path, found, yaml_line(path, total))


def _length(schedule: Any) -> tuple[int | None, str]:
    """Return after how many epochs or steps a schedule has reached its end, and the argument that says so."""
    for name in ("T_max", "total_steps", "total_iters"):
        if isinstance(value := getattr(schedule, name, None), int):
            return value, name
    return None, ""
