"""Compilation of the towers by ``torch.compile``."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from dssm_lightning.models.tower import Tower
from dssm_lightning.utils.errors import UserError


def check_compiler(device: torch.device) -> None:
    """Compile a sum of two numbers, to find a missing compiler before training starts.

    Raises:
        UserError: torch.compile does not work on this machine; the message gives the reason.
    """
    torch.compiler.reset()  # otherwise an earlier compilation of the sum would be reused

    def add(x: Tensor) -> Tensor:
        return x + 1

    try:
        torch.compile(add)(torch.ones(2, device=device))
    except Exception as reason:  # many types, from a missing compiler to missing headers
        first = str(reason).strip().partition("\n")[0]
        raise UserError(
            f"compile_towers: torch.compile does not work on this machine for {device.type}: "
            f"{type(reason).__name__}: {first}; install a C++ compiler (or name one in the environment variable CXX), "
            "or leave compile_towers out"
        ) from reason


def compile_towers(towers: Iterable[Tower]) -> None:
    """Compile all later calls of the towers, for batches of any size.

    The towers are changed in place: the names in ``state_dict`` and the checkpoints stay the same. Only towers are
    compiled: the rest of a step has shapes that depend on the data, and Lightning's hooks would break the graph.
    """
    for tower in set(towers):  # a tower that serves both sides is compiled once
        tower.compile(dynamic=True)
