"""Where the optimizer of a checkpoint differs from the one asked for."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

_KERNELS = {"fused", "foreach"}
"""Settings of speed alone, which some strategies change."""


def settings_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The settings of each parameter group; of a learning rate under a schedule, what it started from."""
    return [
        {key: value for key, value in {**group, "lr": group.get("initial_lr", group["lr"])}.items() if key != "params"}
        for group in optimizer.param_groups
    ]


def differences(asked: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[str]:
    """What two optimizers do not share, as ``lr 0.1, not 0.5``."""
    pairs = (
        (a, b, key) for a, b in zip(asked, found, strict=False) for key in a if key not in {"initial_lr", *_KERNELS}
    )
    told = (f"{key} {b[key]}, not {a[key]}" for a, b, key in pairs if key in b and a[key] != b[key])
    return list(dict.fromkeys(told))
