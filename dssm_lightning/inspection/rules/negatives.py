"""What a liked candidate is compared with, and by which loss."""

from __future__ import annotations

from typing import Any

from dssm_lightning.inspection.config_text import Because, part
from dssm_lightning.inspection.rules.decisions import Decision
from dssm_lightning.inspection.rules.situation import Situation

DRAWN = 1_500
"""Candidates that are drawn for each batch."""
FEW_PAIRS = 8_000
"""With fewer training pairs of texts, the batches hold too few candidates: others are drawn."""


def negatives_of(situation: Situation) -> tuple[dict[str, Any], Any, list[Decision]]:
    """Return settings of the data, the loss of the model, and why."""
    if situation.task == "rerank":
        return _shown(situation)
    if situation.task == "search":
        return _texts(situation)
    count = drawn(situation)
    why = f"with the candidates of the batch, {count:,} of {situation.profile.num_candidates:,} in every step"
    loss = Because(part("SampledSoftmax", repeats="inclusion"), "corrected as if the whole corpus were scored")
    decisions = [
        Decision(
            "negatives", f"the batch and {count:,} drawn uniformly", "the softmax over them stands for the corpus"
        ),
        Decision("loss", "SampledSoftmax, repeats: inclusion", "corrects for how often a batch holds a candidate"),
    ]
    return {"negatives": Because(part("Uniform", num_negatives=count), why)}, loss, decisions


def drawn(situation: Situation) -> int:
    """Return how many candidates are drawn: not more than the corpus has."""
    return max(1, min(DRAWN, situation.profile.num_candidates - 1))


def _texts(situation: Situation) -> tuple[dict[str, Any], Any, list[Decision]]:
    loss = Because("SampledSoftmax", "the right candidate against all others of the batch")
    because = "a text is the right one for few queries: no correction for popularity is needed"
    decisions = [Decision("loss", "SampledSoftmax", because)]
    if situation.training_pairs >= FEW_PAIRS:
        why = f"{situation.training_pairs:,} training pairs: drawn ones bring nothing more"
        return {}, loss, [Decision("negatives", "the batch", why), *decisions]
    count = drawn(situation)
    why = f"{situation.training_pairs:,} training pairs name few candidates: others are drawn"
    given = {"negatives": Because(part("Uniform", num_negatives=count), why)}
    return given, loss, [Decision("negatives", f"the batch and {count:,} drawn uniformly", why), *decisions]


def _shown(situation: Situation) -> tuple[dict[str, Any], Any, list[Decision]]:
    profile = situation.profile
    each = max(1, min(16, round(profile.num_negative_pairs / max(1, profile.num_pairs))))
    sampler = part("FromShown", num_negatives=each)
    why = "a row competes with what its own query was shown and did not like, as in the ranking"
    loss = Because("SampledSoftmax", "the liked candidate against the others of the list")
    return (
        {"negatives": Because(sampler, why)},
        loss,
        [
            Decision("negatives", f"{each} of the query's own list", why),
            Decision("loss", "SampledSoftmax", "the liked candidate against the others of the list"),
        ],
    )
