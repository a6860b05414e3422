"""How long baselines take, roughly, so that the table at the end of a fit costs little beside the fit."""

from __future__ import annotations

from collections.abc import Sequence

from dssm_lightning.evaluation.baselines.base import Baseline, BaselineData
from dssm_lightning.evaluation.baselines.ease import EASE
from dssm_lightning.evaluation.baselines.item_knn import ItemKNN
from dssm_lightning.evaluation.baselines.sparse_inverse import MAX_EXACT_SIDE
from dssm_lightning.evaluation.baselines.text import TermBaseline

SCORES_A_SECOND = 2e7
"""Scores that are computed and ranked in a second, on one core."""
PRODUCTS_A_SECOND = 6e10
"""Products of float32 in a second, on one core."""
WEIGHTS_A_SECOND = 6e7
"""Weights of pairs of candidates that are written in a second beside the inversion."""
PAIRS_A_SECOND = 1e8
LETTERS_A_SECOND = 2e6


def seconds_of(baseline: Baseline, known: BaselineData, rows: int, ranked: int) -> float:
    """Return about how many seconds of one core it takes to fit a baseline and to rank by it.

    Args:
        baseline: what is measured.
        known: what it is fitted on.
        rows: number of ranked queries or events.
        ranked: number of candidates that each of them ranks.
    """
    ranking = rows * ranked / SCORES_A_SECOND
    if isinstance(baseline, EASE):
        side = float(known.dense_side)
        inverting = side**3 * (2.0 if side <= MAX_EXACT_SIDE else 1.0) / PRODUCTS_A_SECOND
        return ranking + inverting + known.together.side**2 / WEIGHTS_A_SECOND
    if isinstance(baseline, ItemKNN):
        return ranking + float(known.positives.lengths.square().sum()) / PAIRS_A_SECOND
    if isinstance(baseline, TermBaseline):
        texts = known.corpus_texts or ()
        some = texts[:: max(1, len(texts) // 1000)]
        return ranking + sum(len(text or "") for text in some) / max(1, len(some)) * len(texts) / LETTERS_A_SECOND
    return ranking


def affordable(
    baselines: Sequence[Baseline], known: BaselineData, rows: int, ranked: int, limit: float
) -> tuple[list[Baseline], list[Baseline]]:
    """Return the baselines that fit a number of seconds, the cheapest first, and those that do not.

    Example:
        >>> import torch
        >>> from dssm_lightning.evaluation.baselines import PopularityBaseline
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> known = BaselineData(positives=Ragged.from_lengths(torch.tensor([0]), torch.tensor([1])), num_candidates=2)
        >>> affordable([PopularityBaseline()], known, rows=10**6, ranked=10**6, limit=60)
        ([], [PopularityBaseline()])
    """
    costs = {id(each): seconds_of(each, known, rows, ranked) for each in baselines}
    chosen, spent = set[int](), 0.0
    for each in sorted(baselines, key=lambda baseline: costs[id(baseline)]):
        spent += costs[id(each)]
        if spent <= limit:
            chosen.add(id(each))
    return [each for each in baselines if id(each) in chosen], [each for each in baselines if id(each) not in chosen]
