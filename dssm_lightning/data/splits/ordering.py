"""Random and given orders that are equal on every machine, and the folds that are made from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from dssm_lightning.data.interactions import TEST, TRAIN, VALIDATION
from dssm_lightning.utils.memory_mapped import gathered, ranges
from dssm_lightning.utils.seeding import mix

FoldArray: TypeAlias = NDArray[np.int8]
IntArray: TypeAlias = NDArray[np.int64]


def shuffled(n: int, seed: int) -> IntArray:
    """Return the place (n,) of each number in a random order.

    The order comes from the raw stream of PCG64, which NumPy promises not to change (NEP 19). NumPy's shuffle functions
    may change.
    """
    place = np.empty(n, np.int64)
    place[np.argsort(np.random.PCG64(mix(seed)).random_raw(n), kind="stable")] = np.arange(n)
    return place


def codes(rows: Tensor, ids: pl.Series) -> IntArray:
    """Number the ids that occur by ascending id, so that the order of the rows does not affect a random order.

    Args:
        rows: (R,) rows of distinct ids.
        ids: (n,) the ids.

    Returns:
        (R,) the new number of each row's id.
    """
    occurs = (torch.bincount(rows, minlength=len(ids)) > 0).numpy()
    code = torch.zeros(len(ids), dtype=torch.int64)
    code[occurs] = torch.from_numpy(ids.filter(occurs).rank("ordinal").to_numpy().astype(np.int64)) - 1
    found: IntArray = gathered(code, rows).numpy()
    return found


def places(group: IntArray, order: IntArray) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
    """Yield rows (n,), their places (n,) within their groups, and the sizes (n,) of these groups, until all rows are
    done.

    Args:
        group: (R,) in [0, R).
        order: (R,) the place of each row among all rows, a permutation of 0 … R − 1.
    """
    R, size = len(group), np.bincount(group)
    before = np.concatenate([[0], np.cumsum(size)])  # number of rows in groups with smaller numbers
    for rows in map(Tensor.numpy, ranges(torch.from_numpy(group), torch.from_numpy(before))):
        # One sort of distinct numbers is five times as fast as np.lexsort.
        ordered = rows[np.argsort(group[rows] * R + order[rows])]
        of = group[ordered]
        yield ordered, np.arange(len(rows)) + before[of[:1]] - before[of], size[of]


def part_size(total: IntArray | int, fraction: float) -> IntArray:
    """Return a fraction of a number, or of each of several numbers, rounded down."""
    return np.floor(np.asarray(total) * fraction + 1e-6).astype(np.int64)  # 0.29 × 100 is 28.999… in binary


def assign_folds(place: IntArray, test: IntArray, validation: IntArray) -> FoldArray:
    """Return the folds (R,): TEST for the first ``test`` places, VALIDATION for the next ``validation``, else TRAIN."""
    fold = np.full(len(place), TRAIN, np.int8)
    fold[place < test + validation] = VALIDATION
    fold[place < test] = TEST
    return fold
