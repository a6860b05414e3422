"""Layers as a report shows them: output shapes, found by running a few rows, and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from dssm_lightning.losses import Loss
from dssm_lightning.models.encoders import Encoder
from dssm_lightning.models.scorers import Scorer
from dssm_lightning.utils.ragged import Features

BATCHES = (7, 11)
"""Rows of the two batches that are run: a size that differs between them is the batch, or the values of a row."""

Shape: TypeAlias = tuple[int | str, ...]
"""Sizes, with "B" for the rows of a batch and "L" for any other size that varies between batches."""


class Layer(NamedTuple):
    """One module, or one parameter that a module itself holds.

    Example:
        >>> layer = describe_layer("out", nn.Linear(3, 2), shapes={})
        >>> layer.kind, layer.parameters
        ('Linear 3 → 2', 8)
    """

    name: str
    kind: str
    shape: Shape | None  # of the output; None if unknown, or if the output is not a single tensor
    parameters: int
    frozen: int  # parameters that are not trained
    layers: list[Layer]


def format_shape(shape: Shape | None) -> str:
    """Format a shape; an unknown shape is an empty text.

    Example:
        >>> format_shape(("B", 128))
        '(B, 128)'
    """
    return "" if shape is None else f"({', '.join(map(str, shape))})"


def output_shapes(tower: nn.Module, batches: Sequence[Features]) -> dict[nn.Module, Shape | None]:
    """Return the output shape of each module of a tower, from two batches of :data:`BATCHES` rows."""
    seen: list[dict[nn.Module, tuple[int, ...] | None]] = []

    def record(module: nn.Module, _: Any, output: Any) -> None:
        seen[-1][module] = tuple(output.shape) if isinstance(output, Tensor) else None

    hooks = [module.register_forward_hook(record) for module in tower.modules()]
    training = tower.training
    tower.eval()
    try:
        with torch.inference_mode():
            for features in batches:
                seen.append({})
                tower(features)
    finally:
        for hook in hooks:
            hook.remove()
        tower.train(training)
    first, second = seen
    return {module: _symbolic(shape, second.get(module)) for module, shape in first.items()}


def _symbolic(first: tuple[int, ...] | None, second: tuple[int, ...] | None) -> Shape | None:
    if first is None or second is None or len(first) != len(second):
        return None
    sizes = zip(first, second, strict=True)
    return tuple("B" if pair == BATCHES else pair[0] if pair[0] == pair[1] else "L" for pair in sizes)


def describe_layer(name: str, module: nn.Module, shapes: dict[nn.Module, Shape | None]) -> Layer:
    """Describe a module and its layers, without the layers that do nothing."""
    children = [(child, inner) for child, inner in module.named_children() if not _does_nothing(inner)]
    layers = [describe_layer(child, inner, shapes) for child, inner in children]
    if layers:  # a module without layers shows its own parameters in its own line
        layers = [*(_own(key, parameter) for key, parameter in module.named_parameters(recurse=False)), *layers]
    frozen = count_parameters(module, frozen=True)
    return Layer(name, _kind(module), shapes.get(module), count_parameters(module), frozen, layers)


def _own(name: str, parameter: nn.Parameter) -> Layer:
    size = parameter.numel()
    return Layer(name, f"parameter {_times(parameter.shape)}", None, size, 0 if parameter.requires_grad else size, [])


def describe_blocks(
    name: str, layers: nn.Sequential, shapes: dict[nn.Module, Shape | None], *, numbered: bool
) -> list[Layer]:
    """Describe each linear layer, together with the dropout before it and the layers after it."""
    blocks: list[list[Layer]] = []
    open_block = False  # whether the last block already has its linear layer
    for child, module in layers.named_children():
        starts = isinstance(module, nn.Dropout) or (isinstance(module, nn.Linear) and open_block)
        if starts or not blocks:
            blocks.append([])
        open_block = isinstance(module, nn.Linear) or (open_block and not starts)
        blocks[-1] += [] if _does_nothing(module) else [describe_layer(child, module, shapes)]
    full = [block for block in blocks if block]
    return [_joined(f"{name} {number}" if numbered else name, block) for number, block in enumerate(full, 1)]


def _joined(name: str, layers: list[Layer]) -> Layer:
    kind = " · ".join(layer.kind for layer in layers)
    parameters, frozen = sum(layer.parameters for layer in layers), sum(layer.frozen for layer in layers)
    return Layer(name, kind, layers[-1].shape, parameters, frozen, layers if len(layers) > 1 else [])


def _does_nothing(module: nn.Module) -> bool:
    return isinstance(module, nn.Identity) or (isinstance(module, nn.Dropout) and module.p == 0)


def _kind(module: nn.Module) -> str:
    name = type(module).__name__
    if isinstance(module, nn.Linear):
        return f"{name} {module.in_features:,} → {module.out_features:,}"
    if isinstance(module, nn.Embedding):
        return f"{name} {_times(module.weight.shape)}"
    if isinstance(module, nn.Conv2d):
        return f"{name} {module.in_channels} → {module.out_channels}, {_times(module.kernel_size)}"
    if isinstance(module, nn.Dropout):
        return f"{name} {module.p:g}"
    described = module.extra_repr() if isinstance(module, Encoder | Scorer | Loss) else ""
    return f"{name}, {described}" if described else name


def _times(sizes: Sequence[int]) -> str:
    return " × ".join(f"{size:,}" for size in sizes)


def count_parameters(module: nn.Module, frozen: bool = False) -> int:
    """Count the parameters of a module, each once; with ``frozen``, only those that are not trained.

    Example:
        >>> count_parameters(nn.Linear(3, 2)), count_parameters(nn.Linear(3, 2), frozen=True)
        (8, 0)
    """
    return sum(parameter.numel() for parameter in module.parameters() if not (frozen and parameter.requires_grad))
