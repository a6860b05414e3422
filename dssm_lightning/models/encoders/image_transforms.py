"""Pictures changed on the way to their encoder: at random while training, always alike while measuring and serving."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from dssm_lightning.features.image import Image
from dssm_lightning.utils.errors import UserError

TransformFactories: TypeAlias = list[Callable[[], nn.Module]]


class Transforms:
    """Transforms of torchvision (v2) over pictures with their coverage, each picture for itself.

    They draw from torch's generator, which ``TwoTower`` seeds anew for each batch: what a picture becomes is a function
    of (seed, epoch, step, rank), as dropout is. Colours are given as an ``Image`` and the coverage as a ``Mask``, so
    that crops and flips move both alike, and colour is changed where there is colour. Where there is no picture,
    nothing is changed.

    .. code-block:: yaml

        transforms:
        - {class_path: torchvision.transforms.v2.RandomResizedCrop, init_args: {size: 224, scale: [0.6, 1]}}
        - torchvision.transforms.v2.RandomHorizontalFlip
        - {class_path: torchvision.transforms.v2.ColorJitter, init_args: {brightness: 0.2, contrast: 0.2}}

    Args:
        image: the feature, whose pictures are 8 bits deep; what comes out must be so, too.
        training: in this order; None = as in evaluation.
        evaluation: in this order, none of them random; None = pictures stay as they are.
        label: whom an error names.

    Raises:
        ValueError: a transform that fails on such pictures; other types or sizes than an encoder can take, or another
            size in training than in evaluation; a random transform for evaluation.
    """

    size: int
    """Height and width of what comes out."""

    def __init__(
        self, image: Image, training: TransformFactories | None, evaluation: TransformFactories | None, label: str
    ) -> None:
        self.evaluation_steps = [make() for make in evaluation or []]
        self.training_steps = self.evaluation_steps if training is None else [make() for make in training]
        with torch.random.fork_rng(devices=[]):  # who builds a model must not draw other weights for this
            self.size = _tried(self.evaluation_steps, image, f"{label}: evaluation_transforms")
            size = _tried(self.training_steps, image, f"{label}: transforms")
            if size != self.size:
                raise UserError(
                    f"{label}: transforms give pictures of {size} × {size} pixels, evaluation_transforms of "
                    f"{self.size} × {self.size}; both must give one size (such as by CenterCrop, or Resize)"
                )
            if _is_random(self.evaluation_steps, image):
                raise UserError(
                    f"{label}: evaluation_transforms are random ({_names(self.evaluation_steps)}): a picture must "
                    "always be embedded alike; random ones belong to transforms"
                )

    @property
    def are_random(self) -> bool:
        """Whether training sees other pictures than evaluation."""
        return self.training_steps is not self.evaluation_steps

    def __call__(self, pixels: Tensor, present: Tensor, training: bool) -> Tensor:
        """(B, channels + 1, height, width) uint8, (B,) where there is a picture -> (B, channels + 1, size, size)."""
        steps = self.training_steps if training else self.evaluation_steps
        if not steps:
            return pixels
        changed = pixels.new_zeros(len(pixels), pixels.shape[1], self.size, self.size)
        for row in present.nonzero().flatten().tolist():  # torchvision draws for one picture at a time
            changed[row] = _apply(steps, pixels[row])
        return changed


def _apply(steps: list[nn.Module], pixels: Tensor) -> Tensor:
    """(channels + 1, height, width) -> the same after all steps."""
    from torchvision import tv_tensors

    colours, coverage = tv_tensors.Image(pixels[:-1]), tv_tensors.Mask(pixels[-1:])
    for step in steps:
        colours, coverage = step(colours, coverage)
    return torch.cat([colours.as_subclass(Tensor), coverage.as_subclass(Tensor)])


def _noise(image: Image) -> Tensor:
    return torch.randint(0, 256, (image.channels, image.size, image.size), dtype=torch.uint8)


def _tried(steps: list[nn.Module], image: Image, label: str) -> int:
    """The size of what comes out of the steps."""
    try:
        given = _apply(steps, _noise(image))
    except Exception as error:  # whatever a transform raises, torchvision's or not
        raise UserError(
            f"{label} ({_names(steps)}) fail on pictures of {image.channels - 1} colours and {image.size} × "
            f"{image.size} pixels: {error}"
        ) from error
    if given.dtype != torch.uint8 or given.ndim != 3 or given.shape[0] != image.channels or len({*given.shape[1:]}) > 1:
        raise UserError(
            f"{label} ({_names(steps)}) give {given.dtype} {tuple(given.shape)}, needed are square pictures in uint8 "
            f"with {image.channels - 1} colours and their coverage; an encoder scales them itself, without ToDtype and "
            "Normalize"
        )
    return given.shape[1]


def _is_random(steps: list[nn.Module], image: Image) -> bool:
    picture, given = _noise(image), []
    for seed in range(4):
        torch.manual_seed(seed)
        given.append(_apply(steps, picture))
    return any(not torch.equal(each, given[0]) for each in given)


def _names(steps: list[nn.Module]) -> str:
    return ", ".join(type(step).__name__ for step in steps) or "none"
