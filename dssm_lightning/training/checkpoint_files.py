"""Checkpoints, read as plain values and tensors; a damaged file is an error that says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dssm_lightning.features.schema import Schemas
from dssm_lightning.utils.errors import UserError


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Raises:
        ValueError: damaged, truncated, or not a checkpoint of this package; a folder of shares.
    """
    if path.is_dir():
        raise UserError(
            f"checkpoint {path} is a folder that holds the shares of ranks: make one file of it by "
            f"dssm_lightning.training.distributed.one_file({str(path)!r}, 'whole.ckpt'), or go on from it under "
            "configs/sharded.yaml"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch raises RuntimeError, EOFError, UnpicklingError and others for broken files
        raise UserError(
            f"checkpoint {path} cannot be read, it is damaged or truncated ({type(error).__name__}); take another one, "
            "such as best.ckpt or last.ckpt beside it"
        ) from error
    if not isinstance(content, dict) or "schemas" not in content:
        raise UserError(f"{path} is no checkpoint of a TwoTower model: it holds no schemas")
    return content


def read_schemas(path: Path) -> Schemas:
    """The fitted schemas that a checkpoint was trained with."""
    shares = path / "meta.pt"  # where each rank writes what it holds, all else is in this file
    return Schemas.from_json(read_checkpoint(shares if path.is_dir() else path)["schemas"])


def furthest_readable(folder: Path) -> Path | None:
    """Of a folder's checkpoints that can be read, the one that says it has been trained the furthest."""
    found = []
    for path in sorted(folder.glob("*.ckpt")):
        try:
            content = read_checkpoint(path)
        except ValueError:
            continue
        found.append(((content.get("epoch", 0), content.get("global_step", 0)), path))
    return max(found, default=(None, None))[1]
