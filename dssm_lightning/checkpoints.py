"""Reading checkpoints: only plain values and tensors, and a clear word where a file is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dssm_lightning.schema import Schemas


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Raises:
        ValueError: damaged, truncated, or not a checkpoint of this package.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch raises RuntimeError, EOFError, UnpicklingError and others for broken files
        raise ValueError(
            f"checkpoint {path} cannot be read, it is damaged or truncated ({type(error).__name__}); take another one, "
            "such as best.ckpt or last.ckpt beside it"
        ) from error
    if not isinstance(content, dict) or "schemas" not in content:
        raise ValueError(f"{path} is no checkpoint of a TwoTower model: it holds no schemas")
    return content


def read_schemas(path: Path) -> Schemas:
    """The fitted schemas that a checkpoint was trained with."""
    return Schemas.from_json(read_checkpoint(path)["schemas"])
