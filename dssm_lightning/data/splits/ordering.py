"""Orders, random or given, that are equal on every machine, and the folds that are cut from them."""

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
    """(n,) each one's place in a random order.

    Drawn from the raw stream of PCG64, which numpy promises not to change (NEP 19); its shuffles it may.
    """
    place = np.empty(n, np.int64)
    place[np.argsort(np.random.PCG64(mix(seed)).random_raw(n), kind="stable")] = np.arange(n)
    return place


def codes(rows: Tensor, ids: pl.Series) -> IntArray:
    """(R,) rows of distinct ids (n,), numbered anew by ascending id among those that occur.

    The order of the rows then does not decide a draw.
    """
    there = (torch.bincount(rows, minlength=len(ids)) > 0).numpy()
    code = torch.zeros(len(ids), dtype=torch.int64)
    code[there] = torch.from_numpy(ids.filter(there).rank("ordinal").to_numpy().astype(np.int64)) - 1
    found: IntArray = gathered(code, rows).numpy()
    return found


def places(group: IntArray, order: IntArray) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
    """Rows (n,), their places (n,) among the rows of their groups, and (n,) how many those are, until all are told.

    Args:
        group: (R,) in [0, R).
        order: (R,) each row's place among all, a permutation of 0 … R − 1.
    """
    R, size = len(group), np.bincount(group)
    before = np.concatenate([[0], np.cumsum(size)])  # rows of groups with smaller numbers
    for rows in map(Tensor.numpy, ranges(torch.from_numpy(group), torch.from_numpy(before))):
        # One sort of one number, without equal ones, is five times faster than np.lexsort.
        ordered = rows[np.argsort(group[rows] * R + order[rows])]
        of = group[ordered]
        yield ordered, np.arange(len(rows)) + before[of[:1]] - before[of], size[of]


def part_size(total: IntArray | int, fraction: float) -> IntArray:
    """A fraction of a whole number, or of each of several, rounded down."""
    return np.floor(np.asarray(total) * fraction + 1e-6).astype(np.int64)  # 0.29 × 100 is 28.999… in binary


def assign_folds(place: IntArray, test: IntArray, validation: IntArray) -> FoldArray:
    """(R,) the first ``test`` places test, the next ``validation`` ones validate, the rest train."""
    fold = np.full(len(place), TRAIN, np.int8)
    fold[place < test + validation] = VALIDATION
    fold[place < test] = TEST
    return fold
