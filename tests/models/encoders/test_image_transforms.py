"""Transforms of pictures: colours and coverage together, drawn anew for each batch, and never while measuring."""

from __future__ import annotations

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


def test_a_crop_and_a_flip_move_colours_and_coverage_alike() -> None:
    """Each colour of the picture is its coverage: that stays so, whatever is cut out."""
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


def test_each_picture_is_drawn_for_by_itself_and_again_from_the_same_seed() -> None:
    pixels = pictures(1).expand(6, -1, -1, -1).contiguous()
    transforms = Transforms(IMAGE, TRAINING, None, "here")
    first, second = (_drawn(transforms, pixels, seed) for seed in (1, 1))
    assert torch.equal(first, second)
    assert len({tuple(picture.flatten().tolist()) for picture in first}) == 6
    assert not torch.equal(first, _drawn(transforms, pixels, 2))


def _drawn(transforms: Transforms, pixels: torch.Tensor, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return transforms(pixels, present(pixels), training=True)


def test_measuring_changes_nothing_or_what_is_fixed() -> None:
    pixels = pictures(3)
    assert torch.equal(Transforms(IMAGE, TRAINING, None, "here")(pixels, present(pixels), training=False), pixels)
    cut = Transforms(IMAGE, [lambda: v2.RandomCrop(12)], [lambda: v2.CenterCrop(12)], "here")
    assert cut.size == 12
    assert torch.equal(cut(pixels, present(pixels), training=False), pixels[:, :, 2:14, 2:14])


def test_nothing_is_drawn_for_a_row_without_a_picture() -> None:
    pixels = pictures(3)
    pixels[1] = 0
    changed = Transforms(IMAGE, TRAINING, None, "here")(pixels, present(pixels), training=True)
    assert not changed[1].any()
    assert changed[0].any()


def test_building_draws_nothing_from_the_generator() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    Transforms(IMAGE, TRAINING, None, "here")
    assert torch.equal(torch.rand(1), expected)


def test_encoders_change_pictures_while_training_only() -> None:
    encoder = ConvNet(IMAGE, 4, channels=[8], patch=2, transforms=TRAINING)
    pixels = pictures(2)
    encoder.eval()
    assert torch.equal(encoder(pixels), encoder(pixels))
    encoder.train()
    assert not torch.equal(encoder(pixels), encoder(pixels))
    smaller = ConvNet(IMAGE, 4, [8], 8, [lambda: v2.RandomCrop(8)], [lambda: v2.CenterCrop(8)])
    assert smaller(pixels).shape == (2, 4)
    with pytest.raises(ValueError, match="need pictures of at least 16 pixels, they have 8"):
        ConvNet(IMAGE, 4, [8], 16, [lambda: v2.RandomCrop(8)], [lambda: v2.CenterCrop(8)])


@pytest.mark.parametrize(
    ("training", "evaluation", "message"),
    [
        (
            [lambda: v2.RandomCrop(8)],
            None,
            "transforms give pictures of 8 × 8 pixels, evaluation_transforms of 16 × 16",
        ),
        (None, TRAINING, r"evaluation_transforms are random \(RandomResizedCrop, RandomHorizontalFlip, ColorJitter\)"),
        (
            [lambda: v2.RandomCrop(32)],
            None,
            r"here: transforms \(RandomCrop\) fail on pictures of 3 colours and 16 × 16",
        ),
        (
            [lambda: v2.ToDtype(torch.float32)],
            None,
            r"transforms \(ToDtype\) give torch.float32 \(4, 16, 16\), needed are",
        ),
        ([lambda: v2.Resize((8, 4))], None, r"give torch.uint8 \(4, 8, 4\), needed are square pictures"),
    ],
)
def test_what_an_encoder_cannot_take(training: list, evaluation: list, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match=message):
        Transforms(IMAGE, training, evaluation, "here")
