"""Checks of the data's settings, with one another and with the columns of the data."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from torch import Tensor

from dssm_lightning.data.interactions import FOLDS, Interactions
from dssm_lightning.features import Feature, History
from dssm_lightning.utils.errors import UserError, require_whole
from dssm_lightning.utils.memory_mapped import gathered


def check_settings(
    batch_size: int,
    query: Sequence[Feature],
    candidate: Sequence[Feature],
    mask_known: bool,
    mask_duplicates: bool,
    batch_by: str,
    rows_per_query: int | None,
) -> None:
    """Refuse impossible settings before anything is read.

    Raises:
        UserError: a size below 1; no feature on a side; settings that contradict each other.
    """
    require_whole("data", "batch_size", batch_size)
    for side, features in (("query", query), ("candidate", candidate)):
        if not features:
            raise UserError(f"data.{side} declares no feature; a tower needs at least one column")
    if mask_duplicates and not mask_known:
        raise UserError("mask_duplicates extends mask_known, which is false: set it to true, or drop both")
    check_rows_per_query(batch_by, rows_per_query, [f for f in query if isinstance(f, History)])


def check_rows_per_query(batch_by: str, rows_per_query: int | None, histories: list[History]) -> None:
    """Refuse an impossible number of consecutive rows, or more rows than a history looks back over.

    Raises:
        UserError: ``rows_per_query`` without batches by query, below 1, or above the length of a history by time.
    """
    if batch_by == "row":
        if rows_per_query is not None:
            raise UserError(f"rows_per_query is {rows_per_query}, which is for batches by query: set batch_by: query")
        return
    require_whole("data", "rows_per_query", rows_per_query)
    for history in histories:
        limit = history.max_length
        if history.order == "time" and limit is not None and not (rows_per_query or limit + 1) <= limit:
            raise UserError(
                f"rows_per_query is {rows_per_query or 'not given'}, and the history {history.name!r} looks back over "
                f"max_length {limit} entries: the first rows beyond that see nothing; give at most {limit}"
            )


def check_labels(label: str | None) -> None:
    """Refuse to rank lists of what was shown to a query, liked or not, without labels that tell them apart.

    Args:
        label: the column that has the labels; None = there is none.

    Raises:
        UserError: there is none.

    Example:
        >>> check_labels(None)
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: evaluate: listed ranks the candidates that each query was shown, liked \
or not, but the interactions have no label: name their column with the source's `label` (1 liked, 0 shown and not \
liked), or set evaluate: query
    """
    if label is None:
        raise UserError(
            "evaluate: listed ranks the candidates that each query was shown, liked or not, but the interactions have "
            "no label: name their column with the source's `label` (1 liked, 0 shown and not liked), or set evaluate: "
            "query"
        )


def check_liked_rows(interactions: Interactions, fold: int) -> None:
    """Refuse a fold whose rows are all shown and not liked: no metric would be a number.

    Raises:
        UserError: the fold has rows, and none with label 1.
    """
    total = len(interactions.rows(fold))
    if total and not len(interactions.rows(fold, label=1)):
        raise UserError(
            f"none of the {total:,} {FOLDS[fold]} rows has label 1, so that nothing can be found and no metric is a "
            "number: look at the split and the labels"
        )


def check_training_weights(weight: Tensor | None, rows: Tensor) -> None:
    """Refuse training rows that all have weight 0: nothing would be learned.

    Args:
        weight: (R,) the weight of each interaction; None = all count the same.
        rows: the training rows.

    Raises:
        UserError: the weights of these rows are all 0.
    """
    if weight is not None and not bool((gathered(weight, rows) > 0).any()):
        raise UserError(
            f"the weights of all {len(rows):,} training rows are 0, so that the model would learn nothing: look at the "
            "weight column and the split"
        )


def check_validation_interval(trainer: Any, batches: int) -> None:
    """Refuse a validation after more batches than an epoch of the trainer has.

    Raises:
        UserError: ``trainer.val_check_interval`` is a larger number of batches.
    """
    interval, limit = trainer.val_check_interval, trainer.limit_train_batches
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    if isinstance(interval, int) and trainer.check_val_every_n_epoch is not None and interval > batches:
        raise UserError(
            f"trainer.val_check_interval is {interval}, but an epoch has only {batches} batches; choose a smaller "
            "number, or set trainer.check_val_every_n_epoch to null to count batches across epochs"
        )


def check_event_columns(event: Collection[str], evaluate: str, mines: bool) -> None:
    """Refuse query features that vary by event where one value for each query is needed.

    Args:
        event: names of the query features that vary by event.
        evaluate: "query" or "event".
        mines: whether negatives are mined for whole queries.

    Raises:
        UserError: there are such features.
    """
    if evaluate == "query" and event:
        raise UserError(
            f"evaluation by query, but {sorted(event)} are columns of the interactions, one value for each "
            "event: set evaluate: event, or put the columns into the query table"
        )
    if mines and event:
        raise UserError(
            f"Hard mines each query once, but {sorted(event)} are columns of the interactions, one value for "
            "each event: put the columns into the query table, or draw other negatives"
        )
