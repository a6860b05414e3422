"""Random cuts and flips: torchvision's pictures to the last bit, from its numbers, in its order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from dssm_lightning.features import Image
from dssm_lightning.models.encoders import ConvNet
from dssm_lightning.models.encoders.image_cuts import Cut
from dssm_lightning.models.encoders.image_transforms import Transforms

MODES = ["L", "RGB", "RGBA"]


def pictures(size: int, channels: int = 4, count: int = 12) -> Tensor:
    pixels = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8)
    pixels[:, -1] = pixels[:, -1].gt(127).mul(255)
    return pixels


def by_torchvision(steps: list[nn.Module], pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Each picture by torchvision alone, and the generator's state after it."""
    torch.manual_seed(7)
    changed = []
    for picture in pixels:
        given: Any = (tv_tensors.Image(picture[:-1]), tv_tensors.Mask(picture[-1:]))
        for step in steps:
            given = step(*given)
        changed.append(torch.cat([each.as_subclass(Tensor) for each in given]))
    return torch.stack(changed), torch.get_rng_state()


def by_us(steps: list[nn.Module], pixels: Tensor) -> tuple[Tensor, Tensor]:
    image = Image(name="p", size=pixels.shape[-1], mode=MODES[{2: 0, 4: 1, 5: 2}[pixels.shape[1]]])  # type: ignore[arg-type]
    crop: Any = next(step for step in steps if isinstance(step, v2.RandomResizedCrop))
    resize = v2.Resize(crop.size, interpolation=v2.InterpolationMode.NEAREST)
    transforms = Transforms(image, [lambda step=step: step for step in steps], [lambda: resize], "here")  # type: ignore[misc]
    torch.manual_seed(7)
    return transforms(pixels, ConvNet.present(pixels), training=True), torch.get_rng_state()


def same(steps: list[nn.Module], pixels: Tensor) -> bool:
    (ours, state), (theirs, expected_state) = by_us(steps, pixels), by_torchvision(steps, pixels)
    return torch.equal(ours, theirs) and torch.equal(state, expected_state)


@pytest.mark.parametrize("channels", [2, 4, 5])
@pytest.mark.parametrize(("size", "cut"), [(96, 96), (24, 13), (24, 50), (63, 31)])
@pytest.mark.parametrize("interpolation", ["bilinear", v2.InterpolationMode.BICUBIC])
def test_every_bit_and_every_draw_is_that_of_torchvision(
    channels: int, size: int, cut: int, interpolation: Any
) -> None:
    """Parts smaller than the result and larger, which are antialiased, and flips on both axes."""
    for scale in ((0.6, 1.0), (0.02, 0.2)):
        crop = v2.RandomResizedCrop(cut, scale=scale, interpolation=interpolation)
        steps: list[nn.Module] = [crop, v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(0.3)]
        assert same(steps, pictures(size, channels))


@pytest.mark.parametrize(
    ("scale", "ratio"),
    [
        ((1.0, 1.0), (1.0, 1.0)),  # the whole picture, and no resampling where the sizes are equal
        ((0.9, 1.0), (0.5, 2.0)),  # often drawn again
        ((1.5, 2.0), (0.5, 2.0)),  # never fits: the whole
        ((1.5, 2.0), (2.0, 3.0)),  # never fits: the middle, over the whole width
        ((1.5, 2.0), (0.2, 0.5)),  # never fits: the middle, over the whole height
    ],
)
def test_parts_that_do_not_fit_are_drawn_again(scale: tuple[float, float], ratio: tuple[float, float]) -> None:
    assert same([v2.RandomResizedCrop(20, scale=scale, ratio=ratio), v2.RandomHorizontalFlip()], pictures(20))


@pytest.mark.parametrize(
    "flips",
    [
        [],
        [v2.RandomVerticalFlip(1.0)],
        [v2.RandomHorizontalFlip(0.0), v2.RandomHorizontalFlip(1.0)],
        [v2.RandomHorizontalFlip(1.0), v2.RandomHorizontalFlip(1.0)],
        [v2.RandomHorizontalFlip(0.1), v2.ColorJitter(0.4, 0.4, 0.4), v2.RandomVerticalFlip()],  # draws in between
    ],
)
def test_any_steps_may_follow(flips: list[nn.Module]) -> None:
    assert same([v2.RandomResizedCrop(16, scale=(0.3, 0.9)), *flips], pictures(20))


class Own(v2.RandomResizedCrop):
    """One that cuts from the top."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {**super().make_params(flat_inputs), "top": 0}


@pytest.mark.parametrize(
    "crop",
    [
        v2.RandomResizedCrop(16, interpolation=v2.InterpolationMode.NEAREST),
        v2.RandomResizedCrop(16, interpolation=2),
        v2.RandomResizedCrop(16, antialias=False),
        Own(16),
    ],
)
def test_other_cuts_are_left_to_torchvision(crop: nn.Module) -> None:
    assert Cut.split([crop]) == (None, [crop])
    assert same([crop, v2.RandomHorizontalFlip()], pictures(16))


def test_what_is_taken() -> None:
    assert Cut.takes(pictures(4))
    assert not Cut.takes(pictures(4).float())
    assert not Cut.takes(pictures(4, channels=6))
    assert not Cut.takes(pictures(4).to("meta"))
    flip, has_kernel = v2.RandomHorizontalFlip(), torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    assert (Cut.split([v2.RandomResizedCrop(4), flip])[0] is not None) == has_kernel
    assert Cut.split([flip, v2.RandomResizedCrop(4)])[0] is None


def test_rows_without_a_picture_draw_nothing() -> None:
    pixels = pictures(20)
    pixels[[0, 5, 11]] = 0
    steps: list[nn.Module] = [v2.RandomResizedCrop(16), v2.RandomHorizontalFlip()]
    changed, state = by_us(steps, pixels)
    present = ConvNet.present(pixels)
    expected, expected_state = by_torchvision(steps, pixels[present])
    assert torch.equal(changed[present], expected)
    assert torch.equal(state, expected_state)
    assert not changed[~present].any()


def test_mixed_precision_changes_nothing() -> None:
    steps: list[nn.Module] = [v2.RandomResizedCrop(16), v2.RandomHorizontalFlip()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert same(steps, pictures(20))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_same_parts_are_cut() -> None:
    """A GPU resamples floats: it may round to the next value."""
    steps: list[nn.Module] = [v2.RandomResizedCrop(16), v2.RandomHorizontalFlip()]
    pixels = pictures(20)
    (ours, state), (theirs, expected_state) = by_us(steps, pixels.cuda()), by_torchvision(steps, pixels)
    assert torch.equal(state, expected_state)
    assert (ours.cpu().int() - theirs.int())[:, :-1].abs().max() <= 2
    assert torch.equal(ours.cpu()[:, -1], theirs[:, -1])
