"""The towers through ``torch.compile``, or a word about why not."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from dssm_lightning.models.tower import Tower
from dssm_lightning.utils.errors import UserError


def check_compiler(device: torch.device) -> None:
    """Compile a sum of two numbers, so that a machine without a compiler says so before training and not within.

    Raises:
        ValueError: torch.compile does not work here; the message says why.
    """
    torch.compiler.reset()  # what was compiled before would be found again

    def add(x: Tensor) -> Tensor:
        return x + 1

    try:
        torch.compile(add)(torch.ones(2, device=device))
    except Exception as reason:  # of many kinds, from the compiler's absence to missing headers
        first = str(reason).strip().partition("\n")[0]
        raise UserError(
            f"compile_towers: torch.compile does not work on this machine for {device.type}: "
            f"{type(reason).__name__}: {first}; install a C++ compiler (or name one by CXX), or leave "
            "compile_towers out"
        ) from reason


def compile_towers(towers: Iterable[Tower]) -> None:
    """From now on calls of the towers are compiled, for batches of any size.

    In place: names in ``state_dict`` stay, and so do checkpoints. Only towers: the rest of a step has data-dependent
    shapes, and Lightning's hooks would break the graph everywhere.
    """
    for tower in set(towers):  # a shared one once
        tower.compile(dynamic=True)
