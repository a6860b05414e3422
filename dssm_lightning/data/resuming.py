"""The place in the training data that a checkpoint keeps, and how another run continues from it."""

from __future__ import annotations

from typing import Any, NamedTuple

from dssm_lightning.data.batching.train_loader import Progress
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import warn


class Layout(NamedTuple):
    """The settings that the order of batches depends on, beside the data."""

    seed: int
    world_size: int
    batch_size: int  # rows, or queries, of a batch in each process
    batches: int  # of an epoch

    @property
    def at_once(self) -> int:
        """Rows, or queries, of a step in all processes together."""
        return self.world_size * self.batch_size

    def __str__(self) -> str:
        processes = "1 process" if self.world_size == 1 else f"{self.world_size} processes"
        return f"{processes} with batches of {self.batch_size}"


def trained(progress: Progress, trainer: Any) -> tuple[Progress, bool]:
    """Return how far training has come, and whether every batch that was handed out has been trained on.

    An interrupt leaves a batch half done. Without a trainer, or before the first batch, nothing was handed out.
    """
    if trainer is None or not progress.started:
        return progress, False
    seen = trainer.fit_loop.epoch_loop.batch_progress
    waiting = seen.current.ready - seen.current.processed
    if seen.is_last_batch and not waiting:  # `limit_train_batches` ends an epoch early
        return Progress(progress.epoch + 1, 0), True
    return Progress(progress.epoch, progress.done - waiting), not waiting


def forget_interrupted(progress: Any) -> None:
    """Subtract begun and lost batches from Lightning's totals (its ``_BatchProgress``).

    Lightning never subtracts them, and decides by its totals where a checkpoint was saved. A checkpoint saved after a
    batch would count as saved before it: the batch would be trained on twice, or the epoch end without validation.
    """
    total, current = progress.total, progress.current
    for stage in ("ready", "started", "processed"):
        setattr(total, stage, total.completed + getattr(current, stage) - current.completed)


def adapt(checkpoint: dict[str, Any], key: str, now: Layout) -> None:
    """Change a checkpoint in place to fit a run with another number of processes, or with another batch size.

    Rows are shuffled for all processes together. A run with other processes or batches therefore continues in the same
    order, if one of its steps begins at the row that the checkpoint has reached. Negatives and dropout are drawn anew.

    Args:
        checkpoint: as Lightning reads it.
        key: the name of the data module's state in it.
        now: the layout of the run that continues.

    Raises:
        UserError: no step of the run begins at that row.
    """
    state = checkpoint[key]
    if "layout" not in state:
        return  # a checkpoint from before layouts were saved
    before = Layout(**state["layout"])
    if before.seed != now.seed:
        warn(
            f"seed_everything is {now.seed}, and the checkpoint was trained with {before.seed}: the rest of its epoch "
            "has another order, so that some rows occur twice and others not at all"
        )
    if (before.world_size, before.batch_size) == (now.world_size, now.batch_size):
        return
    passed = state["done"] * before.at_once
    done, between = divmod(passed, now.at_once)
    if between or done >= now.batches:
        raise UserError(
            f"the checkpoint was written within an epoch, after {state['done']} steps of {before}, and no step of "
            f"{now} begins there: take {before.at_once} rows a step in all (data.batch_size times the number of "
            "processes), or a checkpoint from the end of an epoch"
        )
    if not passed and not state["epoch"]:
        return  # nothing was trained yet, as for the checkpoint that a BatchSizeFinder writes
    warn(
        f"the checkpoint was written by {before}, and {now} continue: the order of the rows stays, negatives and "
        "dropout are drawn anew"
    )
    counted = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
    if state["done"]:
        for stage in counted:
            counted[stage] += done - state["done"]
    state["done"] = done
