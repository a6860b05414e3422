"""The base class of all teachers."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.utils.errors import UserError


class Teacher:
    """Base of what scores the pairs that a model trains on: to learn from, or to say which negatives count.

    A teacher knows rows of the interaction table and rows of the corpus, not the student's features. So one teacher
    serves in-batch, drawn and remembered candidates, and each process scores its own rows against the candidates of
    all processes. It is no part of the student: a checkpoint does not hold it, and nothing of it is trained.

    A fit opens the teacher before the data are prepared, and binds it when training begins. A resumed fit does so
    again, and its scores are the same.

    Example:
        >>> class Nearest(Teacher):
        ...     def bind(self, data, device):
        ...         self.query = data.data.interactions.query
        ...
        ...     def _score(self, rows, candidates):
        ...         return -(self.query[rows, None] - candidates).abs().float()
        >>> teacher = Nearest()
        >>> teacher.query = torch.tensor([4, 0])  # in place of bind
        >>> teacher.score(torch.tensor([0, 1]), torch.tensor([1, 3, 5])).tolist()
        [[-3.0, -1.0, -1.0], [-1.0, -3.0, -5.0]]
        >>> teacher.score(torch.tensor([0, 1]), torch.tensor([[5], [3]])).tolist()
        [[-1.0], [-3.0]]
    """

    def open(self) -> None:
        """Read what needs no data; called once, before the data are prepared.

        Raises:
            UserError: a file is missing or damaged.
        """

    def bind(self, data: RetrievalData, device: torch.device) -> None:
        """Prepare to score the rows of these data. A collective: every process must call it.

        Args:
            data: the student's data, prepared.
            device: where scores are needed.

        Raises:
            UserError: the teacher cannot score these data.
        """
        raise NotImplementedError

    @torch.no_grad()
    def score(self, rows: Tensor, candidates: Tensor) -> Tensor:
        """Return scores (Q, C) float32, or (Q, n) where each row has its own candidates.

        Args:
            rows: (Q,) int64 rows of the interaction table, whose queries are asked.
            candidates: (C,) int64 corpus rows that all rows share, or (Q, n) of each row.

        Raises:
            UserError: a score is not finite.
        """
        with torch.autocast(rows.device.type, enabled=False):
            scores = self._score(rows, candidates).float()
        finite = scores.isfinite() | scores.isnan() if self.partial else scores.isfinite()
        if not finite.all():
            row, column = (~finite).nonzero()[0].tolist()
            candidate = candidates[column] if candidates.dim() == 1 else candidates[row, column]
            raise UserError(
                f"teacher {self}: the score of interaction row {int(rows[row])} with corpus row {int(candidate)} is "
                f"{scores[row, column].item()}; scores must be finite"
            )
        return scores

    def _score(self, rows: Tensor, candidates: Tensor) -> Tensor:
        """Return the scores of :meth:`score`, without gradient, on the device of :meth:`bind`."""
        raise NotImplementedError

    partial: bool = False
    """Whether some pairs have no score, which is NaN."""
    has_embeddings: bool = False
    """Whether :meth:`embed` returns embeddings."""

    def embed(self, rows: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings (Q, D) of the rows' queries, and (Q, D) of one candidate for each row."""
        raise NotImplementedError

    @property
    def signature(self) -> str:
        """What the scores depend on, beside the data: two teachers with equal signatures score the same."""
        return str(self)

    def __str__(self) -> str:
        """Return the teacher's name for messages."""
        return type(self).__name__


def file_digest(path: Path) -> str:
    """Return a digest of a file's content."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()[:16]
