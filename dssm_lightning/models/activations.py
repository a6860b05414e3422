"""Activation functions by name."""

from __future__ import annotations

from torch import nn

from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import nearest_names


def activation_layer(name: str) -> nn.Module:
    """The activation that a ``torch.nn`` class of this name computes.

    Raises:
        ValueError: no activation has that name; the nearest are named.
    """
    known = {key: value for key, value in vars(nn.modules.activation).items() if isinstance(value, type)}
    if not (name in known and issubclass(known[name], nn.Module)):
        raise UserError(f"unknown activation {name!r}; nearest in torch.nn: {nearest_names(name, known)}")
    module = known[name]()
    assert isinstance(module, nn.Module)
    return module
