"""How embeddings lie on the unit sphere: alignment, uniformity, effective rank and the mean cosine of random pairs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.utils import distributed
from dssm_lightning.utils.ragged import Ragged

SAMPLE = 1000
"""Embeddings of a side whose pairs are compared."""
PAIRS_AT_ONCE = 1 << 14
GEOMETRY = ("alignment", "query_uniformity", "candidate_uniformity")
"""The names that a validation logs after ``val/``."""


def alignment(a: Tensor, b: Tensor) -> float:
    """Return the mean squared distance of pairs of rows (B, D) on the unit sphere: 0 = equal, 2 = orthogonal.

    Source: Wang and Isola, arXiv 2005.10242.

    Example:
        >>> alignment(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
        1.0
    """
    return 2 - 2 * float(F.cosine_similarity(a.double(), b.double()).mean())


def uniformity(embedding: Tensor) -> float:
    """Return log E exp(−2‖x − y‖²) over pairs of different rows (B, D) on the unit sphere; NaN below two rows.

    0 = all rows are equal; about −4 = the rows are spread evenly over a sphere of many dimensions.

    Source: Wang and Isola, arXiv 2005.10242, with t = 2.

    Example:
        >>> uniformity(torch.eye(3)), uniformity(torch.ones(3, 2))
        (-4.0, 0.0)
    """
    cosines = _pair_cosines(embedding)
    if not len(cosines):
        return float("nan")
    return round(float((4 * cosines - 4).exp().mean().log()), 9) + 0.0  # + 0.0 turns −0.0 into 0.0


def mean_cosine(embedding: Tensor) -> float:
    """Return the mean cosine of pairs of different rows (B, D); NaN below two rows.

    Example:
        >>> mean_cosine(torch.eye(3)), mean_cosine(torch.ones(3, 2))
        (0.0, 1.0)
    """
    return round(float(_pair_cosines(embedding).mean()), 9)


def effective_rank(embedding: Tensor) -> float:
    """Return the number of dimensions that rows (B, D) use: exp of the entropy of their normalised singular values.

    The rows are scaled to length 1 and not centred, so that equal rows have rank 1.

    Source: Roy and Vetterli (2007); as a sign of collapse RankMe, arXiv 2210.02885.

    Example:
        >>> effective_rank(torch.eye(4)), effective_rank(torch.ones(5, 4))
        (4.0, 1.0)
    """
    values = torch.linalg.svdvals(F.normalize(embedding.double(), dim=1))
    share = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return round(float(torch.special.entr(share).sum().exp()), 6)


def _pair_cosines(embedding: Tensor) -> Tensor:
    """(B, D) -> (B·(B − 1)/2,) float64."""
    unit = F.normalize(embedding.double(), dim=1)
    row, column = torch.triu_indices(len(unit), len(unit), 1, device=unit.device)
    return (unit @ unit.T)[row, column]


class EmbeddingGeometry:
    """Alignment and uniformity of the queries and candidates of one evaluation, over all processes.

    Alignment is that of the queries with their relevant candidates. Uniformity is that of up to 1,000 queries, and of
    up to 1,000 candidates evenly from the corpus. No random number is drawn.

    Args:
        corpus: (N, D) embeddings of the ranked candidates.
        widths: the leading dimensions of a query and of a candidate that are learned directions; biases and codes
            follow them.

    Example:
        >>> geometry = EmbeddingGeometry(torch.eye(2), widths=(2, 2))
        >>> geometry.add(torch.eye(2), Ragged.from_lengths(torch.tensor([0, 0]), torch.tensor([1, 1])))
        >>> geometry.compute()
        {'alignment': 1.0, 'query_uniformity': -4.0, 'candidate_uniformity': -4.0}
    """

    def __init__(self, corpus: Tensor, widths: tuple[int, int]) -> None:
        self._corpus, self._widths = corpus[:, : widths[1]], widths
        self._queries = corpus.new_zeros(0, widths[0])
        self._sums = torch.zeros(2, dtype=torch.float64, device=corpus.device)  # of cosines, and of pairs

    def add(self, query: Tensor, relevant: Ragged) -> None:
        """Add queries (Q, D) and their relevant candidates, rows of the corpus."""
        query = query[:, : self._widths[0]]
        missing = -(-SAMPLE // distributed.world_size()) - len(self._queries)
        self._queries = torch.cat([self._queries, query[: max(0, missing)].to(self._queries.dtype)])
        if self._widths[0] != self._widths[1]:
            return
        rows, columns = relevant.rows, relevant.values.long()
        parts = torch.split(rows, PAIRS_AT_ONCE), torch.split(columns, PAIRS_AT_ONCE)
        for row, column in zip(*parts, strict=True):
            cosines = F.cosine_similarity(query[row], self._corpus[column])
            self._sums += torch.stack([cosines.double().sum(), self._sums.new_tensor(float(len(row)))])

    def compute(self) -> dict[str, float]:
        """Return each value that is defined, by its name. A collective: every process must call it."""
        cosines, pairs = distributed.sum_over_ranks(self._sums).tolist()
        every = torch.linspace(0, len(self._corpus) - 1, min(SAMPLE, len(self._corpus))).long()
        found = {
            "alignment": 2 - 2 * cosines / pairs if pairs else float("nan"),
            "query_uniformity": uniformity(distributed.gather_rows(self._queries)),
            "candidate_uniformity": uniformity(self._corpus[every.to(self._corpus.device)]),
        }
        return {name: value for name, value in found.items() if value == value}  # NaN differs from itself
