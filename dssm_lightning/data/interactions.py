"""The interaction table as tensors: the query row, the corpus row and the fold of each event."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.utils import memory_mapped
from dssm_lightning.utils.memory_mapped import blocks, ranges, spooled, where
from dssm_lightning.utils.ragged import Ragged

TRAIN, VALIDATION, TEST = 0, 1, 2
FOLDS = ("train", "validation", "test")
LEFT_OUT = 3
"""Rows that a split leaves out: they are dropped before anything is encoded, so that nothing knows of them."""


class Interactions(NamedTuple):
    """R events. Queries and candidates are row numbers of the query table and of the corpus.

    Example:
        >>> fold = torch.tensor([TRAIN, TRAIN, TEST], dtype=torch.int8)
        >>> query, candidate, label = torch.tensor([0, 0, 1]), torch.tensor([4, 2, 4]), torch.tensor([1.0, 0.0, 1.0])
        >>> events = Interactions(query, candidate, fold, label)
        >>> events.rows(TRAIN).tolist(), events.rows(TRAIN, label=1).tolist()
        ([0, 1], [0])
    """

    query: Tensor  # (R,) int64
    candidate: Tensor  # (R,) int64
    fold: Tensor  # (R,) int8: TRAIN, VALIDATION or TEST
    label: Tensor | None = None  # (R,) float32, 1 or 0; None = all liked
    weight: Tensor | None = None  # (R,) float32
    time: Tensor | None = None  # (R,) float64
    negatives: Ragged | None = None  # R rows of corpus rows: negatives that the data themselves list for an event
    grade: Tensor | None = None  # (R,) float32: the grade of a liked candidate; None = all have the same grade
    objectives: Tensor | None = (
        None  # (R, O) bool: whether the row is a positive of each objective; None = there are none
    )
    rating: Tensor | None = None  # (R,) float32: in standard deviations from the training rows' mean; NaN = not rated

    def rows(self, fold: int, *, label: int | None = None) -> Tensor:
        """Return the rows of one fold, int64, ascending.

        Args:
            fold: TRAIN, VALIDATION or TEST.
            label: keep only rows with this label, 1 or 0; None = all. Without labels, every row has label 1.
        """

        def chosen(block: slice) -> Tensor:
            found = self.fold[block] == fold
            if label is not None:
                liked = torch.ones_like(found) if self.label is None else self.label[block] > 0
                found &= liked if label else ~liked
            return found

        total = len(self.fold)
        return where((chosen(block) for block in blocks(total)), total)


def sorted_places(keys: Tensor, order: Tensor | None = None) -> Tensor:
    """Return the places (T,) int64 that sort rows by key, then by ``order``; equal rows keep their order.

    Whole numbers, such as times in seconds, are sorted together with the keys, which takes half the time of two sorts.

    Args:
        keys: (T,) int64.
        order: (T,) second sort key; None = keys alone.

    Example:
        >>> sorted_places(torch.tensor([2, 0, 2]), torch.tensor([5.0, 1.0, 4.0]).double()).tolist()
        [1, 2, 0]
    """
    if order is None or not len(keys):
        return torch.argsort(keys, stable=True)
    whole = order.long()  # where this overflows, the comparison fails
    if not torch.equal(whole.to(order.dtype), order):
        whole = _as_integers(order.double())
    (first_key, last_key), (first, last) = (map(int, each.aminmax()) for each in (keys, whole))
    if (last_key - first_key + 1) * (last - first + 1) <= torch.iinfo(torch.int64).max:
        return torch.argsort((keys - first_key) * (last - first + 1) + (whole - first), stable=True)
    places = torch.argsort(whole, stable=True)
    return places.index_select(0, torch.argsort(keys.index_select(0, places), stable=True))


def _as_integers(order: Tensor) -> Tensor:
    """Map float64 to int64 in the same order, by its bits, because integers sort four times as fast."""
    bits = (order + 0.0).view(torch.int64)  # + 0.0 turns -0.0 into 0.0
    return bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF)  # below 0, a larger magnitude is less


def group(keys: Tensor, values: Tensor, num_keys: int, order: Tensor | None = None) -> Ragged:
    """Group values by key: row k holds the values with key k, ascending by ``order`` (stable).

    Args:
        keys: (T,) int64 in [0, num_keys).
        values: (T,).
        num_keys: number of rows of the result.
        order: (T,) sort key of the values of one row; None = keep the given order.

    Example:
        >>> found = group(torch.tensor([2, 0, 2]), torch.tensor([7, 8, 9]), num_keys=3, order=torch.tensor([5, 1, 4]))
        >>> found.values.tolist(), found.lengths.tolist()
        ([8, 9, 7], [1, 0, 2])
    """
    offsets = F.pad(torch.bincount(keys, minlength=num_keys).cumsum(0), (1, 0))

    def ordered(rows: Tensor) -> Tensor:
        places = sorted_places(keys.index_select(0, rows), None if order is None else order.index_select(0, rows))
        return values.index_select(0, rows.index_select(0, places))

    if len(keys) <= memory_mapped.BLOCK:
        return Ragged(ordered(torch.arange(len(keys))), offsets)
    parts = (ordered(rows).numpy() for rows in ranges(keys, offsets))
    return Ragged(torch.from_numpy(spooled(parts)), offsets)
