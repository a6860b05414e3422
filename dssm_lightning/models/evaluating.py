"""A module in evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluate without gradient and dropout; afterwards the parts that trained before train again.

    Example:
        >>> dropout = nn.Dropout(0.5)
        >>> with evaluating(dropout):
        ...     print(dropout(torch.ones(2)).tolist())
        [1.0, 1.0]
        >>> dropout.training
        True
    """
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True
