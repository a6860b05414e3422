"""The programs of a bundle, as the manifest describes them, and the names of their inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dssm_lightning.utils.errors import UserError, is_whole

SEPARATOR = "__"
"""Between a feature's name and a part of its column."""
DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
"""NumPy types of inputs."""


@dataclass(frozen=True)
class ProgramInput:
    """One input of an exported program.

    Example:
        >>> ProgramInput("title__values", "int32", (None,))
        ProgramInput(name='title__values', dtype='int32', shape=(None,))
    """

    name: str
    dtype: str
    """Name of the NumPy type."""
    shape: tuple[int | None, ...]
    """None: a size that may differ in each call."""


@dataclass(frozen=True)
class Program:
    """One ONNX program: its file, its inputs in order, and its output.

    Example:
        >>> Program("query.onnx", (ProgramInput("city", "int32", (None,)),), "embedding", (None, 8), 0.0).shape
        (None, 8)
    """

    file: str
    inputs: tuple[ProgramInput, ...]
    output: str
    shape: tuple[int | None, ...]
    """Shape of the output; None: a size that depends on the inputs."""
    difference: float
    """Largest difference to torch that was found when the program was written."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Program:
        """Return the program that ``dataclasses.asdict`` described.

        Raises:
            ValueError: a name, a type or a shape that is none.
        """
        inputs = tuple(ProgramInput(each["name"], each["dtype"], _shape(each["shape"])) for each in values["inputs"])
        texts = [values["file"], values["output"], *(each.name for each in inputs)]
        if not all(isinstance(text, str) for text in texts) or any(each.dtype not in DTYPES for each in inputs):
            raise ValueError(f"an input of the program {str(values['file'])[:80]!r} has no name, or an unknown type")
        return cls(values["file"], inputs, values["output"], _shape(values["shape"]), float(values["difference"]))


def _shape(sizes: Any) -> tuple[int | None, ...]:
    if not all(size is None or (is_whole(size) and size >= 0) for size in sizes):
        raise ValueError(f"the shape {str(sizes)[:80]} of a program is none")
    return tuple(sizes)


@dataclass(frozen=True)
class ExportedTowers:
    """The programs of a model, in the order in which they are needed.

    Example:
        >>> city = ProgramInput("city", "int32", (None,))
        >>> query = Program("query.onnx", (city,), "embedding", (None, 8), 0.0)
        >>> ExportedTowers(query, query, query, None, indexable=True).indexable
        True
    """

    query: Program
    """Encoded query features -> ``embedding`` (B, D)."""
    candidate: Program
    """Encoded candidate features -> ``embedding`` (C, D)."""
    scorer: Program
    """``query`` (Q, D), ``candidate`` (C, D), ``columns`` (Q, n) int64 -> ``logits`` (Q, n) of each query with the
    candidates of its own columns."""
    vectors: Program | None
    """``embedding`` (B, D) -> ``vectors`` (H, B, d), what H indexes of inner products hold. None: the embedding itself
    is the only vector, or no index can serve the model."""
    indexable: bool
    """Whether inner products of the vectors rank as the scorer does. If not, only the scorer's program ranks."""


def flatten(columns: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the columns as named arrays or tensors, the inputs of an exported program.

    An array keeps the feature's name. A ragged column becomes ``name__values`` and ``name__offsets``, and ``name__age``
    in a history. The candidates of a history of whole candidates become ``name__items``.

    Args:
        columns: encoded columns, of numpy or of torch.
        prefix: stands before each name.

    Raises:
        UserError: two inputs would have one name.

    Example:
        >>> import numpy as np
        >>> from dssm_lightning.utils.ragged_arrays import RaggedArray
        >>> title = RaggedArray(np.array([5, 7]), np.array([0, 2]))
        >>> list(flatten({"title": title, "price": np.zeros((1, 1))}))
        ['title__values', 'title__offsets', 'price']
    """
    flat: dict[str, Any] = {}
    for name, column in columns.items():
        for key, part in _named(prefix + name, column).items():
            if key in flat:
                raise UserError(f"export: two features need an input named {key!r}; rename feature {name!r}")
            flat[key] = part
    return flat


def _named(name: str, column: Any) -> dict[str, Any]:
    if not hasattr(column, "offsets"):
        assert not hasattr(column, "sequences"), "a served history has a row for each query"
        return {name: column}
    flat = {f"{name}{SEPARATOR}values": column.values, f"{name}{SEPARATOR}offsets": column.offsets}
    if column.age is not None:
        flat[f"{name}{SEPARATOR}age"] = column.age
    if isinstance(column.items, dict):
        flat |= flatten(column.items, f"{name}{SEPARATOR}items{SEPARATOR}")
    elif column.items is not None:
        flat[f"{name}{SEPARATOR}items"] = column.items
    return flat
