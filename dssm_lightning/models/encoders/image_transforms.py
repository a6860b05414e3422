"""Transforms of pictures before their encoder: random in training, deterministic in evaluation and serving."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import TypeAlias

import torch
from torch import Tensor, nn

from dssm_lightning.features.image import Image
from dssm_lightning.models.encoders.image_cuts import Cut
from dssm_lightning.models.encoders.random_view import BatchTransform
from dssm_lightning.utils.errors import UserError

TransformFactories: TypeAlias = list[Callable[[], nn.Module]]


class Transforms:
    """Apply torchvision's v2 transforms to pictures and their coverage, one picture at a time.

    A :class:`~dssm_lightning.models.encoders.random_view.BatchTransform`, such as ``RandomView``, changes a whole batch
    at once, which is about five times faster on one core. ``RandomResizedCrop`` and the flips after it, if the steps
    begin with them, are computed by :class:`~dssm_lightning.models.encoders.image_cuts.Cut` on a CPU: the same
    pictures from the same draws, about three times faster.

    Random transforms draw from torch's generator, which ``TwoTower`` seeds for each batch: a transformed picture is a
    function of (seed, epoch, step, process), like dropout. Transforms get the colours as an ``Image`` and the coverage
    as a ``Mask``, so that crops and flips move both equally and colour changes apply to colours only. Rows without a
    picture are not changed.

    .. code-block:: yaml

        transforms:
        - {class_path: torchvision.transforms.v2.RandomResizedCrop, init_args: {size: 224, scale: [0.6, 1]}}
        - torchvision.transforms.v2.RandomHorizontalFlip
        - {class_path: torchvision.transforms.v2.ColorJitter, init_args: {brightness: 0.2, contrast: 0.2}}

    Args:
        image: the feature. Its pictures are uint8, and transformed pictures must be uint8.
        training: transforms in training, in this order; None = those of evaluation.
        evaluation: transforms in evaluation and serving, in this order, none of them random; None = no transforms.
        label: the start of error messages.

    Raises:
        UserError: a transform fails on such pictures; the results have a type or size that the encoder cannot take;
            the sizes in training and evaluation differ; a transform of evaluation is random.

    Example:
        >>> from dssm_lightning.features import Image
        >>> from torchvision.transforms import v2
        >>> transforms = Transforms(Image(name="poster", size=8), None, [lambda: v2.CenterCrop(4)], "ConvNet")
        >>> transforms.size, transforms.are_random
        (4, False)
    """

    size: int
    """Height and width of transformed pictures."""

    def __init__(
        self, image: Image, training: TransformFactories | None, evaluation: TransformFactories | None, label: str
    ) -> None:
        with torch.device("cpu"):  # a transform may hold tensors, and the model may be built on the meta device
            self.evaluation_steps = [make() for make in evaluation or []]
            self.training_steps = self.evaluation_steps if training is None else [make() for make in training]
        with torch.random.fork_rng(devices=[]):  # the initial weights must not depend on this check
            self.size = _tried(self.evaluation_steps, image, f"{label}: evaluation_transforms")
            size = _tried(self.training_steps, image, f"{label}: transforms")
            if size != self.size:
                raise UserError(
                    f"{label}: transforms give pictures of {size} × {size} pixels, evaluation_transforms give "
                    f"{self.size} × {self.size}; both sizes must be equal (use CenterCrop or Resize)"
                )
            if _is_random(self.evaluation_steps, image):
                raise UserError(
                    f"{label}: evaluation_transforms are random ({_names(self.evaluation_steps)}), but a picture must "
                    "always have the same embedding; use random transforms only in `transforms`"
                )

    @property
    def are_random(self) -> bool:
        """Whether the transforms of training differ from those of evaluation."""
        return self.training_steps is not self.evaluation_steps

    def __call__(self, pixels: Tensor, present: Tensor, training: bool) -> Tensor:
        """(B, channels + 1, height, width) uint8, (B,) bool present -> (B, channels + 1, size, size) uint8."""
        steps = self.training_steps if training else self.evaluation_steps
        if not steps:
            return pixels
        rows = present.nonzero().flatten()
        if 0 < len(rows) == len(pixels):
            return _apply(steps, pixels)
        changed = pixels.new_zeros(len(pixels), pixels.shape[1], self.size, self.size)
        if len(rows):
            changed[rows] = _apply(steps, pixels.index_select(0, rows))
        return changed


def _apply(steps: list[nn.Module], pixels: Tensor) -> Tensor:
    """(B, channels + 1, height, width) -> (B, channels + 1, size, size) after all steps."""
    for takes_batches, group in groupby(steps, lambda step: isinstance(step, BatchTransform)):
        some = list(group)
        if takes_batches:
            for step in some:
                given = step(pixels)
                if len(given) != len(pixels):
                    raise UserError(
                        f"{type(step).__name__}: {len(pixels)} pictures became {len(given)}; a BatchTransform gives "
                        "one for each"
                    )
                pixels = given
        else:  # torchvision would draw once for a whole batch
            pixels = _apply_one_by_one(some, pixels)
    return pixels


def _apply_one_by_one(steps: list[nn.Module], pixels: Tensor) -> Tensor:
    """(B, channels + 1, height, width) -> (B, channels + 1, size, size) after all steps of torchvision."""
    cut, rest = Cut.split(steps) if Cut.takes(pixels) else (None, steps)
    if cut is None:
        return torch.stack([_apply_to_one(steps, picture) for picture in pixels])
    if not rest:
        return cut(pixels)
    return torch.stack([_apply_to_one(rest, cut(picture[None])[0]) for picture in pixels])  # each draws all it needs


def _apply_to_one(steps: list[nn.Module], pixels: Tensor) -> Tensor:
    """(channels + 1, height, width) -> (channels + 1, size, size) after all steps."""
    from torchvision import tv_tensors

    colours, coverage = tv_tensors.Image(pixels[:-1]), tv_tensors.Mask(pixels[-1:])
    for step in steps:
        colours, coverage = step(colours, coverage)
    return torch.cat([colours.as_subclass(Tensor), coverage.as_subclass(Tensor)])


def _noise(image: Image) -> Tensor:
    return torch.randint(0, 256, (image.channels, image.size, image.size), dtype=torch.uint8)


def _tried(steps: list[nn.Module], image: Image, label: str) -> int:
    """Apply the steps to a random picture, and return the size of the result."""
    try:
        with torch.device("cpu"):  # a model may be built on the meta device, where nothing is computed
            given = _apply(steps, _noise(image)[None])[0]
    except Exception as error:  # transforms can raise anything, also classes of the user
        raise UserError(
            f"{label} ({_names(steps)}) fail on pictures of {image.channels - 1} colours and {image.size} × "
            f"{image.size} pixels: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error
    if given.dtype != torch.uint8 or given.ndim != 3 or given.shape[0] != image.channels or len({*given.shape[1:]}) > 1:
        raise UserError(
            f"{label} ({_names(steps)}) give {given.dtype} {tuple(given.shape)}; the results must be square uint8 "
            f"pictures with {image.channels - 1} colours and their coverage; leave out ToDtype and Normalize, because "
            "the encoder scales pictures itself"
        )
    return given.shape[1]


def _is_random(steps: list[nn.Module], image: Image) -> bool:
    with torch.device("cpu"):
        picture, given = _noise(image), []
        for seed in range(4):
            torch.manual_seed(seed)
            given.append(_apply(steps, picture[None])[0])
    return any(not torch.equal(each, given[0]) for each in given)


def _names(steps: list[nn.Module]) -> str:
    return ", ".join(type(step).__name__ for step in steps) or "none"
