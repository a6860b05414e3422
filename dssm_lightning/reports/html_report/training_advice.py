"""Rules on how a run was trained and measured: see :mod:`~dssm_lightning.reports.html_report.advice`."""

from __future__ import annotations

from typing import NamedTuple

from dssm_lightning.reports.html_report.evidence import Evidence
from dssm_lightning.reports.html_report.run_record import baseline_command
from dssm_lightning.reports.html_report.training_figures import best_epoch, monitored

FEW_NEGATIVES = 100
SCALE = 20
"""A logit scale that suits cosines in a softmax."""


class Advice(NamedTuple):
    """Something to try."""

    title: str
    reason: str
    how: str  # lines of YAML, or a command
    is_yaml: bool = True


def measure_baselines(found: Evidence) -> Advice | None:
    """Ask for baselines."""
    if found.record.baselines:
        return None
    reason = (
        "Nothing says yet what a model without training reaches on the same rows. A model that is not better has "
        "learnt little."
    )
    return Advice("Measure the baselines", reason, baseline_command(found.record.folder), is_yaml=False)


def validate(found: Evidence) -> Advice | None:
    """Ask for validation rows."""
    if found.record.validated:
        return None
    reason = (
        "No validation was logged, so that settings and the number of epochs can only be chosen on the test rows, "
        "which "
        "then no longer say how good the model is on new ones. Hold rows out while you choose, and give them back "
        "at the end."
    )
    return Advice("Hold out validation rows", reason, "data:\n  split:\n    init_args: {validation: 0.1}")


def repair_collapse(found: Evidence) -> Advice | None:
    """Look for the cause of a collapse."""
    bad = [each for each in found.geometry if each.collapsed]
    if not bad:
        return None
    reason = (
        f"The {bad[0].side} have collapsed: effective rank {bad[0].rank:.1f}, mean cosine of random pairs "
        f"{bad[0].cosine:.2f}. Usual causes are a logit scale near 1 with towers that normalise (the softmax cannot "
        "tell "
        "candidates apart), a learning rate that is too high, or too few negatives."
    )
    scale = found.setting("model", "scorer", "init_args", "logit_scale")
    suits = isinstance(scale, int | float) and scale >= SCALE
    lines = scaled_rate(found, 1 / 3) if suits else f"model:\n  scorer:\n    init_args: {{logit_scale: {SCALE}}}"
    return Advice("Repair the collapse", reason, lines)


def stop_earlier(found: Evidence) -> Advice | None:
    """Train for fewer epochs, where validation peaked and fell."""
    name = monitored(found.record)
    if name is None:
        return None
    points = found.record.curves[name]
    epoch, best = best_epoch(points, _mode(found))
    last = points[-1]
    if epoch > 0.75 * last[0] or abs(best - last[1]) < 0.01 * abs(best):
        return None
    reason = (
        f"{name} was best in epoch {epoch} ({best:.3f}), and {last[1]:.3f} after epoch {last[0]}: the rest was "
        "learnt by "
        "heart. best.ckpt holds the best epoch; stopping there saves time, and dropout may move the peak up."
    )
    dropout = found.setting("model", "query_tower", "init_args", "dropout") or 0.0
    more = 0.3 if dropout < 0.3 else min(dropout + 0.2, 0.8)
    lines = (
        "trainer:\n  callbacks+:\n    - "
        f"{{class_path: EarlyStopping, init_args: {{monitor: {name}, mode: {_mode(found)}, "
        "patience: 3}}\nmodel:\n  query_tower:\n    "
        f"init_args: {{dropout: {more:g}}}"
    )
    return Advice("Stop earlier, or regularise", reason, lines)


def train_longer(found: Evidence) -> Advice | None:
    """Train for more epochs, where validation still rose."""
    name = monitored(found.record)
    points = [] if name is None else found.record.curves[name]
    if len(points) < 2:
        return None
    epoch, best = best_epoch(points, _mode(found))
    gain = abs(best - points[-2][1])
    if epoch != points[-1][0] or gain < 0.005 * abs(best):
        return None
    reason = (
        f"{name} still improved in the last epoch, {epoch}, from {points[-2][1]:.3f} to {best:.3f}. On MedQuAD, 12 "
        "epochs "
        "in place of 5 raised the validation MRR from .67 to .71. A schedule whose length is an epoch number grows "
        "with it."
    )
    return Advice("Train longer", reason, f"trainer:\n  max_epochs: {max(epoch + 1, round(1.6 * epoch))}")


def more_negatives(found: Evidence) -> Advice | None:
    """Compare each row with more candidates."""
    negatives = found.last("train/negatives")
    if negatives is None or negatives >= FEW_NEGATIVES or found.class_of("model", "loss") in ("TripletMargin", "BPR"):
        return None
    reason = f"A training row is compared with {negatives:,.1f} candidates on average. More make each step tell more."
    lines = "data:\n  negatives: {class_path: Uniform, init_args: {num_negatives: 1000}}"
    return Advice("Use more negatives", reason, lines)


def rows_without_negatives(found: Evidence) -> Advice | None:
    """Name rows that teach nothing."""
    count = found.last("train/rows_without_negatives")
    if not count:
        return None
    reason = (
        f"{count:,.0f} training rows of an epoch had no valid negative, and no weight: all candidates of their "
        "batch were known positives, or none was drawn."
    )
    return Advice(
        "Give every row a negative",
        reason,
        "data:\n  negatives: {class_path: Uniform, init_args: {num_negatives: 100}}",
    )


def free_the_scale(found: Evidence) -> Advice | None:
    """Raise the limit that a learnable logit scale has reached."""
    scale = found.last("train/logit_scale")
    limit = found.setting("model", "scorer", "init_args", "max_logit_scale") or 100.0
    if scale is None or not found.setting("model", "scorer", "init_args", "learnable") or scale < 0.98 * limit:
        return None
    reason = (
        f"The learnt logit scale has reached its limit, {limit:g}. Raise it, or look for repeated texts among the "
        "candidates, which force the scale up."
    )
    return Advice(
        "Raise the limit of the scale", reason, f"model:\n  scorer:\n    init_args: {{max_logit_scale: {2 * limit:g}}}"
    )


def scaled_rate(found: Evidence, factor: float) -> str:
    """Return the lines that multiply the learning rate."""
    rate = found.setting("model", "optimizer", "init_args", "lr")
    value = factor * float(rate) if isinstance(rate, int | float) else factor * 0.001
    return f"model:\n  optimizer:\n    init_args: {{lr: {value:.3g}}}"


def _mode(found: Evidence) -> str:
    return str(found.setting("checkpoint", "mode") or "max")
