"""What a checkpoint keeps of the data, and how another run goes on from there."""

from __future__ import annotations

from typing import Any, NamedTuple

from dssm_lightning.data.batching.train_loader import Progress
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import warn


class Layout(NamedTuple):
    """What the order of batches depends on, beside the data."""

    seed: int
    world_size: int
    batch_size: int  # rows, or queries, on each rank
    batches: int  # of an epoch

    @property
    def at_once(self) -> int:
        """Rows, or queries, of a step on all ranks."""
        return self.world_size * self.batch_size

    def __str__(self) -> str:
        ranks = "1 process" if self.world_size == 1 else f"{self.world_size} processes"
        return f"{ranks} with batches of {self.batch_size}"


def trained(progress: Progress, trainer: Any) -> tuple[Progress, bool]:
    """How far has been trained, and whether all that was handed out has been: an interrupt leaves a batch half done.

    Without a trainer, or before the first batch, nothing was handed out to be trained on.
    """
    if trainer is None or not progress.started:
        return progress, False
    seen = trainer.fit_loop.epoch_loop.batch_progress
    waiting = seen.current.ready - seen.current.processed
    if seen.is_last_batch and not waiting:  # `limit_train_batches` ends an epoch early
        return Progress(progress.epoch + 1, 0), True
    return Progress(progress.epoch, progress.done - waiting), not waiting


def forget_interrupted(progress: Any) -> None:
    """Take batches that were begun and lost out of Lightning's totals (its ``_BatchProgress``).

    It keeps them there for ever, and finds by its totals where a checkpoint was saved: one saved after a batch would
    pass as saved before it, and that batch be trained on twice, or the epoch end without its validation.
    """
    total, current = progress.total, progress.current
    for stage in ("ready", "started", "processed"):
        setattr(total, stage, total.completed + getattr(current, stage) - current.completed)


def adapt(checkpoint: dict[str, Any], key: str, now: Layout) -> None:
    """Make a checkpoint fit a run of another number of ranks, or of another batch size, in place.

    Rows are shuffled for all ranks together, so that a run of other ranks or batches goes on in the same order, where
    one of its steps begins at the row that the checkpoint has reached. What is drawn for the rows (negatives, dropout)
    is another draw.

    Args:
        checkpoint: Lightning's.
        key: under which the data module's state lies in it.
        now: of the run that goes on.

    Raises:
        ValueError: no step begins there.
    """
    state = checkpoint[key]
    if "layout" not in state:
        return  # of before it was kept
    before = Layout(**state["layout"])
    if before.seed != now.seed:
        warn(
            f"seed_everything is {now.seed}, and the checkpoint was trained with {before.seed}: what is left of its "
            "epoch is in another order, so that some rows occur twice and others not at all"
        )
    if (before.world_size, before.batch_size) == (now.world_size, now.batch_size):
        return
    passed = state["done"] * before.at_once
    done, between = divmod(passed, now.at_once)
    if between or done >= now.batches:
        raise UserError(
            f"the checkpoint was written within an epoch, after {state['done']} steps of {before}, and no step of "
            f"{now} begins there: take {before.at_once} rows a step in all (data.batch_size times the number of "
            "processes), or a checkpoint of an epoch's end"
        )
    warn(
        f"the checkpoint is of {before}, and {now} go on: the order of the rows stays, negatives and dropout are drawn "
        "otherwise"
    )
    counted = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
    if state["done"]:
        for stage in counted:
            counted[stage] += done - state["done"]
    state["done"] = done
