"""What a retriever asks of a model: embeddings of encoded features, and scores of embeddings, as NumPy arrays."""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.utils.ragged_arrays import Arrays

Floats = NDArray[np.float32]
Side = Literal["query", "candidate"]


class Towers(Protocol):
    """Both towers and the scorer of a model; calls may come from several threads at once.

    Implementations: :class:`~dssm_lightning.retrieval.bundle.onnx_towers.OnnxTowers` runs the programs of a bundle,
    :class:`~dssm_lightning.models.numpy_towers.NumpyTowers` a trained torch model.
    """

    num_indexes: int
    """H: the number of indexes of inner products that rank as the scorer does; 0 if none can."""
    vector_width: int
    """Numbers of an embedding that are the candidate's vector; its bias and a constant follow."""
    scorer: str
    """Class of the scorer, for messages."""

    def encode(self, side: Side, columns: Arrays) -> Floats:
        """Encoded features of B rows -> embeddings (B, D)."""

    def vectors(self, embeddings: Floats) -> Floats:
        """(B, D) -> (H, B, d): what the H indexes hold, and are searched with."""

    def score(self, query: Floats, candidate: Floats, columns: NDArray[Any]) -> Floats:
        """(Q, D), (C, D), (Q, n) int64 -> (Q, n): the model's scores of each query with its own candidates."""


def num_rows(columns: Arrays) -> int:
    """Return the number of rows, which all columns share."""
    column = next(iter(columns.values()))
    return len(column) if isinstance(column, np.ndarray) else len(column.offsets) - 1
