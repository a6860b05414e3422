"""What was exported: the programs of a model, with their inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass


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
