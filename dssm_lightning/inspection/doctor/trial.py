"""A few training steps on a copy of the model: processor time, memory, and the negatives that each row has."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from dssm_lightning.data.batch import Batch
from dssm_lightning.data.batching.shuffling import Order, QueryOrder, RowOrder
from dssm_lightning.data.batching.train_loader import Progress, TrainLoader
from dssm_lightning.inspection.doctor.findings import Finding, Level, percent, yaml_line
from dssm_lightning.inspection.doctor.subject import Subject
from dssm_lightning.losses import SampledSoftmax
from dssm_lightning.training.negative_counts import NegativeCounts
from dssm_lightning.training.objective import row_weights
from dssm_lightning.training.optimizers.parameter_groups import parameter_groups
from dssm_lightning.utils.seeding import Counter, seed_torch

if TYPE_CHECKING:
    from dssm_lightning.training.module import TwoTower

LONGEST = 5.0
"""Seconds of processor time after which no further batch is trained on."""
FEW = 4
"""Negatives of a row below which a softmax has little to compare: the DSSM paper has four. Pairwise losses need one."""


@dataclass(frozen=True)
class Trial:
    """What a few steps have shown."""

    steps: int
    """Steps of an epoch."""
    done: int
    """Steps that were done."""
    seconds: float
    """Seconds of processor time of a step; the first step is left out if there are others."""
    peak: int | None
    """Bytes that the process had at most; None = unknown on this system."""
    negatives: float
    """Negatives of a row."""
    masked: float
    """Columns of a row that are masked as known positives."""
    without: float
    """The share of rows without a negative."""
    loss: float
    """The loss of the last step."""


def order_of(subject: Subject) -> Order:
    """Return the rows of each step of an epoch, as ``fit`` has them in one process."""
    data, place = subject.data, Counter(0)
    if data.batch_by == "row":
        return RowOrder(data.assembler.rows, data.batch_size, place, 1)
    return QueryOrder(data.assembler.rows_by_query, data.batch_size, data.rows_per_query, place, 1)


def needed_bytes(subject: Subject) -> int:
    """Return a lower bound of the bytes that a step needs: weights with gradients and Adam's state, and the scores."""
    model, data = subject.model, subject.data
    assert model is not None
    weights = sum(4 * parameter.numel() * (4 if parameter.requires_grad else 1) for parameter in model.parameters())
    rows = min(data.batch_size, subject.training_rows)
    drawn = 0 if data.negatives is None or data.negatives.per_row else data.negatives.num_negatives
    columns = min(rows + drawn, len(subject.prepared.candidates))
    scored = rows if model.score_chunk_size is None else min(rows, model.score_chunk_size)
    own = data.negatives is not None and data.negatives.per_row
    return weights + (0 if own else 3 * 4 * scored * columns)  # logits, their exponentials, and the gradient


def memory_of_machine() -> int | None:
    """Return the bytes of memory of this machine; None = unknown."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # as on Windows
        return None


def run_trial(subject: Subject) -> Trial | None:
    """Train an untrained model for a few steps; None if it would not fit into memory, or no batch is wanted.

    Nothing is written, and the model is not used afterwards.
    """
    model, memory = subject.model, memory_of_machine()
    if model is None or subject.batches < 1 or (memory is not None and needed_bytes(subject) > memory):
        return None
    order = order_of(subject)
    counts, without, rows, loss = NegativeCounts(), 0, 0, 0.0
    optimizer = model.make_optimizer(parameter_groups(model))
    model.train()
    clocks = [time.process_time()]
    for batch in TrainLoader(subject.data.assembler, order, Counter(0), Progress()):
        seed_torch(len(clocks), torch.device("cpu"))
        optimizer.zero_grad()
        loss, lonely = _step(model, batch, counts)
        optimizer.step()
        counts.commit()
        without, rows = without + lonely, rows + len(batch.row)
        clocks.append(time.process_time())
        if len(clocks) > subject.batches or clocks[-1] - clocks[0] > LONGEST:
            break
    durations = [after - before for before, after in pairwise(clocks)]
    later = durations[1:] or durations
    means = counts.means(torch.device("cpu"))
    return Trial(
        steps=len(order),
        done=len(durations),
        seconds=sum(later) / max(len(later), 1),
        peak=_peak(),
        negatives=means.get("train/negatives", 0.0),
        masked=means.get("train/masked_positives", 0.0),
        without=without / max(rows, 1),
        loss=loss,
    )


def _step(model: TwoTower, batch: Batch, counts: NegativeCounts) -> tuple[float, int]:
    """Compute the gradient of one batch; return the loss, and how many rows have nothing to compare with."""
    weight = row_weights(batch, model.loss)
    losses = model.per_query_loss(batch, weight, counts)
    lonely = int((~losses.compared).sum()) if model.loss.compares else 0
    loss = losses.total / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
    if loss.requires_grad:
        torch.autograd.backward(loss)
    if model.memory is not None:
        model.memory.commit()
    return float(loss.detach()), lonely


def _peak() -> int | None:
    try:
        import resource
    except ImportError:  # as on Windows
        return None
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 1024


# -- checks -----------------------------------------------------------------------------------------------------------


def check_memory(subject: Subject) -> Iterator[Finding]:
    """Yield an error if a step cannot fit into the memory of this machine."""
    memory = memory_of_machine()
    if subject.model is None or memory is None or (needed := needed_bytes(subject)) < 0.8 * memory:
        return
    found = f"a step needs at least {needed / 2**30:,.0f} GiB, and this machine has {memory / 2**30:,.0f} GiB"
    line = yaml_line("model.score_chunk_size", 256) if subject.data.batch_size > 4096 else _smaller_batch(subject)
    yield Finding("error", "memory", "data.batch_size", found, line)


def _smaller_batch(subject: Subject) -> str:
    return yaml_line("data.batch_size", max(32, subject.data.batch_size // 4), "or narrower tables")


def check_trial(subject: Subject, trial: Trial) -> Iterator[Finding]:
    """Yield what a few training steps have shown."""
    epochs = subject.max_epochs
    epoch = trial.seconds * trial.steps
    total = f", {epochs} epochs {_clock(epoch * epochs)}" if epochs else ""
    peak = "" if trial.peak is None else f"; the process had at most {trial.peak / 2**20:,.0f} MiB"
    found = f"an epoch of {trial.steps:,} batches takes {_clock(epoch)} of processor time{total}, without validation"
    yield Finding("note", "cost", "trainer", f"{found}{peak}; measured on {trial.done} batches")
    found = f"a row has {trial.negatives:,.1f} negatives, and {trial.masked:,.1f} columns are masked as known positives"
    yield Finding("note", "negatives", "data.negatives", found)
    if trial.loss != trial.loss or abs(trial.loss) == float("inf"):
        change = yaml_line("model.scorer.init_args.logit_scale", 20, "and a lower rate")
        yield Finding(
            "error", "loss-not-finite", "model.loss", f"the loss after {trial.done} steps is {trial.loss}", change
        )
    assert subject.model is not None
    if subject.model.loss.compares:
        yield from _compared(subject, trial)


def _compared(subject: Subject, trial: Trial) -> Iterator[Finding]:
    assert subject.model is not None
    change = yaml_line("data.negatives", {"class_path": "Uniform", "init_args": {"num_negatives": 64}})
    softmax = any(isinstance(part, SampledSoftmax) for part in subject.model.loss.modules())
    enough = FEW if softmax else 0.9
    where = "data.negatives"
    if trial.without > 0.05:
        found = f"{percent(trial.without)} of the rows have no negative to compare with, and teach nothing"
        level: Level = "error" if trial.without == 1 else "warning"
        yield Finding(level, "rows-without-negatives", where, found, change)
    elif trial.masked > max(trial.negatives, 1):
        found = (
            f"{percent(trial.masked / (trial.masked + trial.negatives))} of the columns of a row are masked as known "
        )
        found += f"positives, {trial.negatives:,.1f} negatives are left"
        yield Finding("warning", "masked-negatives", where, found, change)
    elif trial.negatives < enough:
        found = f"a row has only {trial.negatives:,.1f} negatives to compare with"
        line = yaml_line("data.batch_size", 256) if subject.training_rows > 256 > subject.data.batch_size else change
        yield Finding("warning", "few-negatives", where, found, line)


def _clock(seconds: float) -> str:
    """Return a duration.

    Example:
        >>> _clock(3.21), _clock(83), _clock(7384)
        ('3.2 s', '1:23 min', '2:03 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"
