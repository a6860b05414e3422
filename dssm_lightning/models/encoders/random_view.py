"""Random views of pictures, for a whole batch at once."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dssm_lightning.utils.errors import UserError, is_number

_LUMA = (0.299, 0.587, 0.114)
_TO_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))

_LIMITS = {
    "zoom": 3,
    "stretch": 3,
    "shift": 1,
    "rotation": 180,
    "shear": 80,
    "brightness": 1,
    "contrast": 1,
    "saturation": 1,
    "hue": 0.5,
    "grey": 1,
}


class BatchTransform(nn.Module):
    """Base of transforms that change a whole batch at once, each picture in its own way.

    ``forward`` turns pictures (B, channels, height, width) uint8, whose last channel is the coverage, into pictures
    (B, channels, size, size) uint8. Random numbers come from torch's generator.

    Example:
        >>> class Darker(BatchTransform):
        ...     def forward(self, pixels):
        ...         return torch.cat([pixels[:, :-1] // 2, pixels[:, -1:]], dim=1)
        >>> Darker()(torch.full((1, 2, 1, 1), 200, dtype=torch.uint8)).flatten().tolist()
        [100, 200]
    """

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, channels, height, width) uint8 -> (B, channels, size, size) uint8."""
        raise NotImplementedError


class RandomView(BatchTransform):
    r"""Show each picture zoomed, stretched, shifted, turned and sheared at random, in other colours.

    Each picture draws its own values, and all pictures are changed by the same few operations: with 64 × 64 pixels this
    is about five times faster on one core than torchvision, whose transforms take one picture at a time.

    The point x of the new picture shows the point :math:`A x + t` of the old one, in coordinates from −1 to 1, with
    :math:`A` a product of a turn, a shear, a stretch and a zoom. What lies outside of the old picture is white and not
    covered.

    Colours are changed in this order: the hue is turned (in the plane of I and Q of YIQ), the colours' distance from
    grey and the brightness are multiplied, and so is the distance from the picture's mean (the contrast).

    Args:
        zoom: z; sizes are multiplied by a factor from exp(−z) to exp(z), with a uniform logarithm.
        stretch: the same for width / height.
        shift: largest shift to each side, as a fraction of the picture's width and height.
        rotation: largest turn to each side, in degrees.
        shear: largest shear to each side, in degrees.

        brightness: b; colours are multiplied by a factor from 1 − b to 1 + b.
        contrast: the same for the distance from the mean.
        saturation: the same for the distance from grey.
        hue: largest turn of the hue to each side, as a fraction of the whole circle.
        grey: probability that a picture loses its colours.

    Raises:
        UserError: a value is negative, or above its limit: 3 for zoom and stretch, 180 degrees for the rotation, 80 for
            the shear, 0.5 for the hue, 1 for the others.

    Example:
        >>> white = torch.full((2, 4, 8, 8), 255, dtype=torch.uint8)
        >>> view = RandomView(shift=0.5, brightness=0.5)(white)
        >>> view.shape, view.dtype
        (torch.Size([2, 4, 8, 8]), torch.uint8)
    """

    def __init__(
        self,
        *,
        # place
        zoom: float = 0.0,
        stretch: float = 0.0,
        shift: float = 0.0,
        rotation: float = 0.0,
        shear: float = 0.0,
        # colours
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        grey: float = 0.0,
    ) -> None:
        super().__init__()
        self.zoom, self.stretch, self.shift, self.rotation, self.shear = zoom, stretch, shift, rotation, shear
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation
        self.hue, self.grey = hue, grey
        for name, limit in _LIMITS.items():
            value = getattr(self, name)
            if not (is_number(value) and 0 <= value <= limit):
                raise UserError(f"RandomView: {name} is {value!r}; it must be from 0 to {limit}")
        self.moves = any((zoom, stretch, shift, rotation, shear))

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, colours + 1, height, width) uint8 -> the same shape and type."""
        place, colour = torch.rand(2, len(pixels), 6, device="cpu").mul(2).sub(1).to(pixels.device).unbind()  # −1 to 1
        colours, coverage = pixels[:, :-1].float() / 255, pixels[:, -1:]
        with torch.autocast(pixels.device.type, enabled=False):  # bfloat16 has too few steps for places and colours
            if self.moves:
                colours, coverage = self._moved(colours, coverage, place)
            colours = self._recoloured(colours, colour)
        return torch.cat([(colours.clamp(0, 1) * 255).round().to(torch.uint8), coverage], dim=1)

    def _moved(self, colours: Tensor, coverage: Tensor, draw: Tensor) -> tuple[Tensor, Tensor]:
        grid = F.affine_grid(self._matrices(draw), list(colours.shape), align_corners=False)
        ink = torch.cat([1 - colours, coverage.to(colours.dtype)], dim=1)  # outside there is no ink, and no coverage
        moved = F.grid_sample(ink, grid, align_corners=False)
        return 1 - moved[:, :-1], moved[:, -1:].gt(127).to(torch.uint8) * 255

    def _matrices(self, draw: Tensor) -> Tensor:
        """(B, 6) from −1 to 1 -> (B, 2, 3): A and t."""
        turn, shear = (draw[:, :2] * torch.tensor([self.rotation, self.shear], device=draw.device)).deg2rad().unbind(1)
        size, ratio = (-self.zoom * draw[:, 2]).exp(), (self.stretch / 2 * draw[:, 3]).exp()
        cosine, sine, slant = turn.cos(), turn.sin(), shear.tan()
        x = torch.stack([cosine, cosine * slant - sine], 1) * torch.stack([size / ratio, size * ratio], 1)
        y = torch.stack([sine, sine * slant + cosine], 1) * torch.stack([size / ratio, size * ratio], 1)
        return torch.cat([torch.stack([x, y], 1), 2 * self.shift * draw[:, 4:, None]], 2)

    def _recoloured(self, colours: Tensor, draw: Tensor) -> Tensor:
        draw = draw[:, :, None, None, None]  # (B, 6, 1, 1, 1)
        if colours.shape[1] >= 3:
            colours = torch.cat([self._recoloured_rgb(colours[:, :3], draw), colours[:, 3:]], dim=1)
        seen = colours[:, :3]
        seen = seen * (1 + self.brightness * draw[:, 3])
        mean = seen.mean((1, 2, 3), keepdim=True)
        seen = mean + (seen - mean) * (1 + self.contrast * draw[:, 4])
        return torch.cat([seen, colours[:, 3:]], dim=1)

    def _recoloured_rgb(self, colours: Tensor, draw: Tensor) -> Tensor:
        """(B, 3, height, width): other hues, and colours closer to grey or farther from it."""
        if self.hue:
            to_yiq = torch.tensor(_TO_YIQ, device=colours.device)
            luma, in_phase, quadrature = torch.einsum("ij,bjhw->bihw", to_yiq, colours).tensor_split(3, dim=1)
            angle = 2 * math.pi * self.hue * draw[:, 0]
            turned = (
                in_phase * angle.cos() - quadrature * angle.sin(),
                in_phase * angle.sin() + quadrature * angle.cos(),
            )
            colours = torch.einsum("ij,bjhw->bihw", to_yiq.inverse(), torch.cat([luma, *turned], dim=1))
        grey = torch.einsum("j,bjhw->bhw", torch.tensor(_LUMA, device=colours.device), colours)[:, None]
        share = torch.where((draw[:, 2] + 1) / 2 < self.grey, 0.0, 1 + self.saturation * draw[:, 1])
        return grey + (colours - grey) * share
