"""The interaction table as tensors: rows of queries, rows of the corpus, and what is known of each event."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dssm_lightning.utils import memory_mapped
from dssm_lightning.utils.memory_mapped import blocks, ranges, spooled, where
from dssm_lightning.utils.ragged import Ragged

TRAIN, VALIDATION, TEST = 0, 1, 2
FOLDS = ("train", "validation", "test")


class Interactions(NamedTuple):
    """R events. Positions refer to the rows of the query table and of the corpus."""

    query: Tensor  # (R,) int64
    candidate: Tensor  # (R,) int64
    fold: Tensor  # (R,) int8: TRAIN, VALIDATION or TEST
    label: Tensor | None  # (R,) float32, 1 or 0
    weight: Tensor | None  # (R,) float32
    time: Tensor | None  # (R,) float64
    negatives: Ragged | None  # R rows of corpus rows: negatives that the data itself names for an event
    grade: Tensor | None = None  # (R,) float32, how relevant what is liked is; None = all alike

    def rows(self, fold: int, *, label: int | None = None) -> Tensor:
        """(·,) int64: rows of one fold, all of them or those with the given label (every row is 1 without labels)."""

        def chosen(block: slice) -> Tensor:
            found = self.fold[block] == fold
            if label is not None:
                liked = torch.ones_like(found) if self.label is None else self.label[block] > 0
                found &= liked if label else ~liked
            return found

        total = len(self.fold)
        return where((chosen(block) for block in blocks(total)), total)


def _whole(order: Tensor) -> Tensor:
    """Whole numbers that are ordered alike: float64 by its bits, which sort four times as fast."""
    if order.dtype != torch.float64:
        return order
    bits = (order + 0.0).view(torch.int64)  # -0.0 is 0.0
    return bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF)  # below 0 a larger magnitude is less


def group(keys: Tensor, values: Tensor, num_keys: int, order: Tensor | None = None) -> Ragged:
    """Values gathered by key: row k holds the values whose key is k, ascending by ``order`` (stable).

    Args:
        keys: (T,) int64 in [0, num_keys).
        values: (T,).
        num_keys: number of rows of the result.
        order: (T,) what sorts the values of one key; None = as given.
    """
    offsets = torch.zeros(num_keys + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(keys, minlength=num_keys), 0, out=offsets[1:])

    def ordered(rows: Tensor) -> Tensor:
        index = rows if order is None else rows[torch.argsort(_whole(order[rows]), stable=True)]
        return values[index[torch.argsort(keys[index], stable=True)]]

    if len(keys) <= memory_mapped.BLOCK:
        return Ragged(ordered(torch.arange(len(keys))), offsets)
    parts = (ordered(rows).numpy() for rows in ranges(keys, offsets))
    return Ragged(torch.from_numpy(spooled(parts)), offsets)
