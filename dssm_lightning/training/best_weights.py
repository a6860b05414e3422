"""The weights of a checkpoint in a model that was trained further, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from dssm_lightning.training.checkpoint_files import read_checkpoint


@contextmanager
def weights_of(model: nn.Module, checkpoint: Path, device: torch.device) -> Iterator[None]:
    """Give a model the weights of its own checkpoint, in evaluation mode on a device; take them back at the end.

    No weight is copied on the CPU: the tensors of the model point to the file for a while.

    Args:
        model: of the same run as the checkpoint.
        checkpoint: the file.
        device: where the model computes.
    """
    saved, trains = read_checkpoint(checkpoint, mmap=True)["state_dict"], model.training
    tensors = [*model.parameters(), *model.buffers()]
    before = [tensor.data for tensor in tensors]
    model.eval()
    try:
        for tensor in tensors:
            tensor.data = tensor.data.to(device)
        for name, tensor in model.state_dict(keep_vars=True).items():
            if name in saved:
                tensor.data = saved[name].to(device)
        yield
    finally:
        for tensor, data in zip(tensors, before, strict=True):
            tensor.data = data
        model.train(trains)
