"""Checkpoints, read as plain values and tensors; a damaged or hostile file is one line that says so."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from pickletools import genops
from typing import IO, Any

import torch
from torch import Tensor

from dssm_lightning.features.schema import Schemas
from dssm_lightning.utils.bounded_values import require_bounded
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.renamed import renew

_ALLOCATING = frozenset({"builtins bytearray", "__builtin__ bytearray"})
"""Callables that torch allows in a file, and that can fill the memory with a few bytes of it."""


def read_checkpoint(path: Path, mmap: bool = False) -> dict[str, Any]:
    """Return the content of a checkpoint, on the CPU. Nothing in it is imported or called.

    Args:
        path: the file.
        mmap: leave the tensors in the file until they are used.

    Raises:
        UserError: damaged, truncated, or not a checkpoint of this package; a folder of shares.
    """
    if path.is_dir():
        raise UserError(
            f"checkpoint {path} is a folder that holds the shares of several processes: make one file of it by "
            f"dssm_lightning.training.distributed.one_file({str(path)!r}, 'whole.ckpt'), or resume from it under "
            "configs/sharded.yaml"
        )
    with path.open("rb") as file:
        _require_archive(file, str(path))
    return _checked(lambda: torch.load(path, map_location="cpu", weights_only=True, mmap=mmap), str(path))


def content_of(checkpoint: str | Path | IO[bytes]) -> dict[str, Any]:
    """Return the content of what Lightning will load: a path, an open file, which is read again, or a URL.

    Raises:
        UserError: as for :func:`read_checkpoint`.
    """
    source = name_of(checkpoint)
    if not isinstance(checkpoint, str | Path):
        start = checkpoint.tell()
        _require_archive(checkpoint, source)
        checkpoint.seek(start)
        content = _checked(lambda: torch.load(checkpoint, map_location="cpu", weights_only=True), source)
        checkpoint.seek(start)
        return content
    if "://" not in source:
        return read_checkpoint(Path(checkpoint), mmap=True)
    from lightning.fabric.utilities.cloud_io import _load  # fetches the file as Lightning will

    return _checked(lambda: _load(checkpoint, map_location="cpu", weights_only=True), source)


def name_of(checkpoint: str | Path | IO[bytes]) -> str:
    """Return the path or URL of what Lightning will load, for messages; of an open file, the path it was opened by."""
    return str(checkpoint) if isinstance(checkpoint, str | Path) else str(getattr(checkpoint, "name", "the checkpoint"))


def renewed_file(checkpoint: Any, content: dict[str, Any]) -> Any:
    """Return a checkpoint whose settings have the class paths and options of today, as a file in memory.

    It is the given one if its settings need no change.
    """
    settings = dict(content["hyper_parameters"])
    if renew(settings) == settings:
        return checkpoint
    file = BytesIO()
    torch.save({**content, "hyper_parameters": renew(settings)}, file)
    file.seek(0)
    return file


def read_schemas(path: Path) -> Schemas:
    """Return the fitted schemas of a checkpoint."""
    if not path.is_dir():
        return Schemas.from_json(read_checkpoint(path)["schemas"])
    rest = path / "meta.pt"  # all but the shares of the tables is in this file
    with rest.open("rb") as file:
        _require_archive(file, str(rest))
    return Schemas.from_json(torch.load(rest, map_location="cpu", weights_only=True)["schemas"])


def furthest_readable(folder: Path) -> Path | None:
    """Return the readable checkpoint of a folder that has been trained the longest; None without one."""
    found = []
    for path in sorted(folder.glob("*.ckpt")):
        try:
            content = read_checkpoint(path)
        except UserError:
            continue
        found.append(((content.get("epoch", 0), content.get("global_step", 0)), path))
    return max(found, default=(None, None))[1]


def _checked(load: Callable[[], Any], source: str) -> dict[str, Any]:
    try:
        content = load()
    except Exception as error:  # torch raises RuntimeError, EOFError, UnpicklingError and others for broken files
        raise _damaged(source, error) from error
    if not isinstance(content, dict) or "schemas" not in content:
        raise UserError(f"{source} is no checkpoint of a TwoTower model: it holds no schemas")
    for value in require_bounded(content, f"checkpoint {source}"):
        if isinstance(value, Tensor):
            _require_own_bytes(value, source)
    _require_parts(content, source)
    return content


def _damaged(source: str, error: Exception) -> UserError:
    return UserError(
        f"checkpoint {source} cannot be read, it is damaged or truncated ({type(error).__name__}); take another one, "
        "such as best.ckpt or last.ckpt beside it"
    )


def _require_archive(file: IO[bytes], source: str) -> None:
    """Refuse a file that takes more memory than its own size: a compressed archive, or a pickle that allocates."""
    size = file.seek(0, 2)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise UserError(f"checkpoint {source} is a compressed archive, which torch does not write")
            if sum(entry.file_size for entry in entries) > size:
                raise UserError(f"checkpoint {source} claims more bytes than the file has ({size:,})")
            [pickled] = [entry for entry in entries if entry.filename.rpartition("/")[2] == "data.pkl"]
            with archive.open(pickled) as stream:
                globals_of = [argument for operation, argument, _ in genops(stream) if operation.name == "GLOBAL"]
    except (zipfile.BadZipFile, ValueError, OSError, LookupError, NotImplementedError) as error:
        if isinstance(error, UserError):
            raise
        raise _damaged(source, error) from error
    if allocating := _ALLOCATING.intersection(globals_of):
        raise UserError(f"checkpoint {source} holds {', '.join(sorted(allocating))}, which ours never do")


def _require_parts(content: dict[str, Any], source: str) -> None:
    if not isinstance(content["schemas"], str):
        raise UserError(f"checkpoint {source}: its schemas are {type(content['schemas']).__name__}, not a text")
    for part in ("hyper_parameters", "datamodule_hyper_parameters"):
        if not isinstance(content.setdefault(part, {}), Mapping):
            raise UserError(f"checkpoint {source}: its {part} are {type(content[part]).__name__}, not a mapping")
    weights = content.get("state_dict")
    if weights is None:
        raise UserError(f"checkpoint {source} holds no state_dict, that is, no weights")
    if not (isinstance(weights, Mapping) and all(isinstance(value, Tensor) for value in weights.values())):
        raise UserError(f"checkpoint {source}: its state_dict must map names to tensors")


def _require_own_bytes(tensor: Tensor, source: str) -> None:
    """Refuse a tensor that repeats its bytes: a copy of it can fill the memory."""
    dense = tensor.layout == torch.strided and not tensor.is_meta
    if not dense or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise UserError(f"checkpoint {source}: a tensor of shape {tuple(tensor.shape)} has fewer bytes than values")
