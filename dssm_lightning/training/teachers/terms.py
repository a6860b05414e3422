"""A teacher that searches the candidates' texts by terms."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.data.batching.evaluation_batches import MAX_SCORES
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.features.text.joined_columns import join_text_columns
from dssm_lightning.retrieval.term_search import BM25
from dssm_lightning.training.teachers.base import Teacher
from dssm_lightning.utils.errors import UserError


class BM25Teacher(Teacher):
    """BM25 over the text columns that the student's features read, joined on each side.

    Unlike a search by BM25, it never reads the texts of the queries that like a candidate: each row would find itself.

    Args:
        k1: how much repetitions of a word count.
        b: how much the score of a long text is reduced, from 0 to 1.

    Raises:
        UserError: settings that BM25 refuses; in :meth:`bind`, a side without a text, or query texts that vary by
            event.

    Example:
        >>> str(BM25Teacher(k1=0.9))
        'BM25(k1=0.9, b=0.75)'
    """

    def __init__(self, k1: float = 1.2, b: float = 0.75) -> None:
        self._index = BM25(k1, b)

    def __str__(self) -> str:
        """Return the search with its settings."""
        return str(self._index)

    def bind(self, data: RetrievalData, device: torch.device) -> None:
        """Index the corpus."""
        prepared, texts = data.data, {}
        for side, table in (("query", prepared.queries), ("candidate", prepared.candidates)):
            columns = getattr(prepared.schemas, side).text_columns
            if not columns or not set(columns) <= set(table.columns):
                found = f"the text {columns} varies by event" if columns else "no text"
                raise UserError(f"teacher {self}: the {side} features read {found}; BM25 needs a text on both sides")
            texts[side] = join_text_columns(table, columns)
        self._index.fit(texts["candidate"])
        self._texts, self._query, self._device = texts["query"], prepared.interactions.query, device

    def _score(self, rows: Tensor, candidates: Tensor) -> Tensor:
        queries, place = torch.unique(self._query[rows.cpu()], return_inverse=True)
        ids, columns = torch.unique(candidates.cpu(), return_inverse=True)
        parts = [  # the scores of all candidates are in memory for some queries at a time
            torch.from_numpy(self._index.scores([self._texts[query] for query in part.tolist()]))[:, ids]
            for part in torch.split(queries, max(1, MAX_SCORES // self._index.count))
        ]
        scores = torch.cat(parts)[place]  # (Q, distinct candidates)
        return (scores[:, columns] if candidates.dim() == 1 else scores.gather(1, columns)).to(self._device)
