"""Pictures as ``bench.py`` brings them to a net: decoded once into the cache, or from their files in every epoch."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import PIL.Image
import PIL.ImageOps
import polars as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from benchmarks.report import Row, Section, alternate, rates
from dssm_lightning.data.batching.shuffling import RowOrder
from dssm_lightning.data.batching.train_loader import Progress, TrainLoader
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import RandomRows
from dssm_lightning.features import Categorical, Image
from dssm_lightning.models.encoders import ConvNet
from dssm_lightning.utils.seeding import Counter

SHAPES = ((480, 640, 224), (128, 192, 96))  # pictures as the web has them and thumbnails, with the size of the feature


def pictures(num_pictures: int = 256, batch_size: int = 32, repeats: int = 5) -> Section:
    """An epoch of pictures from the cache, against `torchvision.datasets.ImageFolder` and torch's `DataLoader`.

    Both bring JPEG files to one size, white around them, and make floats of them; with transforms, both cut a random
    part (`RandomResizedCrop`) and flip half of them. Theirs decodes in every epoch. Ours has decoded before; it also
    cuts and flips the coverage of each picture. Neither uses workers.
    """
    rows, notes = [], []
    for width, height, size in SHAPES:
        with TemporaryDirectory() as folder:
            paths = _files(Path(folder, "pictures", "all"), num_pictures, width, height)
            data = _data(paths, size, Path(folder, "cache"))
            _check_equal(data, paths[:8], size)
            for name, steps in (("as they are", []), ("cut and flipped", _steps(size))):
                sides = [
                    partial(_ours, data, _encoder(data, steps), batch_size),
                    partial(_theirs, Path(folder, "pictures"), size, steps, batch_size),
                ]
                seconds = alternate(sides, repeats)
                what = f"{width} × {height} pixels to {size} × {size}, {name}"
                limit = "torch's resampling alone" if steps else "floats written at memory speed"
                rows.append(Row(what, "pictures/s", *(rates(num_pictures, each) for each in seconds), limit=limit))
        notes.append(_limit(size, num_pictures, repeats))
    return Section("Pictures", rows, notes)


def _steps(size: int) -> list[nn.Module]:
    return [v2.RandomResizedCrop(size, scale=(0.6, 1.0)), v2.RandomHorizontalFlip()]


def _limit(size: int, count: int, repeats: int) -> str:
    """What torch's resampling of bytes takes of it, of parts of the mean area that are laid out for it already."""
    side = round(size * 0.8**0.5)
    part = torch.randint(0, 256, (1, side, side, 4), dtype=torch.uint8).permute(0, 3, 1, 2)

    def resample() -> None:
        for _ in range(count):
            nn.functional.interpolate(part, (size, size), mode="bilinear", align_corners=False, antialias=True)

    limit = median(rates(count, alternate([resample], repeats)[0]))
    products = 2 * 4 * (side * size + size * size)  # two pixels along, then two down, of four channels
    return (
        f"The limit of {size} × {size}, cut and flipped: torch's resampling alone, of {side} × {side} pixels that are "
        f"laid out for it, resamples {limit:,.0f} pictures/s. It makes {products:,} products of bytes, reads "
        f"{4 * side * side:,} bytes and writes {4 * size * size:,}, which become {12 * size * size:,} bytes of floats."
    )


def _files(folder: Path, count: int, width: int, height: int) -> list[str]:
    """Blots of random colours: as smooth as photographs are."""
    folder.mkdir(parents=True)
    rng, paths = np.random.default_rng(0), []
    for number in range(count):
        blots = PIL.Image.fromarray(rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8))
        paths.append(str(folder / f"{number}.jpg"))
        blots.resize((width, height), PIL.Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return paths


def _data(paths: list[str], size: int, cache: Path) -> RetrievalDataModule:
    """As many events as pictures, each of a picture of its own."""
    ids = np.arange(len(paths))
    events = pl.DataFrame({"query_id": ids, "candidate_id": ids})
    return RetrievalDataModule(
        Frames(events, None, pl.DataFrame({"candidate_id": ids, "picture": paths})),
        query=[Categorical(name="query_id")],
        candidate=[Image(name="picture", size=size)],
        split=RandomRows(test=0, validation=0),
        cache_dir=str(cache),
    )


def _encoder(data: RetrievalDataModule, steps: list[nn.Module]) -> ConvNet:
    return ConvNet(data.schemas.candidate["picture"], transforms=[lambda step=step: step for step in steps])


def _ours(data: RetrievalDataModule, encoder: ConvNet, batch_size: int) -> None:
    order = RowOrder(data.assembler.rows, min(batch_size, len(data.assembler.rows)), Counter(0), 1)
    for batch in TrainLoader(data.assembler, order, Counter(0), Progress()):
        pixels = batch.candidates.features["picture"]
        assert isinstance(pixels, Tensor)
        encoder.transforms(pixels, encoder.present(pixels), training=True)[:, :-1].float().div_(255)


def _theirs(folder: Path, size: int, steps: list[nn.Module], batch_size: int) -> None:
    transform = v2.Compose(
        [v2.Lambda(partial(_padded, size=size)), v2.ToImage(), *steps, v2.ToDtype(torch.float32, True)]
    )
    for _ in DataLoader(ImageFolder(folder, transform), batch_size, shuffle=True):
        pass


def _padded(picture: PIL.Image.Image, size: int) -> PIL.Image.Image:
    return PIL.ImageOps.pad(picture, (size, size), PIL.Image.Resampling.BICUBIC, color="white")


def _check_equal(data: RetrievalDataModule, paths: list[str], size: int) -> None:
    for path, pixels in zip(paths, data.data.candidate["picture"], strict=False):
        with PIL.Image.open(path) as file:
            theirs = v2.functional.pil_to_tensor(_padded(file.convert("RGB"), size))
        assert (pixels[:3].float() - theirs.float()).abs().mean() < 1, "the sides bring pictures to the same pixels"
