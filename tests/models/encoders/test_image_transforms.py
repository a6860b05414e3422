"""Transforms of pictures: colours and coverage together, random in training, deterministic in evaluation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision.transforms import v2

from dssm_lightning.features import Image
from dssm_lightning.models.encoders import ConvNet
from dssm_lightning.models.encoders.image_transforms import Transforms

IMAGE = Image(name="p", size=16)
TRAINING = [
    lambda: v2.RandomResizedCrop(16, scale=(0.3, 0.9)),
    v2.RandomHorizontalFlip,
    lambda: v2.ColorJitter(brightness=0.5, contrast=0.5, saturation=0.5),
]


def pictures(count: int) -> torch.Tensor:
    pixels = torch.randint(0, 256, (count, 4, 16, 16), dtype=torch.uint8)
    pixels[:, -1] = 0
    pixels[:, -1, 4:12] = 255  # padded above and below
    return pixels


def present(pixels: torch.Tensor) -> torch.Tensor:
    return ConvNet.present(pixels)


def test_a_crop_and_a_flip_move_colours_and_coverage_equally() -> None:
    """Each colour channel equals the coverage, before and after the transforms."""
    pixels = torch.randint(0, 2, (5, 1, 16, 16), dtype=torch.uint8).mul(255).expand(-1, 4, -1, -1).contiguous()
    moved = [lambda: v2.RandomCrop(8), v2.RandomHorizontalFlip, v2.RandomVerticalFlip]
    changed = Transforms(IMAGE, moved, [lambda: v2.CenterCrop(8)], "here")(pixels, present(pixels), training=True)
    assert changed.shape == (5, 4, 8, 8)
    for channel in range(3):
        assert torch.equal(changed[:, channel], changed[:, -1])


def test_colours_change_and_coverage_does_not() -> None:
    pixels = pictures(4)
    jitter = Transforms(IMAGE, [lambda: v2.ColorJitter(brightness=(0.2, 0.5))], None, "here")
    changed = jitter(pixels, present(pixels), training=True)
    assert torch.equal(changed[:, -1], pixels[:, -1])
    assert changed[:, :3].float().mean() < 0.6 * pixels[:, :3].float().mean()


def test_pictures_are_transformed_independently_and_reproducibly_by_seed() -> None:
    pixels = pictures(1).expand(6, -1, -1, -1).contiguous()
    transforms = Transforms(IMAGE, TRAINING, None, "here")
    first, second = (_drawn(transforms, pixels, seed) for seed in (1, 1))
    assert torch.equal(first, second)
    assert len({tuple(picture.flatten().tolist()) for picture in first}) == 6
    assert not torch.equal(first, _drawn(transforms, pixels, 2))


def _drawn(transforms: Transforms, pixels: torch.Tensor, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return transforms(pixels, present(pixels), training=True)


def test_evaluation_applies_only_its_own_transforms() -> None:
    pixels = pictures(3)
    assert torch.equal(Transforms(IMAGE, TRAINING, None, "here")(pixels, present(pixels), training=False), pixels)
    cut = Transforms(IMAGE, [lambda: v2.RandomCrop(12)], [lambda: v2.CenterCrop(12)], "here")
    assert cut.size == 12
    assert torch.equal(cut(pixels, present(pixels), training=False), pixels[:, :, 2:14, 2:14])


def test_a_row_without_a_picture_stays_unchanged() -> None:
    pixels = pictures(3)
    pixels[1] = 0
    changed = Transforms(IMAGE, TRAINING, None, "here")(pixels, present(pixels), training=True)
    assert not changed[1].any()
    assert changed[0].any()


def test_building_does_not_advance_the_generator() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    Transforms(IMAGE, TRAINING, None, "here")
    assert torch.equal(torch.rand(1), expected)


def test_encoders_change_pictures_in_training_only() -> None:
    encoder = ConvNet(IMAGE, 4, channels=[8], patch=2, transforms=TRAINING)
    pixels = pictures(2)
    encoder.eval()
    assert torch.equal(encoder(pixels), encoder(pixels))
    encoder.train()
    assert not torch.equal(encoder(pixels), encoder(pixels))
    crops: Any = {"transforms": [lambda: v2.RandomCrop(8)], "evaluation_transforms": [lambda: v2.CenterCrop(8)]}
    smaller = ConvNet(IMAGE, 4, channels=[8], patch=8, **crops)
    assert smaller(pixels).shape == (2, 4)
    with pytest.raises(ValueError, match=r"'p': .*patch 16 .*16 × 16 .*8 × 8"):
        ConvNet(IMAGE, 4, channels=[8], patch=16, **crops)


@pytest.mark.parametrize(
    ("training", "evaluation", "message"),
    [
        (
            [lambda: v2.RandomCrop(8)],
            None,
            r"here: transforms .*8 × 8 .*evaluation_transforms .*16 × 16",
        ),
        (None, TRAINING, r"here: evaluation_transforms .*\(RandomResizedCrop, RandomHorizontalFlip, ColorJitter\)"),
        (
            [lambda: v2.RandomCrop(32)],
            None,
            r"here: transforms \(RandomCrop\) .*3 colours and 16 × 16",
        ),
        (
            [lambda: v2.ToDtype(torch.float32)],
            None,
            r"here: transforms \(ToDtype\) .*torch.float32 \(4, 16, 16\)",
        ),
        ([lambda: v2.Resize((8, 4))], None, r"here: transforms \(Resize\) .*torch.uint8 \(4, 8, 4\)"),
    ],
)
def test_bad_transforms_are_named(training: Any, evaluation: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Transforms(IMAGE, training, evaluation, "here")
