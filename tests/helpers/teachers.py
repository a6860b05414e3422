"""A teacher that needs neither data nor a model."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.training.teachers import Teacher


class Table(Teacher):
    """Scores (R, N) and embeddings (R, D), (N, D): of each row of the interactions and each row of the corpus."""

    has_embeddings = True

    def __init__(self, scores: Tensor, query: Tensor | None = None, candidate: Tensor | None = None) -> None:
        self.scores = scores
        self.query, self.candidate = query, candidate

    def bind(self, data: RetrievalData, device: torch.device) -> None:
        """Nothing to prepare."""

    def _score(self, rows: Tensor, candidates: Tensor) -> Tensor:
        return self.scores[rows[:, None], candidates]

    def embed(self, rows: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Look the embeddings up."""
        assert self.query is not None
        assert self.candidate is not None
        return self.query[rows], self.candidate[candidates]
