"""Checkpoints, read as plain values and tensors; a damaged or hostile file is one line that says so."""

from __future__ import annotations

import re
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

_NEEDED = re.compile(
    r"collections OrderedDict|(builtins|__builtin__) set|torch\._utils _rebuild_(tensor_v[23]|parameter)"
    r"|torch(\.storage)? \w*Storage|torch (bool|b?float\w+|u?int\w+|complex\w+)"
)
"""What a checkpoint of ours needs of the names that torch allows in a file. Others can fill the memory, or take hours,
with a few bytes of it."""


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
            "configs/sharded.yaml, both only if you trust its author, since torch unpickles such a folder"
        )
    with path.open("rb") as file:
        _require_archive(file, str(path))
    return _checked(lambda: torch.load(path, map_location="cpu", weights_only=True, mmap=mmap), str(path))


def content_of(checkpoint: Path | IO[bytes]) -> dict[str, Any]:
    """Return the content of a path, or of an open file, which can be read again.

    Raises:
        UserError: as for :func:`read_checkpoint`.
    """
    if isinstance(checkpoint, Path):
        return read_checkpoint(checkpoint, mmap=True)
    start, source = checkpoint.tell(), name_of(checkpoint)
    _require_archive(checkpoint, source)
    checkpoint.seek(start)
    content = _checked(lambda: torch.load(checkpoint, map_location="cpu", weights_only=True), source)
    checkpoint.seek(start)
    return content


def fetched(checkpoint: str | Path | IO[bytes]) -> Path | IO[bytes]:
    """Return a path, an open file, or the bytes behind a URL, as a file in memory."""
    if not isinstance(checkpoint, str | Path):
        return checkpoint
    if "://" not in str(checkpoint):
        return Path(checkpoint)
    import fsspec  # reads URLs for Lightning, too

    with fsspec.open(str(checkpoint), "rb") as file:
        return BytesIO(file.read())


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
    values = require_bounded(content, f"checkpoint {source}")
    _require_own_bytes([value for value in values if isinstance(value, Tensor)], source)
    _require_parts(content, source)
    return content


def _damaged(source: str, error: Exception) -> UserError:
    return UserError(
        f"checkpoint {source} cannot be read, it is damaged or truncated ({type(error).__name__}); take another one, "
        "such as best.ckpt or last.ckpt beside it"
    )


def _require_archive(file: IO[bytes], source: str) -> None:
    """Refuse a file that takes more than its own size: a compressed archive, or calls that ours do not need."""
    first, size = file.read(4), file.seek(0, 2)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if first != b"PK\3\4":  # torch would read what stands before the archive
                raise zipfile.BadZipFile
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise UserError(f"checkpoint {source} is a compressed archive, which torch does not write")
            if sum(entry.file_size for entry in entries) > size:
                raise UserError(f"checkpoint {source} claims more bytes than the file has ({size:,})")
            [pickled] = [entry for entry in entries if entry.filename.rpartition("/")[2].lower() == "data.pkl"]
            with archive.open(pickled) as stream:
                names = {str(argument) for operation, argument, _ in genops(stream) if operation.name == "GLOBAL"}
    except UserError:
        raise
    except (zipfile.BadZipFile, ValueError, OSError, LookupError, NotImplementedError) as error:
        raise _damaged(source, error) from error
    if other := sorted(name for name in names if not _NEEDED.fullmatch(name)):
        raise UserError(f"checkpoint {source} holds {other[0].replace(' ', '.')}, which ours never do")


def _require_parts(content: dict[str, Any], source: str) -> None:
    for earlier in ("hparams", "module_arguments", "hparams_type"):
        if content.get(earlier):  # of Lightning 0.7, which still reads them, beside what is checked
            raise UserError(f"checkpoint {source} holds {earlier}, which ours never do")
    if not isinstance(content["schemas"], str):
        raise UserError(f"checkpoint {source}: its schemas are {type(content['schemas']).__name__}, not a text")
    for part in ("hyper_parameters", "datamodule_hyper_parameters"):
        if not isinstance(content.setdefault(part, {}), Mapping):
            raise UserError(f"checkpoint {source}: its {part} are {type(content[part]).__name__}, not a mapping")
    if dotted := [key for key in content["hyper_parameters"] if "." in str(key)]:
        raise UserError(f"checkpoint {source}: {dotted[0]!r} is no name of a setting")
    weights = content.get("state_dict")
    if weights is None:
        raise UserError(f"checkpoint {source} holds no state_dict, that is, no weights")
    if not (isinstance(weights, Mapping) and all(isinstance(value, Tensor) for value in weights.values())):
        raise UserError(f"checkpoint {source}: its state_dict must map names to tensors")


def _require_own_bytes(tensors: list[Tensor], source: str) -> None:
    """Refuse tensors that repeat their bytes, alone or together: copies of them can fill the memory."""
    storages: dict[int, int] = {}
    views: dict[tuple[Any, ...], int] = {}  # a shared table is the same view twice
    for tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        if tensor.layout != torch.strided or tensor.is_meta or size > tensor.untyped_storage().nbytes():
            raise UserError(f"checkpoint {source}: a tensor of shape {tuple(tensor.shape)} has fewer bytes than values")
        place = tensor.untyped_storage().data_ptr()
        storages[place] = tensor.untyped_storage().nbytes()
        views[place, tensor.storage_offset(), tensor.shape, tensor.stride()] = size
    if sum(views.values()) > sum(storages.values()):
        raise UserError(f"checkpoint {source}: its {len(tensors):,} tensors have fewer bytes than values")
