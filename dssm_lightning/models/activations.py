"""Find activation functions by name."""

from __future__ import annotations

from torch import nn

from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import nearest_names


def activation_layer(name: str) -> nn.Module:
    """Return the activation of a ``torch.nn`` class name.

    Raises:
        UserError: torch has no activation of this name. The message has similar names.

    Example:
        >>> activation_layer("LeakyReLU")
        LeakyReLU(negative_slope=0.01)
    """
    known = {key: value for key, value in vars(nn.modules.activation).items() if isinstance(value, type)}
    if not (name in known and issubclass(known[name], nn.Module)):
        raise UserError(f"unknown activation {name!r}; similar in torch.nn: {nearest_names(name, known)}")
    module = known[name]()
    assert isinstance(module, nn.Module)
    return module
