"""Random views: moved and recoloured as torchvision does it, each picture in its own way, for a whole batch at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision.transforms import v2

from dssm_lightning.features import Image
from dssm_lightning.models.encoders import BatchTransform, ConvNet, RandomView
from dssm_lightning.models.encoders.image_transforms import Transforms
from dssm_lightning.utils.errors import UserError

EVERYTHING: dict[str, float] = {
    "zoom": 0.2,
    "stretch": 0.2,
    "shift": 0.1,
    "rotation": 10,
    "shear": 5,
    "brightness": 0.3,
    "contrast": 0.3,
    "saturation": 0.4,
    "hue": 0.05,
    "grey": 0.2,
}


def pictures(count: int, colours: int = 3) -> torch.Tensor:
    coarse = torch.randint(0, 256, (count, colours, 4, 4)).float()
    smooth = torch.nn.functional.interpolate(coarse, size=32, mode="bilinear").to(torch.uint8)
    return torch.cat([smooth, torch.full((count, 1, 32, 32), 255, dtype=torch.uint8)], dim=1)


def view(pixels: torch.Tensor, seed: int = 0, **settings: float) -> torch.Tensor:
    torch.manual_seed(seed)
    changed = RandomView(**settings)(pixels)
    assert changed.dtype == torch.uint8
    return changed


def test_without_settings_nothing_changes() -> None:
    pixels = pictures(3)
    assert torch.equal(view(pixels), pixels)


def test_a_turn_is_that_of_torchvision() -> None:
    pixels = pictures(4)
    turned = view(pixels, rotation=40)
    torch.manual_seed(0)
    degrees = 40 * (torch.rand(2, 4, 6)[0, :, 0] * 2 - 1)
    bilinear: Any = {"interpolation": v2.InterpolationMode.BILINEAR}
    for row in range(4):
        expected = v2.functional.rotate(pixels[row], float(degrees[row]), fill=[255.0, 255.0, 255.0, 0.0], **bilinear)
        off = (turned[row, :3, 8:24, 8:24].int() - expected[:3, 8:24, 8:24].int()).abs()
        assert off.max() <= 1
        assert (turned[row, :3, 0, 0] == 255).all() == (expected[:3, 0, 0] == 255).all()


def test_a_shift_moves_colours_and_coverage_and_leaves_white_behind() -> None:
    pixels = torch.zeros(50, 4, 8, 8, dtype=torch.uint8)
    pixels[:, 3] = 255  # black, and covered everywhere
    shifted = view(pixels, shift=0.5)
    uncovered = shifted[:, 3] == 0
    assert uncovered.any()
    assert uncovered.float().mean() < 0.75
    assert (shifted[:, 0][uncovered] >= 127).all()
    assert (shifted[:, 0][~uncovered] <= 128).all()


def test_a_zoom_shows_a_part_or_more_than_the_whole() -> None:
    pixels = torch.zeros(200, 2, 32, 32, dtype=torch.uint8)
    pixels[:, 1] = 255
    covered = view(pixels, zoom=0.7)[:, 1].float().mean((1, 2)) / 255
    assert 0.4 < float((covered == 1).float().mean()) < 0.6
    assert float(covered.min()) == pytest.approx(torch.tensor(-1.4).exp().item(), abs=0.06)  # (exp(−0.7))² of the area


@pytest.mark.parametrize(("name", "change"), [("brightness", "adjust_brightness"), ("saturation", "adjust_saturation")])
def test_colours_change_as_in_torchvision(name: str, change: str) -> None:
    pixels = pictures(5)
    changed = view(pixels, **{name: 0.5})
    torch.manual_seed(0)
    draw = torch.rand(2, 5, 6)[1] * 2 - 1
    factor = 1 + 0.5 * draw[:, 3 if name == "brightness" else 1]
    for row in range(5):
        expected = getattr(v2.functional, change)(pixels[row, :3], float(factor[row]))
        assert (changed[row, :3].int() - expected.int()).abs().max() <= 2
    assert torch.equal(changed[:, 3], pixels[:, 3])


def test_contrast_keeps_the_mean_of_a_picture() -> None:
    pixels = (pictures(5) // 4 + 96).clamp(max=255)
    changed = view(pixels, contrast=0.5)[:, :3].float()
    before = pixels[:, :3].float()
    torch.testing.assert_close(changed.mean((1, 2, 3)), before.mean((1, 2, 3)), atol=0.5, rtol=0)
    assert (changed.std((1, 2, 3)) - before.std((1, 2, 3))).abs().min() > 0.1


def test_the_hue_turns_and_keeps_the_luma() -> None:
    pixels = (pictures(5) // 4 + 96).clamp(max=255)
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    changed = view(pixels, hue=0.5)
    assert not torch.equal(changed, pixels)
    torch.testing.assert_close(
        (changed[:, :3] * luma).sum(1), (pixels[:, :3] * luma).sum(1), atol=1.0, rtol=0
    )  # rounded
    grey = torch.full((2, 4, 4, 4), 90, dtype=torch.uint8)
    assert (view(grey, hue=0.5)[:, :3].int() - 90).abs().max() <= 1


def test_grey_pictures_have_three_equal_colours() -> None:
    changed = view(pictures(400), grey=0.25)
    grey = (changed[:, 0] == changed[:, 1]).flatten(1).all(1) & (changed[:, 1] == changed[:, 2]).flatten(1).all(1)
    assert 0.15 < float(grey.float().mean()) < 0.35


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_every_mode(mode: str) -> None:
    pixels = pictures(3, colours=len(mode))
    assert view(pixels, **EVERYTHING).shape == pixels.shape


def test_each_picture_has_its_own_view_by_the_seed() -> None:
    pixels = pictures(1).expand(6, -1, -1, -1)
    first = view(pixels, 1, **EVERYTHING)
    assert torch.equal(first, view(pixels, 1, **EVERYTHING))
    assert len({tuple(each.flatten().tolist()) for each in first}) == 6
    assert not torch.equal(first, view(pixels, 2, **EVERYTHING))


def test_autocast_changes_nothing() -> None:
    pixels = pictures(4)
    whole = view(pixels, **EVERYTHING)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert view(pixels, **EVERYTHING).equal(whole)


def test_among_the_transforms_of_an_encoder() -> None:
    """Beside one of torchvision's, before and after it; a row without a picture stays unchanged."""

    class Half(BatchTransform):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.cat([pixels[:, :-1] // 2, pixels[:, -1:]], dim=1)

    image, pixels = Image(name="p", size=32), pictures(3)
    pixels[1] = 0
    steps: list[Any] = [Half, lambda: v2.CenterCrop(8), Half]
    transforms = Transforms(image, steps, [lambda: v2.CenterCrop(8)], "here")
    changed = transforms(pixels, ConvNet.present(pixels), training=True)
    assert torch.equal(changed[:, :3], pixels[:, :3, 12:20, 12:20] // 4)
    with pytest.raises(UserError, match=r"here: evaluation_transforms .*\(RandomView\)"):
        Transforms(image, None, [lambda: RandomView(**EVERYTHING)], "here")


def test_a_transform_that_loses_pictures() -> None:
    class First(BatchTransform):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels[:1]

    transforms = Transforms(Image(name="p", size=32), [First], None, "here")
    with pytest.raises(UserError, match="First: 3 pictures became 1"):
        transforms(pictures(3), torch.ones(3, dtype=torch.bool), training=True)


@pytest.mark.parametrize(
    ("name", "value", "limit"), [("zoom", -0.1, "3"), ("hue", 0.6, "0.5"), ("grey", 1.5, "1"), ("shear", 90, "80")]
)
def test_bad_settings_are_named(name: str, value: float, limit: str) -> None:
    with pytest.raises(UserError, match=rf"RandomView: {name} is {value}; .* {limit}$"):
        RandomView(**{name: value})
