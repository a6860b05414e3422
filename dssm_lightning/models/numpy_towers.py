"""A trained torch model as a retriever asks for it: NumPy arrays in and out."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from dssm_lightning.models.evaluating import evaluating
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.utils.array_columns import as_tensors
from dssm_lightning.utils.ragged_arrays import Arrays

Floats = NDArray[np.float32]


class NumpyTowers:
    """Both towers and the scorer of a built model, in evaluation mode.

    Args:
        model: a built model, which must not be trained while it serves. One that a fit has left in training mode
            encodes without dropout, and stays in training mode.

    Example:
        >>> from functools import partial
        >>> from dssm_lightning.features import Vector
        >>> from dssm_lightning.features.schema import Schema, Schemas
        >>> from dssm_lightning.models.fusion import Concat
        >>> from dssm_lightning.models.scorers import Dot
        >>> from dssm_lightning.models.tower import Tower
        >>> schema = Schema((Vector(name="vector", length=3),))
        >>> model = TwoTowerModel(partial(Tower, fusion=Concat, output_dim=2), None, Dot())
        >>> model.build(Schemas(schema, schema))
        >>> NumpyTowers(model).encode("query", {"vector": np.ones((4, 3), np.float32)}).shape
        (4, 2)
    """

    def __init__(self, model: TwoTowerModel) -> None:
        self._model = model
        self.scorer = type(model.scorer).__name__
        self.vector_width = model.vector_widths[1]
        self.num_indexes = 0
        if model.scorer.indexable:
            with torch.inference_mode():
                self.num_indexes = len(model.scorer.vectors(torch.zeros(1, model.widths[1], device=self._device)))

    @property
    def _device(self) -> torch.device:
        return next(self._model.parameters(), torch.empty(0)).device

    @torch.inference_mode()
    def encode(self, side: Literal["query", "candidate"], columns: Arrays) -> Floats:
        """Encoded features of B rows -> embeddings (B, D)."""
        encode = self._model.encode_query if side == "query" else self._model.encode_candidate
        features = {name: as_tensors(column) for name, column in columns.items()}
        with evaluating(self._model) if self._model.training else nullcontext():  # to ask costs less than to set
            return _array(self._model.embed_rows(encode, dict(features)))

    @torch.inference_mode()
    def vectors(self, embeddings: Floats) -> Floats:
        """(B, D) -> (H, B, d)."""
        return _array(self._model.scorer.vectors(self._tensor(embeddings)))

    @torch.inference_mode()
    def score(self, query: Floats, candidate: Floats, columns: NDArray[Any]) -> Floats:
        """(Q, D), (C, D), (Q, n) int64 -> (Q, n)."""
        return _array(self._model.scorer.pairs(*map(self._tensor, (query, candidate, columns))))

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array if array.flags.writeable else array.copy()).to(self._device)


def _array(tensor: torch.Tensor) -> Floats:
    array: Floats = tensor.float().cpu().numpy()
    return array
