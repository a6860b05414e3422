"""A random order that needs no memory: what stands at a place is computed from the place alone."""

from __future__ import annotations

from math import isqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dssm_lightning.utils.hashing import mix64_
from dssm_lightning.utils.seeding import mix

ROUNDS = 8
"""Four would do with ideal round functions (Luby and Rackoff, 1988); twice as many leave room for lesser ones."""


class Permutation:
    r"""Places (n,) int64 -> numbers (n,) int64, a bijection of 0 … total − 1 that the key draws.

    A Feistel network over pairs :math:`(l, r) \in \mathbb{Z}_a \times \mathbb{Z}_b` with a·b ≥ total: each round takes
    :math:`(l, r)` to :math:`(r, l + f_i(r))`, which can be undone whatever :math:`f_i` is. What falls outside goes
    through it again until it falls inside; with :math:`a = \lceil\sqrt{total}\rceil` that is one in √total.

    Source: Black and Rogaway, Ciphers with arbitrary finite domains, CT-RSA 2002, doi 10.1007/3-540-45760-7_9.

    Args:
        total: how many numbers there are.
        key: which of the orders.
    """

    def __init__(self, total: int, key: int) -> None:
        self.total = total
        self._sizes = (isqrt(total - 1) + 1, -(-total // (isqrt(total - 1) + 1)))  # a, b
        self._keys = [np.uint64(mix(key, number)) for number in range(ROUNDS)]

    def __call__(self, places: Tensor) -> Tensor:
        """The numbers at these places."""
        found = self._walk(places.numpy().astype(np.uint64))
        while (outside := found >= self.total).any():
            found[outside] = self._walk(found[outside])
        return torch.from_numpy(found.astype(np.int64))

    def _walk(self, numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left_size, right_size = (np.uint64(size) for size in self._sizes)
        left, right = numbers // right_size, numbers % right_size
        for key in self._keys:
            left, right = right, (left + mix64_(right ^ key) % left_size) % left_size
            left_size, right_size = right_size, left_size
        found: NDArray[np.uint64] = left * right_size + right
        return found  # after an even number of rounds the sizes are as they were
