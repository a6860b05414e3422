"""Activation functions by name."""

from __future__ import annotations

import difflib

from torch import nn


def activation_layer(name: str) -> nn.Module:
    """The activation that a ``torch.nn`` class of this name computes.

    Raises:
        ValueError: no activation has that name; the nearest are named.
    """
    known = {key: value for key, value in vars(nn.modules.activation).items() if isinstance(value, type)}
    if not (name in known and issubclass(known[name], nn.Module)):
        lowered = {key.lower(): key for key in known}
        near = [lowered[key] for key in difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.0)]
        raise ValueError(f"unknown activation {name!r}; nearest in torch.nn: {near}")
    module = known[name]()
    assert isinstance(module, nn.Module)
    return module
