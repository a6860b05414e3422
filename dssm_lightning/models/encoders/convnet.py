"""The base of picture encoders, and a small convolutional net. ``backbone.py`` has the large nets."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from dssm_lightning.features.base import Feature
from dssm_lightning.features.image import Image
from dssm_lightning.models.encoders.base import Encoder
from dssm_lightning.models.encoders.image_transforms import TransformFactories, Transforms
from dssm_lightning.utils.errors import UserError, require_at_least, require_whole
from dssm_lightning.utils.ragged import Column


class PictureEncoder(Encoder):
    """Base of picture encoders: applies transforms, and gives rows without a picture a learnable vector.

    A subclass implements :meth:`embed`.

    Args:
        feature: an Image.
        output_dim: width of the result.
        transforms: transforms in training, see :class:`~dssm_lightning.models.encoders.image_transforms.Transforms`.
        evaluation_transforms: transforms in evaluation and serving.

    Raises:
        UserError: the feature is not an Image, the width is below 1, or a transform fails on such pictures.

    Example:
        >>> from dssm_lightning.features import Image
        >>> class MeanColour(PictureEncoder):
        ...     def embed(self, pixels):
        ...         return pixels[:, :-1].float().mean(dim=(2, 3))
        >>> white = torch.full((1, 4, 8, 8), 255, dtype=torch.uint8)  # red, green, blue, coverage
        >>> MeanColour(Image(name="poster", size=8), output_dim=3)(white).detach()
        tensor([[255., 255., 255.]])
    """

    def __init__(
        self,
        feature: Feature,
        output_dim: int,
        transforms: TransformFactories | None = None,
        evaluation_transforms: TransformFactories | None = None,
    ) -> None:
        super().__init__()
        self.label = f"{type(self).__name__} of {feature.name!r}"
        require_at_least(self.label, "output_dim", output_dim)
        self.image = image_feature(self, feature)
        self.transforms = Transforms(self.image, transforms, evaluation_transforms, self.label)
        self.output_dim = output_dim
        self.no_picture = nn.Parameter(torch.zeros(output_dim))

    def forward(self, column: Column) -> Tensor:
        """(B, channels, height, width) uint8 -> (B, output_dim)."""
        assert isinstance(column, Tensor)
        present = self.present(column)
        encoded = self.embed(self.transforms(column, present, self.training))
        return self.or_none(encoded, present)

    @staticmethod
    def present(column: Tensor) -> Tensor:
        """(B,) bool: whether the row has a picture, that is, any coverage."""
        return column[:, -1].flatten(1).amax(dim=1) > 0

    def or_none(self, encoded: Tensor, present: Tensor) -> Tensor:
        """(B, output_dim), with the learnable vector in the rows without a picture."""
        return torch.where(present[:, None], encoded, self.no_picture.to(encoded.dtype))

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, channels, height, width) uint8 -> (B, output_dim), for rows with and without a picture."""
        raise NotImplementedError


class ConvNet(PictureEncoder):
    """Small convolutional net: patches, strided 3 × 3 convolutions, mean over positions, a linear layer.

    GroupNorm and ReLU follow each convolution. Unlike BatchNorm, GroupNorm does not depend on the batch (Wu and He
    2018, arXiv:1803.08494). The coverage channel is an input like the colours, so that the net can distinguish padding
    from black. With the default settings, a training step over 700 pictures of 64 × 64 pixels takes a quarter of a
    second on one core.

    Args:
        feature: an Image.
        output_dim: width of the result.

        channels: output channels of each convolution; None = [16, 32, 64, 128].
        patch: size and stride of the first convolution, which reads each pixel once; each other convolution halves the
            resolution.
        grid: g; the means of g × g equal parts of the picture reach the linear layer, side by side, so that it knows
            where something is. 1 = one mean over the whole picture.

        transforms: transforms in training, see :class:`~dssm_lightning.models.encoders.image_transforms.Transforms`.
        evaluation_transforms: transforms in evaluation and serving.

    Raises:
        UserError: the feature is not an Image; the pictures are too small for this number of convolutions, or for this
            grid.

    Example:
        >>> import torch
        >>> from dssm_lightning.features import Image
        >>> from dssm_lightning.models.encoders import ConvNet
        >>> encoder = ConvNet(Image(name="poster", size=16), output_dim=4, channels=[8, 16])
        >>> encoder(torch.zeros(2, 4, 16, 16, dtype=torch.uint8)).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        feature: Feature,
        output_dim: int = 128,
        *,
        # network
        channels: list[int] | None = None,
        patch: int = 4,
        grid: int = 1,
        # pictures
        transforms: TransformFactories | None = None,
        evaluation_transforms: TransformFactories | None = None,
    ) -> None:
        super().__init__(feature, output_dim, transforms, evaluation_transforms)
        size = self.transforms.size
        widths = [16, 32, 64, 128] if channels is None else channels
        smallest = patch * 2 ** (len(widths) - 1)
        if not widths or min(widths) < 1 or not 1 <= patch <= smallest <= size:
            raise UserError(
                f"{self.label}: channels {widths} and patch {patch} need pictures of at least {smallest} × {smallest} "
                f"pixels, but they have {size} × {size}; give fewer (positive) channels, or a smaller patch"
            )
        layers = nn.Sequential(nn.Conv2d(self.image.channels, widths[0], kernel_size=patch, stride=patch))
        for before, after in pairwise(widths):
            layers.extend([group_norm(before), nn.ReLU(), nn.Conv2d(before, after, 3, stride=2, padding=1)])
        layers.extend([group_norm(widths[-1]), nn.ReLU()])
        self.convolutions = layers
        side = positions(size, patch, len(widths))
        require_whole(self.label, "grid", grid)
        if side % grid:
            raise UserError(
                f"{self.label}: grid is {grid}; it must divide the {side} × {side} positions after the convolutions"
            )
        self.grid, self.part = grid, side // grid
        self.output = nn.Linear(widths[-1] * grid**2, output_dim)

    def embed(self, pixels: Tensor) -> Tensor:
        """(B, channels, height, width) uint8 -> (B, output_dim)."""
        if not torch.compiler.is_exporting():  # the layout would fix the number of rows
            pixels = pixels.contiguous(memory_format=torch.channels_last)  # one fifth faster on a CPU
        maps = self.convolutions(pixels.to(self.output.weight.dtype) * (2 / 255) - 1)  # (B, C, h, w)
        whole = self.grid == 1
        means = maps.mean(dim=(2, 3)) if whole else nn.functional.avg_pool2d(maps, self.part).flatten(1)
        embedded: Tensor = self.output(means)  # from (B, C · grid²)
        return embedded


def positions(size: int, patch: int, convolutions: int) -> int:
    """Return the height and width of the maps after all convolutions."""
    side = size // patch
    for _ in range(convolutions - 1):
        side = (side + 1) // 2
    return side


def image_feature(encoder: Encoder, feature: Feature) -> Image:
    """Return the feature as an Image, or refuse it."""
    if not isinstance(feature, Image):
        raise UserError(
            f"{type(encoder).__name__} encodes Image features; {feature.name!r} is {type(feature).__name__}"
        )
    return feature


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with groups of 16 channels or a few more.

    A group of one channel would lose the mean of its map, and thus the colour of a uniform picture.
    """
    groups = next(groups for groups in range(max(1, channels // 16), 0, -1) if channels % groups == 0)
    return nn.GroupNorm(groups, channels)
