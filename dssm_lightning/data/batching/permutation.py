"""A random order without memory: the number at a place is computed from the place."""

from __future__ import annotations

from math import isqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dssm_lightning.utils.hashing import mix64_
from dssm_lightning.utils.seeding import mix

ROUNDS = 8
"""Four rounds suffice with ideal round functions (Luby and Rackoff, 1988); eight allow for weaker ones."""


class Permutation:
    r"""A bijection of 0 … total − 1, determined by a key: places (n,) int64 -> numbers (n,) int64.

    A Feistel network over pairs :math:`(l, r) \in \mathbb{Z}_a \times \mathbb{Z}_b` with a·b ≥ total: each round takes
    :math:`(l, r)` to :math:`(r, l + f_i(r))`, which is invertible for any :math:`f_i`. A result outside of 0 … total −
    1 passes through the network again until it is inside; with :math:`a = \lceil\sqrt{total}\rceil`, one result in
    √total is outside.

    Source: Black and Rogaway, Ciphers with arbitrary finite domains, CT-RSA 2002, doi 10.1007/3-540-45760-7_9.

    Args:
        total: size of the range.
        key: the seed of the order.

    Example:
        >>> order = Permutation(5, key=3)
        >>> sorted(order(torch.arange(5)).tolist())
        [0, 1, 2, 3, 4]
    """

    def __init__(self, total: int, key: int) -> None:
        self.total = total
        self._sizes = (isqrt(total - 1) + 1, -(-total // (isqrt(total - 1) + 1)))  # a, b
        self._keys = [np.uint64(mix(key, number)) for number in range(ROUNDS)]

    def __call__(self, places: Tensor) -> Tensor:
        """Return the numbers at these places."""
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
        return found  # after an even number of rounds, the sizes are in their first order again
