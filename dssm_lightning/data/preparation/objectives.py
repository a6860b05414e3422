"""The objectives and the ratings of the interaction rows as tensors."""

from __future__ import annotations

import polars as pl
import torch
from torch import Tensor

from dssm_lightning.data.interactions import TRAIN
from dssm_lightning.data.tables.tables import Tables
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.memory_mapped import numbers


def objective_rows(tables: Tables, fold: Tensor) -> Tensor | None:
    """Return whether each row is a positive of each objective, (R, O) bool; None if there are no objectives.

    Args:
        tables: complete tables.
        fold: (R,) int8.

    Raises:
        UserError: an objective without a positive among the training rows.
    """
    names = tables.keys.objectives
    if not names:
        return None
    found = torch.stack([numbers(tables.interactions[name], pl.Int8) > 0 for name in names], dim=1)
    train = fold == TRAIN
    for name, positives in zip(names, found[train].sum(0).tolist(), strict=True):
        if not positives:
            raise UserError(
                f"data: {name}: none of the {int(train.sum()):,} training rows is a positive of it; look at the split "
                "and at data.objectives"
            )
    return found


def standard_ratings(column: pl.Series, fold: Tensor) -> Tensor:
    """Return ratings (R,) in standard deviations from the mean of the training rows, float32; NaN = not rated.

    Args:
        column: numbers, null = not rated.
        fold: (R,) int8.

    Raises:
        UserError: the training rows have no two different ratings.

    Example:
        >>> standard_ratings(pl.Series([1.0, 3.0, None, 5.0]), torch.tensor([0, 0, 0, 2])).tolist()
        [-1.0, 1.0, nan, 3.0]
    """
    values = numbers(column.fill_null(float("nan")), pl.Float64)
    train = values[(fold == TRAIN) & ~values.isnan()]
    deviation = float(train.std(unbiased=False)) if len(train) else 0.0
    if not deviation:
        raise UserError(
            f"data: rating column {column.name!r} has {len(train):,} values in the training rows, all of them equal; "
            "leave out data.rating"
        )
    return ((values - train.mean()) / deviation).float()
