"""Find activation functions by name."""

from __future__ import annotations

from torch import nn

from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import nearest_names


def activation_layer(name: str, owner: str = "activation", setting: str = "activation") -> nn.Module:
    """Return the activation of a ``torch.nn`` class name.

    Args:
        name: such as ``ReLU``.
        owner: owner of the setting, such as ``Tower``, for the message.
        setting: the setting.

    Raises:
        UserError: torch has no activation of this name, or the activation needs arguments. The message has similar
            names.

    Example:
        >>> activation_layer("LeakyReLU")
        LeakyReLU(negative_slope=0.01)
    """
    known = {key: getattr(nn, key) for key in nn.modules.activation.__all__}
    if name not in known:
        raise UserError(f"{owner}: {setting} {name!r} is unknown; similar in torch.nn: {nearest_names(name, known)}")
    try:
        module = known[name]()
    except TypeError as error:
        raise UserError(f"{owner}: {setting} {name!r} needs arguments, which this setting cannot give") from error
    assert isinstance(module, nn.Module)
    return module
