"""Metrics of the recommended lists of all queries together, relevant or not."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from dssm_lightning.evaluation.metrics.top_columns import top_k_stable
from dssm_lightning.utils.ragged import Ragged, take

LIST_CHUNK = 1 << 20
"""Scores of the queries whose lists are made at a time: 4 MiB, which stay in a core's cache (2 × faster than 64)."""
DISTANCE_CHUNK = 1 << 22
"""Numbers of the embeddings whose distances are computed at a time: in float64 they take 32 MiB."""


class Recommended(Metric):
    """How the queries' lists, the k best candidates that a query has not seen, use the corpus.

    - ``coverage@k``: the share of the corpus that is in at least one list;
    - ``popularity@k``: the mean number of training positives of the listed candidates;
    - ``gini@k``: the Gini coefficient of how often each candidate of the corpus is listed, 0 = equally often;
    - ``novelty@k``: the mean self-information of the listed candidates in bits, −log2 of the probability that a
      training positive is this candidate, estimated as (popularity + 1) / (Σ popularity + N);
    - ``serendipity@k``: the share of listed candidates that are relevant and unexpected: the k most popular candidates
      that the query has not seen (with any training positive) do not contain them;
    - ``diversity@k``: the mean over lists of the mean 1 − cos of two listed candidates, for k ≥ 2 and with embeddings.

    Every ranked query counts, even without a relevant candidate; by event, every event. The states are counts, and for
    the diversity a float64 sum: exact under any number of processes.

    Args:
        ks: cut-offs.
        popularity: (N,) training positives of each candidate.

    Sources: self-information, Zhou et al., PNAS 2010, doi 10.1073/pnas.1000488107, and Vargas and Castells, RecSys
    2011, doi 10.1145/2043932.2043955; unexpected and relevant, against a primitive recommender, Ge et al., RecSys 2010,
    doi 10.1145/1864708.1864761; intra-list similarity, Ziegler et al., WWW 2005, doi 10.1145/1060745.1060754.

    Example:
        >>> recommended = Recommended([1], popularity=torch.tensor([9, 3, 0, 0]))
        >>> seen = Ragged.from_lengths(torch.tensor([0]), torch.tensor([0, 1]))  # candidate 0, by the second query
        >>> relevant = Ragged.from_lengths(torch.tensor([1, 2]), torch.tensor([1, 1]))
        >>> recommended.update(torch.tensor([[4.0, 3.0, 2.0, 1.0], [4.0, 2.0, 3.0, 1.0]]), seen, relevant)
        >>> {name: value.item() for name, value in recommended.compute().items() if name != "novelty@1"}
        {'coverage@1': 0.5, 'popularity@1': 4.5, 'gini@1': 0.5, 'serendipity@1': 0.5}
    """

    full_state_update = False

    counts: Tensor
    unexpected: Tensor
    distances: Tensor
    pairs: Tensor

    def __init__(self, ks: list[int], popularity: Tensor) -> None:
        super().__init__()
        self.ks, self._popularity = ks, popularity
        self._query_chunk = max(1, LIST_CHUNK // max(1, len(popularity)))
        counts = torch.zeros(len(ks), len(popularity), dtype=torch.int32)  # sums over processes are int64
        self.add_state("counts", counts, dist_reduce_fx="sum")
        self.add_state("unexpected", torch.zeros(len(ks), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("distances", torch.zeros(len(ks), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pairs", torch.zeros(len(ks), dtype=torch.int64), dist_reduce_fx="sum")  # lists of two and more
        self._popularity_place = popularity_places(popularity)
        self.embeddings: Tensor | None = None
        """(N, D) of the candidates, by which the diversity is measured, until :meth:`reset`; None = it is left out."""

    def update(self, scores: Tensor, seen: Ragged, relevant: Ragged | None = None) -> None:
        """Add the lists of a batch.

        Args:
            scores: (Q, N) finite scores of the whole corpus.
            seen: Q rows of corpus rows, which are not recommended again.
            relevant: Q rows of corpus rows, which should be found; None = nothing is relevant.
        """
        if not len(scores) or not self.ks:
            return
        every = torch.arange(len(scores), device=scores.device)
        lists = [
            _unseen(scores[rows], take(seen, rows), max(self.ks)) for rows in torch.split(every, self._query_chunk)
        ]
        best, is_unseen = (torch.cat(chunks) for chunks in zip(*lists, strict=True))  # (Q, max k) both
        if self.counts.is_inference() and not torch.is_inference_mode_enabled():  # it must not be changed in place
            self.counts = self.counts.clone()
        for count, k in zip(self.counts, self.ks, strict=True):
            listed = best[:, :k][is_unseen[:, :k]]
            count.index_add_(0, listed, count.new_ones(()).expand(len(listed)))
        if relevant is not None:
            is_found = is_unseen & _among(relevant, best, scores.shape[1])
            place = unseen_places(best, seen, self._popularity_place.to(best.device))  # in the list by popularity
            hits = [(is_found[:, :k] & (place[:, :k] >= k)).sum() for k in self.ks]
            self.unexpected = self.unexpected + torch.stack(hits)
        if self.embeddings is not None:
            size = max(1, DISTANCE_CHUNK // max(1, best.shape[1] * self.embeddings.shape[1]))
            for rows in torch.split(every, size):
                total, pairs = list_distances(self.embeddings[best[rows]], is_unseen[rows], self.ks)
                self.distances, self.pairs = self.distances + total, self.pairs + pairs

    def compute(self) -> dict[str, Tensor]:
        """Return the values for each cut-off, () float64; NaN if nothing was recommended.

        A cut-off without a list of two candidates, or without embeddings, has no diversity.
        """
        counts = self.counts.double()  # (len(ks), N)
        total = counts.sum(1)
        values = {
            "coverage": torch.where(total > 0, self.counts.count_nonzero(1).double() / counts.shape[1], torch.nan),
            "popularity": counts @ self._popularity.to(counts) / total,
            "gini": torch.cat([counts.new_zeros(0), *map(gini, torch.split(counts, 1))]),  # a copy of one at a time
            "novelty": counts @ self._information.to(counts.device) / total,
            "serendipity": self.unexpected.double() / total,
        }
        named = {f"{name}@{k}": value[i] for name, value in values.items() for i, k in enumerate(self.ks)}
        distances = {
            f"diversity@{k}": self.distances[i] / self.pairs[i] for i, k in enumerate(self.ks) if self.pairs[i]
        }
        return named | distances

    def reset(self) -> None:
        """Remove all lists, and let go of the embeddings."""
        super().reset()
        self.embeddings = None

    @property
    def _information(self) -> Tensor:
        """(N,) float64 −log2 of each candidate's probability."""
        smoothed = self._popularity.double() + 1
        return -(smoothed / smoothed.sum()).log2()


def _unseen(scores: Tensor, seen: Ragged, k: int) -> tuple[Tensor, Tensor]:
    """Return (Q, k) the best columns, unseen first, and (Q, k) whether each is unseen. Overwrites ``scores`` (Q, N)."""
    scores[seen.rows, seen.values.long()] = -torch.inf
    best = top_k_stable(scores, k)
    return best, scores.gather(1, best) > -torch.inf


def popularity_places(popularity: Tensor) -> Tensor:
    """Return (N,) int64 the place of each candidate by popularity, of equal ones the lower row first.

    A candidate without a training positive has the place of −1: it is in no list by popularity.

    Example:
        >>> popularity_places(torch.tensor([3, 0, 9, 3])).tolist()
        [1, -1, 0, 2]
    """
    places = torch.empty_like(popularity, dtype=torch.int64)
    places[popularity.argsort(descending=True, stable=True)] = torch.arange(len(popularity), device=popularity.device)
    return torch.where(popularity > 0, places, -1)


def unseen_places(candidates: Tensor, seen: Ragged, places: Tensor) -> Tensor:
    """Return (Q, K) the place of candidates in their query's list by popularity, which leaves out what it has seen.

    The place of a candidate that is in no such list is N.

    Args:
        candidates: (Q, K) unseen candidates; those of others have no meaning.
        seen: Q rows of candidates.
        places: (N,) as :func:`popularity_places` returns them.
    """
    N = len(places)
    own = places[candidates]  # (Q, K)
    before = places[seen.values.long()]
    keys = (seen.rows * (N + 1) + before + 1).sort().values  # by query, and by place; −1 comes first
    query = torch.arange(len(candidates), device=own.device)[:, None] * (N + 1)
    first = torch.searchsorted(keys, (query + 1).contiguous())  # the query's first seen candidate with a place
    passed = torch.searchsorted(keys, (query + own + 1).contiguous()) - first
    return torch.where(own >= 0, own - passed, N)


def list_distances(embeddings: Tensor, listed: Tensor, ks: list[int]) -> tuple[Tensor, Tensor]:
    """Sum up the mean distances 1 − cos of two candidates of a list: (len(ks),) float64 sums, and int64 lists of pairs.

    The mean of the cosines of n vectors of length 1 is (‖Σ v‖² − Σ ‖v‖²) / (n (n − 1)). A vector of zeros is similar to
    none.

    Args:
        embeddings: (Q, K, D) of the listed candidates.
        listed: (Q, K) bool: whether a place of a list is taken, from its first place on.
        ks: cut-offs.
    """
    vectors = F.normalize(embeddings.double(), dim=-1) * listed[..., None]
    totals, squares = vectors.cumsum(1).square().sum(-1), vectors.square().sum(-1).cumsum(1)  # (Q, K) both
    lengths = listed.cumsum(1)
    sums, lists = [], []
    for k in ks:
        n = lengths[:, k - 1]
        cosine = (totals[:, k - 1] - squares[:, k - 1]) / (n * (n - 1)).clamp(min=1)
        sums.append(torch.where(n > 1, 1 - cosine, 0.0).sum())
        lists.append((n > 1).sum())
    return torch.stack(sums), torch.stack(lists)


def _among(table: Ragged, columns: Tensor, num_columns: int) -> Tensor:
    """Return (Q, K) whether columns are in the query's row of a table."""
    query = torch.arange(len(columns), device=columns.device)[:, None] * num_columns
    return torch.isin(query + columns, table.rows * num_columns + table.values.long())


def gini(counts: Tensor) -> Tensor:
    """Return Gini coefficients Σ_i (2 i − N − 1) x_i / (N Σ x) of counts x_1 ≤ … ≤ x_N: (…, N) -> (…,).

    A Gini coefficient is half the mean absolute difference of two counts, divided by their mean: 0 if all are equal,
    1 − 1 / N if one candidate has everything.

    Example:
        >>> gini(torch.tensor([[3.0, 3.0], [0.0, 6.0]])).tolist()
        [0.0, 0.5]
    """
    N = counts.shape[-1]
    weight = 2 * torch.arange(1, N + 1, dtype=counts.dtype, device=counts.device) - N - 1
    return (counts.sort(dim=-1).values * weight).sum(-1) / (N * counts.sum(-1))
