"""Backbones in a fit: their weights are read in time, and the features of frozen backbones computed once and kept."""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dssm_lightning.data.preparation.cache import Prepared
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.models.encoders import Backbone, Dense
from dssm_lightning.models.tower import Tower
from dssm_lightning.utils.checked_folder import checked_folder, damaged_files
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_info, warn
from dssm_lightning.utils.progress import track
from dssm_lightning.utils.ragged import Features

FEATURES = "features.npy"
VERSION = 1
"""Raise when the same backbone would give other features for the same pictures."""
AT_ONCE = 64  # pictures
UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # in the text of an object, another one in each process


def backbones(model: nn.Module) -> list[Backbone]:
    """Return the backbones of a model, also those inside other encoders."""
    return [module for module in model.modules() if isinstance(module, Backbone)]


def read_weights(found: list[Backbone]) -> None:
    """Read the initial weights, so that a file that does not fit is an error before any compute."""
    for backbone in found:
        backbone.pretrained.read()


def check_rest(found: list[Backbone], wrapped: object) -> None:
    """Refuse weights that are frozen for some epochs where DDP would wait for their gradients.

    Args:
        found: the model's backbones.
        wrapped: the model as the strategy trains it.

    Raises:
        UserError: a backbone has ``frozen_epochs``, and DDP does not look for unused parameters.
    """
    resting = [each for each in found if each.frozen_epochs]
    if resting and isinstance(wrapped, DistributedDataParallel) and not wrapped.find_unused_parameters:
        raise UserError(
            f"{resting[0].label}: frozen_epochs is {resting[0].frozen_epochs}; frozen weights have no gradient, for "
            "which DDP would wait: set --trainer.strategy ddp_find_unused_parameters_true"
        )


def use_fixed_features(towers: dict[str, Tower], data: RetrievalData) -> None:
    """Put the features of these towers' frozen backbones in the place of pictures, in the batches of these data.

    Whoever embeds the corpus does so first: a backbone then runs once for each picture, in all runs and commands.
    Features that another model has left in the batches are gone.
    """
    data.assembler.replace_columns(fixed_features(towers, data.data, data.folder))


def fixed_features(towers: dict[str, Tower], data: Prepared, folder: Path) -> dict[str, Features]:
    """Return the features of frozen backbones, to take the place of pictures: computed once, for all processes.

    They are kept in a folder beside the data, named after the pictures' column and the backbone's weights, where
    another run with the same backbone finds them. It has checksums, and is made again if it is damaged.

    Args:
        towers: whose encoders read the columns.
        data: the encoded data, which stay as they are.
        folder: of the encoded data.

    Returns:
        new columns by table ("query", "event", "candidate") and feature.
    """
    found: dict[str, Features] = {}
    for table, side in (("query", "query"), ("event", "query"), ("candidate", "candidate")):
        columns: Features = getattr(data, table)
        for name, backbone in _frozen(towers[side]):
            pixels = columns.get(name)
            if isinstance(pixels, Tensor):
                backbone.pretrained.read()  # before their digest
                path = folder / f"{table}.{name}#{_digest(backbone, pixels)}"
                found.setdefault(table, {})[name] = _kept(path, backbone, pixels, name)
    return found


def _kept(path: Path, backbone: Backbone, pixels: Tensor, name: str) -> Tensor:
    """Map the features of a folder; compute them first if it is not there, damaged, or cannot be written."""
    features: Tensor | None = None
    try:
        if damaged_files(path, every_process=True):
            with FileLock(f"{path}.lock"):
                damaged = damaged_files(path, every_process=True)  # another process may have written it in the meantime
                if damaged and path.exists():
                    warn(f"{path}: {damaged[0]} missing or damaged; the features of {name} are computed again")
                if damaged:
                    features = _computed(backbone, pixels, name)
                    with checked_folder(path) as temporary:
                        np.save(temporary / FEATURES, features.numpy())
        return torch.from_numpy(np.load(path / FEATURES, mmap_mode="c"))
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        log_info(f"{path.parent} cannot be written ({error.strerror}): the features of {name} are not kept")
        return _computed(backbone, pixels, name) if features is None else features


def _frozen(tower: Tower) -> Iterator[tuple[str, Backbone]]:
    for name, encoder in tower.encoders.items():
        inner = encoder.encoder if isinstance(encoder, Dense) else encoder
        if isinstance(inner, Backbone) and inner.gives_fixed_features:
            yield name, inner


@torch.no_grad()
def _computed(backbone: Backbone, pixels: Tensor, name: str) -> Tensor:
    """(N, width + 1) float32."""
    training, device = backbone.training, backbone.mean.device
    backbone.eval()
    chunks = torch.split(pixels, AT_ONCE)
    shown = track(chunks, f"{backbone.pretrained.name} of {name}", len(chunks), least=4)
    features = torch.cat([backbone.fixed(each.to(device)).cpu() for each in shown])
    backbone.train(training)
    return features


def _digest(backbone: Backbone, pixels: Tensor) -> str:
    """Return a digest of the weights, the net and the transforms before it: their text, and what they do."""
    steps = [_ADDRESS.sub("", repr(step)) for step in backbone.transforms.evaluation_steps]
    digest = hashlib.sha256(f"{VERSION} {backbone.pretrained.name} {steps}".encode())
    if steps:  # the text of the user's own need not tell their settings
        noise = torch.randint(256, (2, *pixels.shape[1:]), generator=torch.Generator().manual_seed(0))
        seen = backbone.transforms(noise.to(torch.uint8), torch.ones(2, dtype=torch.bool), training=False)
        digest.update(_bytes(seen))
    for key, value in backbone.backbone.state_dict().items():
        digest.update(key.encode())
        digest.update(_bytes(value))
    return f"frozen-{digest.hexdigest()[:16]}"


def _bytes(tensor: Tensor) -> bytes:
    """Of any type: NumPy has no bfloat16."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
