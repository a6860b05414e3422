"""The metrics of an evaluation and their cut-offs."""

from __future__ import annotations

from torchmetrics import MetricCollection

from dssm_lightning.evaluation.metrics import (
    MAP,
    MRR,
    NDCG,
    CutMetric,
    HitRate,
    Precision,
    QueryAUROC,
    RankMetric,
    Recall,
)
from dssm_lightning.utils.errors import UserError, require_whole

DEFAULT_KS = (1, 5, 10, 50, 100)
OF_EVERY_LIST = (1, 5, 10)
"""The default cut-offs that lists have even if all of them are shorter, as trec_eval has them."""
_CUT_METRICS: dict[str, type[CutMetric]] = {
    "hit_rate": HitRate,
    "recall": Recall,
    "precision": Precision,
    "ndcg": NDCG,
    "map": MAP,
}


def resolve_ks(ks: list[int] | None, num_candidates: int, longest_list: int | None = None) -> list[int]:
    """Return the cut-offs to report, ascending: ``ks``, or the values of 1, 5, 10, 50, 100 that fit the corpus.

    Args:
        ks: the setting; None = the default.
        num_candidates: number of ranked candidates.
        longest_list: candidates of the longest list, if each query ranks its own. Lists may be shorter than a cut-off,
            and 1, 5 and 10 are always among the default ones.

    Raises:
        UserError: a cut-off is below 1 or larger than the corpus.

    Example:
        >>> resolve_ks(None, num_candidates=60), resolve_ks([20, 3], num_candidates=60)
        ([1, 5, 10, 50], [3, 20])
        >>> resolve_ks(None, num_candidates=60, longest_list=4)
        [1, 5, 10]
    """
    if ks is None:
        most = num_candidates if longest_list is None else max(*OF_EVERY_LIST, longest_list)
        return [k for k in DEFAULT_KS if k <= most]
    for k in ks:
        require_whole("ks", "k", k, hint=f"ks is {ks}")
        if k > num_candidates and longest_list is None:
            raise UserError(
                f"ks: k = {k} is larger than the corpus, which has {num_candidates:,} candidates (ks is {ks}); "
                f"remove {k}, or remove `ks` to use the values of 1, 5, 10, 50, 100 that fit"
            )
    return sorted(set(ks))


def metric_collection(ks: list[int], prefix: str, longest_list: int | None = None) -> MetricCollection:
    """Return the metrics of one protocol, by name; lists have ``map`` without a cut-off as well."""
    metrics: dict[str, RankMetric] = {f"{name}@{k}": make(k) for name, make in _CUT_METRICS.items() for k in ks}
    whole = {} if longest_list is None else {"map": MAP(max(1, longest_list))}
    # No compute groups: torchmetrics would merge two metrics forever if their first batch gives them equal states.
    return MetricCollection(
        {**metrics, **whole, "mrr": MRR(), "query_auroc": QueryAUROC()}, prefix=prefix or None, compute_groups=False
    )
