"""The settings in which the optimizer of a checkpoint differs from the requested optimizer."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

_KERNELS = {"fused", "foreach"}
"""Settings that affect only the speed; some strategies change them."""


def settings_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return the settings of each parameter group; for a learning rate with a schedule, its initial value."""
    return [
        {key: value for key, value in {**group, "lr": group.get("initial_lr", group["lr"])}.items() if key != "params"}
        for group in optimizer.param_groups
    ]


def differences(requested: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[str]:
    """Return a line such as ``lr 0.1, not 0.5`` for each setting of both optimizers that differs.

    Example:
        >>> differences([{"lr": 0.5, "eps": 1e-8}], [{"lr": 0.1, "eps": 1e-8}])
        ['lr 0.1, not 0.5']
    """
    pairs = (
        (a, b, key) for a, b in zip(requested, found, strict=False) for key in a if key not in {"initial_lr", *_KERNELS}
    )
    lines = (f"{key} {b[key]}, not {a[key]}" for a, b, key in pairs if key in b and a[key] != b[key])
    return list(dict.fromkeys(lines))
