"""The metrics of what a binary index finds, beside those of all scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.evaluator import Evaluation
from dssm_lightning.evaluation.metric_names import THROUGH_INDEX
from dssm_lightning.models.scorers import Scorer
from dssm_lightning.retrieval.indexes import Exact
from dssm_lightning.utils.ragged import Ragged


class MeasuredIndex:
    """An evaluation of each cut-off k through the index that ``export --vectors binary`` writes.

    The index compares the bits of all candidates and scores the best of them again with int8; how many depends on k.
    So the metrics at k are those of a search for k candidates, with a query's seen candidates asked for in addition and
    left out. A candidate that the index does not find ranks below all others.

    Args:
        corpus: (N, D) embeddings of the ranked candidates, as they are stored.
        scorer: compares the embeddings.
        ks: the cut-offs.
        make: makes the evaluation of some cut-offs.

    Example:
        >>> from dssm_lightning.models.scorers import Dot
        >>> corpus = torch.eye(3)
        >>> index = MeasuredIndex(corpus, Dot(), [1], lambda ks: Evaluation(ks, labelled=False))
        >>> relevant, seen = (Ragged(torch.tensor([row]), torch.tensor([0, 1])) for row in (2, 0))
        >>> query = torch.tensor([[3.0, 1.0, 2.0]])
        >>> index.update(query, query, EvaluationBatch({}, torch.tensor([0]), relevant, seen, shown=None))
        >>> index.compute()["index/recall@1"]
        1.0
    """

    def __init__(
        self, corpus: Tensor, scorer: Scorer, ks: Sequence[int], make: Callable[[list[int]], Evaluation]
    ) -> None:
        self._scorer = scorer
        self._indexes = [Exact("binary", rescore="int8").build(each) for each in _array(scorer.vectors(corpus))]
        self._evaluations = {k: make([k]).to(corpus.device) for k in ks}

    def update(self, query: Tensor, scores: Tensor, batch: EvaluationBatch) -> None:
        """Search for a batch of queries, once for each cut-off.

        Args:
            query: (Q or more, D) embeddings; rows beyond those of the batch are padding.
            scores: (Q or more, N) of the queries with all candidates.
            batch: the queries, without lists.
        """
        number = len(batch.query_row)
        vectors, scores = _array(self._scorer.vectors(query[:number])), scores[:number]
        if not number:
            return
        below = scores.min() - scores.abs().max() - 1
        for k, evaluation in self._evaluations.items():
            found = torch.from_numpy(self._found(vectors, k, batch.seen, scores.shape[1])).to(scores.device)
            evaluation.update(torch.where(found, scores, below), batch)

    def _found(self, vectors: np.ndarray, k: int, seen: Ragged, count: int) -> np.ndarray:
        """(H, Q, d) -> (Q, N) bool: what the indexes find in a search for k candidates that are not seen."""
        found, excluded = np.zeros((vectors.shape[1], count), bool), seen.lengths.cpu().numpy()
        for more in np.unique(excluded):
            rows = np.flatnonzero(excluded == more)
            for index, own in zip(self._indexes, vectors, strict=True):
                places = index.search(own[rows], min(count, k + int(more))).rows
                found[rows[:, None], places] = True
        return found

    def compute(self) -> dict[str, float]:
        """Return ``index/ndcg@10`` and the like, with seen candidates masked. A collective, as of an evaluation."""
        return {
            THROUGH_INDEX + name: value
            for k, evaluation in self._evaluations.items()
            for name, value in evaluation.compute().items()
            if name.endswith(f"@{k}") and "/" not in name
        }


def _array(vectors: Tensor) -> np.ndarray:
    array: np.ndarray = vectors.detach().float().cpu().numpy()
    return array
