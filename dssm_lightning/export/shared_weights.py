"""One weight file for all programs of a model: tensors of ``model.safetensors``, to which ONNX programs refer."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import onnx_ir
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

SMALLEST = 256  # bytes; smaller tensors stand in the program itself


class Place(NamedTuple):
    """Where a tensor's bytes begin in the weight file, and how many they are."""

    offset: int
    length: int


def save_weights(model: nn.Module, path: Path) -> None:
    """Write each distinct tensor of a model's state once.

    The file's metadata has the other names of tied tensors: ``tied`` is a JSON object other name -> name.

    Example:
        >>> import tempfile
        >>> model = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(2, 3)})
        >>> model["b"].weight = model["a"].weight
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_weights(model, Path(folder, "model.safetensors"))
        ...     sorted(read_header(Path(folder, "model.safetensors"))[0])
        ['a.bias', 'a.weight', 'b.bias']
    """
    names: dict[tuple[int, tuple[int, ...], torch.dtype], str] = {}
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    for name, tensor in model.state_dict().items():
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.dtype)
        if tensor.numel() and key in names:
            tied[name] = names[key]
            continue
        names[key] = name
        tensors[name] = tensor.detach().cpu().contiguous().clone() if _is_view(tensor) else tensor.detach().cpu()
    save_file(tensors, path, metadata={"tied": json.dumps(tied)})


def _is_view(tensor: Tensor) -> bool:
    return not tensor.is_contiguous() or tensor.untyped_storage().nbytes() != tensor.nbytes


def read_header(path: Path) -> tuple[dict[str, Place], dict[str, str]]:
    """Return the place of each tensor in a safetensors file, and the other names of tied tensors."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    tied = json.loads(header.pop("__metadata__", {}).get("tied", "{}"))
    places = {name: entry["data_offsets"] for name, entry in header.items()}
    return {name: Place(8 + size + begin, end - begin) for name, (begin, end) in places.items()}, tied


def refer_to_weights(program: onnx_ir.Model, path: Path) -> None:
    """Replace the values of a program's tensors by references into the weight file, wherever the bytes are equal.

    Tensors are found by their content: the exporter names and folds them as it likes.
    """
    places = {_digest_of(path, place): place for place in read_header(path)[0].values() if place.length >= SMALLEST}
    for value in program.graph.initializers.values():
        tensor = value.const_value
        if tensor is None or tensor.nbytes < SMALLEST:
            continue
        place = places.get(hashlib.blake2b(tensor.tobytes()).digest())
        if place is not None:
            value.const_value = onnx_ir.ExternalTensor(
                path.name,
                *place,
                dtype=tensor.dtype,
                shape=onnx_ir.Shape(tensor.shape.numpy()),
                name=tensor.name or "",
                base_dir=path.parent,
            )


def _digest_of(path: Path, place: Place) -> bytes:
    digest = hashlib.blake2b()
    with path.open("rb") as file:
        file.seek(place.offset)
        remaining = place.length
        while remaining:
            block = file.read(min(remaining, 1 << 24))
            digest.update(block)
            remaining -= len(block)
    return digest.digest()
