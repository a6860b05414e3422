"""What is logged at the end of each epoch of training, beside the loss."""

from __future__ import annotations

from torch import Tensor

from dssm_lightning.losses import Loss, Objectives
from dssm_lightning.training.evaluation_steps import EQUAL_IN_ALL_PROCESSES, EvaluationSteps
from dssm_lightning.training.negative_counts import NegativeCounts
from dssm_lightning.training.rows_without_negatives import RowsWithoutNegatives
from dssm_lightning.utils.logger import log_info, warn


def log_epoch(model: EvaluationSteps, loss: Loss, counts: NegativeCounts, without: RowsWithoutNegatives) -> None:
    """Log the negatives of a row, the logit scale, learnt weights, and how many rows had no negative to compare with.

    A collective: every process must call it. The counts start again.
    """
    rows = counts.totals(model.device)[0]
    for name, value in counts.means(model.device).items():
        model.log(name, value, **EQUAL_IN_ALL_PROCESSES)
    counts.restart()
    scale = getattr(model.scorer, "logit_scale", None)
    if isinstance(scale, Tensor):
        model.log("train/logit_scale", scale.detach().mean(), **EQUAL_IN_ALL_PROCESSES)
    for part in loss.modules():
        for name, weight in part.learned_weights.items() if isinstance(part, Objectives) else ():
            model.log(f"train/weight_{name}", weight, **EQUAL_IN_ALL_PROCESSES)
    if not loss.compares:
        return
    count = without.total(model.device)
    if count and count == rows:
        warn(
            f"no row of epoch {model.current_epoch} had a valid negative, so that nothing was learned: enlarge "
            "data.batch_size, draw data.negatives, or look at the known positives and at model.guide"
        )
    without.restart()
    model.log("train/rows_without_negatives", float(count), **EQUAL_IN_ALL_PROCESSES)
    if count:
        log_info(
            f"epoch {model.current_epoch}: {count:,} rows had no valid negative (all were known positives, or left out "
            "by the guide, or none was drawn) and no weight"
        )
