"""Checkpoints, read as plain values and tensors; a damaged file is an error that says so."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from dssm_lightning.features.schema import Schemas
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.renamed import renew


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint, on the CPU.

    Raises:
        ValueError: damaged, truncated, or not a checkpoint of this package; a folder of shares.
    """
    if path.is_dir():
        raise UserError(
            f"checkpoint {path} is a folder that holds the shares of several processes: make one file of it by "
            f"dssm_lightning.training.distributed.one_file({str(path)!r}, 'whole.ckpt'), or resume from it under "
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


def renewed_file(path: Path) -> BytesIO | None:
    """Return a checkpoint of an earlier release with the class paths and options of today, as a file in memory.

    None if its settings need no change, or the file is none of ours: Lightning then reads it by itself.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # Lightning's own errors name what is wrong
        return None
    settings = content.get("hyper_parameters") if isinstance(content, dict) else None
    if settings is None or renew(settings) == dict(settings):
        return None
    file = BytesIO()
    torch.save({**content, "hyper_parameters": renew(settings)}, file)
    file.seek(0)
    return file


def read_schemas(path: Path) -> Schemas:
    """Return the fitted schemas of a checkpoint."""
    shares = path / "meta.pt"  # all but the shares of the tables is in this file
    return Schemas.from_json(read_checkpoint(shares if path.is_dir() else path)["schemas"])


def furthest_readable(folder: Path) -> Path | None:
    """Return the readable checkpoint of a folder that has been trained the longest; None without one."""
    found = []
    for path in sorted(folder.glob("*.ckpt")):
        try:
            content = read_checkpoint(path)
        except ValueError:
            continue
        found.append(((content.get("epoch", 0), content.get("global_step", 0)), path))
    return max(found, default=(None, None))[1]
