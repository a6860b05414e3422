"""torchvision's random cuts and flips of pictures, with its draws and its results, at a third of its time."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Array: TypeAlias = npt.NDArray[Any]

_LANES = 4  # torch resizes bytes four channels at a time: it would lay out pictures so, and back
_TRIES = 10  # of torchvision, before it takes the middle of the picture


class Cut:
    """A ``RandomResizedCrop`` of torchvision's v2 and the flips that follow it, for pictures on the CPU.

    The numbers that are drawn are torchvision's, in its order, and so is the result, to the last bit. Left out is what
    torchvision does beside the resampling:

    - only the part that is cut out is laid out as torch resamples bytes, with all colours of a pixel together;
    - flips cost nothing: the result is written from right to left, or from below;
    - the coverage, which torchvision resizes like any mask to the nearest pixel, is looked up;
    - the result is written where it belongs.

    Args:
        crop: a step that :meth:`split` accepts.
        flips: steps of ``RandomHorizontalFlip`` and ``RandomVerticalFlip``, in their order.

    Example:
        >>> from torchvision.transforms import v2
        >>> cut, rest = Cut.split([v2.RandomResizedCrop(2), v2.RandomHorizontalFlip(), v2.RandomInvert()])
        >>> rest
        [RandomInvert(p=0.5)]
        >>> cut(torch.full((1, 4, 8, 8), 255, dtype=torch.uint8)).shape
        torch.Size([1, 4, 2, 2])
    """

    def __init__(self, crop: Any, flips: list[Any]) -> None:
        from torchvision.transforms import v2

        self.size: tuple[int, int] = tuple(crop.size)
        self.mode = _mode(crop)
        self.scale: tuple[float, float] = tuple(crop.scale)
        self.ratio: tuple[float, float] = tuple(crop.ratio)
        self.log_ratio: list[float] = torch.tensor(crop.ratio).log().tolist()
        axes = [0 if isinstance(flip, v2.RandomVerticalFlip) else 1 for flip in flips]
        shares = [float(np.float32(flip.p)) for flip in flips]  # torchvision compares it with a number of 32 bits
        self.flips = list(zip(axes, shares, strict=True))
        self.number, self.place = torch.empty(1), torch.empty(1, dtype=torch.int64)

    @classmethod
    def split(cls, steps: list[nn.Module]) -> tuple[Cut | None, list[nn.Module]]:
        """The cut and the flips with which the steps begin, and the steps after them."""
        from torchvision.transforms import v2

        if not steps or type(steps[0]) is not v2.RandomResizedCrop:  # a class derived from it may do anything
            return None, steps
        crop = steps[0]
        has_kernel = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")  # others resize bytes as floats
        if not has_kernel or not crop.antialias or _mode(crop) not in ("bilinear", "bicubic"):
            return None, steps
        after = 1
        while after < len(steps) and type(steps[after]) in (v2.RandomHorizontalFlip, v2.RandomVerticalFlip):
            after += 1
        return cls(crop, steps[1:after]), steps[after:]

    @staticmethod
    def takes(pixels: Tensor) -> bool:
        """Whether pictures (B, channels + 1, height, width) are bytes on the CPU, with at most four colours."""
        is_bytes = pixels.device.type == "cpu" and pixels.dtype == torch.uint8
        return is_bytes and 2 <= pixels.shape[1] <= 1 + _LANES and not torch.compiler.is_compiling()

    def __call__(self, pixels: Tensor) -> Tensor:
        """(B, channels + 1, height, width) uint8 -> (B, channels + 1, *size)."""
        changed = pixels.new_empty(*pixels.shape[:2], *self.size)
        for given, taken in zip(pixels.numpy(), changed.numpy(), strict=True):
            self._change(given, taken)
        return changed

    def _change(self, given: Array, taken: Array) -> None:
        """(channels + 1, height, width) -> (channels + 1, *size), written into ``taken``."""
        top, left, height, width = self._part(*given.shape[1:])
        steps = [1, 1]
        for axis, share in self.flips:
            if not self.number.uniform_().item() >= share:
                steps[axis] *= -1
        rows, columns = steps
        colours = self._resized(given[:-1, top : top + height, left : left + width])[::rows, ::columns]
        for channel, plane in enumerate(taken[:-1]):
            plane[...] = colours[..., channel]
        covered = given[-1, top : top + height].take(_nearest(width, self.size[1], columns) + left, axis=1)
        covered.take(_nearest(height, self.size[0], rows), axis=0, out=taken[-1], mode="clip")  # "raise" would copy

    def _part(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Draw a part of the picture as ``RandomResizedCrop.make_params`` does: its top, left, height and width."""
        number = self.number
        for _ in range(_TRIES):
            area = height * width * number.uniform_(*self.scale).item()
            ratio = number.uniform_(*self.log_ratio).exp_().item()
            wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < wide <= width and 0 < high <= height:
                return self._below(height - high + 1), self._below(width - wide + 1), high, wide
        wide, high, shape = width, height, width / height
        if shape < min(self.ratio):
            high = round(width / min(self.ratio))
        elif shape > max(self.ratio):
            wide = round(height * max(self.ratio))
        return (height - high) // 2, (width - wide) // 2, high, wide

    def _below(self, limit: int) -> int:
        return int(self.place.random_(0, limit).item())

    def _resized(self, colours: Array) -> Array:
        """(colours, height, width) uint8 -> (*size, 4), whose first channels are the colours."""
        lanes: Array = np.empty((1, *colours.shape[1:], _LANES), np.uint8)  # nobody reads those above the colours
        for channel, plane in enumerate(colours):
            lanes[0, ..., channel] = plane
        if colours.shape[1:] != self.size:
            pixels = torch.from_numpy(lanes).permute(0, 3, 1, 2)
            resized = F.interpolate(pixels, self.size, mode=self.mode, align_corners=False, antialias=True)
            lanes = resized.permute(0, 2, 3, 1).numpy()
        resampled: Array = lanes[0]
        return resampled


def _mode(crop: Any) -> Any:
    """torchvision takes the mode by its name, as a member of an enum, or as a number, which is not taken here."""
    return getattr(crop.interpolation, "value", crop.interpolation)


@lru_cache(maxsize=1024)
def _nearest(length: int, size: int, step: int) -> Array:
    """(size,): the places among ``length`` that torch takes for ``size`` with mode "nearest"; backwards if step is −1.

    A cut has two lengths, so that those of pictures of up to 256 pixels all stay here.
    """
    places = torch.arange(length, dtype=torch.float32)[None, None]  # 32 bits: so torch scales the places of bytes
    taken: Array = F.interpolate(places, size=size, mode="nearest")[0, 0].to(torch.int64).numpy()
    return taken[::step]
