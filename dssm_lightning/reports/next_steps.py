"""What to try next where a model is not ahead of what needs no training: facts of its data and settings."""

from __future__ import annotations

from typing import NamedTuple

from dssm_lightning.data.interactions import TRAIN
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.models.encoders import TermBag
from dssm_lightning.models.two_tower import TwoTowerModel

FEW_PAIRS = 20_000
"""Training pairs below which words need a start that is not random."""
WEIGHTS_FOR_A_PAIR = 100
"""Weights for each training pair from which on tables are large."""
BY_TEXT = ("BM25", "TfIdf")


class FitFacts(NamedTuple):
    """What a fit knows of itself at its end."""

    config: str | None
    """The config of the run, for the commands."""
    learning_rate: float | None
    best_epoch: int
    """Number of epochs at the best checkpoint, from 1; 0 = unknown."""
    epochs: int
    """Number of epochs that were trained."""


def next_steps(model: TwoTowerModel, data: RetrievalData, best: str, facts: FitFacts) -> list[str]:
    """Return two things to try, each in one line.

    Args:
        model: built.
        data: what it was trained on.
        best: name of the best baseline.
        facts: of the fit.
    """
    pairs = len(data.data.interactions.rows(TRAIN, label=1))
    found = [
        _few_pairs(model, data, best, pairs),
        _length(facts),
        _time(data, best),
        _large_tables(model, pairs),
        _learning_rate(facts),
        f"search the settings: tune --config {facts.config or 'FILE'} --trials 20",
        f"look at the data: doctor --config {facts.config or 'FILE'}",
    ]
    return [line for line in found if line is not None][:2]


def _few_pairs(model: TwoTowerModel, data: RetrievalData, best: str, pairs: int) -> str | None:
    texts = bool(data.schemas.query.text_columns) and bool(data.schemas.candidate.text_columns)
    starts = any(isinstance(module, TermBag) for module in model.modules())
    if starts or not texts or (pairs >= FEW_PAIRS and not best.startswith(BY_TEXT)):
        return None
    return f"{pairs:,} pairs are few for the words of texts: start their tables by rarity, with the encoder TermBag"


def _length(facts: FitFacts) -> str | None:
    if 0 < facts.best_epoch == facts.epochs:
        return f"train longer: the last epoch was the best one (trainer.max_epochs, now {facts.epochs})"
    return None


def _time(data: RetrievalData, best: str) -> str | None:
    if data.data.interactions.time is None or data.data.event:
        return None
    if best.startswith("RecentPopularity"):
        return "what is liked changes: give the query the event's time as a feature, with evaluate: event"
    return None


def _large_tables(model: TwoTowerModel, pairs: int) -> str | None:
    weights = sum(parameter.numel() for parameter in model.parameters())
    if weights < WEIGHTS_FOR_A_PAIR * pairs:
        return None
    return f"{weights:,} weights for {pairs:,} training pairs: smaller tables (num_buckets, output_dim)"


def _learning_rate(facts: FitFacts) -> str | None:
    early = 0 < facts.best_epoch <= 2 < facts.epochs
    if facts.learning_rate is None or not early:
        return None
    slower = facts.learning_rate / 3
    return (
        f"learn more slowly: epoch {facts.best_epoch} was the best one (lr {slower:.1g}, now {facts.learning_rate:g})"
    )
