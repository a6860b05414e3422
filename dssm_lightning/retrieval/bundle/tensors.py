"""Arrays in safetensors files, mapped into memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.utils.errors import UserError

LONGEST_HEADER = 1 << 24  # bytes
_TYPES = {"F32": np.float32, "I64": np.int64}


def map_tensor(path: Path, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Map a tensor of a safetensors file into memory, read-only.

    Args:
        path: the file.
        name: the tensor, of float32 or int64.
        shape: its shape.

    Raises:
        UserError: the file is damaged, or has no such tensor of this shape.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from safetensors.numpy import save_file
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "embeddings.safetensors")
        ...     save_file({"embeddings": np.eye(2, dtype=np.float32)}, path)
        ...     map_tensor(path, "embeddings", (2, 2)).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= min(LONGEST_HEADER, size):
                raise ValueError("no header")
            entry = json.loads(file.read(length))[name]
        kind, found = np.dtype(_TYPES[entry["dtype"]]), tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        if found != shape:
            raise UserError(f"{path}: {name!r} has the shape {found}; the manifest says {shape}")
        if not 0 <= begin <= end <= size - 8 - length or end - begin != kind.itemsize * int(np.prod(shape)):
            raise ValueError("wrong offsets")
        return np.memmap(path, kind, "r", 8 + length + begin, shape)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged, or has no tensor {name!r}; export the bundle again") from error
