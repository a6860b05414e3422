"""Batches, optimizer, rates, epochs, and what decides which epoch is best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dssm_lightning.inspection.config_text import Because, part
from dssm_lightning.inspection.rules.decisions import Decision, Declared
from dssm_lightning.inspection.rules.few_pairs import RATE, begins_as_bm25
from dssm_lightning.inspection.rules.situation import Situation

LARGEST_BATCH, SMALLEST_BATCH = 1_024, 32
STEPS_OF_AN_EPOCH = 8
"""The least number of steps of an epoch, as far as the smallest batch allows."""
EPOCHS, PATIENCE = 40, 3


def batch_size_of(situation: Situation) -> tuple[Any, Decision]:
    """Return the rows of a batch: a power of two.

    Few pairs make small batches, so that an epoch has some steps.
    """
    pairs = max(1, situation.training_pairs)
    size = 1 << round(math.log2(max(1, pairs / STEPS_OF_AN_EPOCH)))
    size = max(SMALLEST_BATCH, min(LARGEST_BATCH, size))
    why = f"{pairs:,} training pairs: about {math.ceil(pairs / size):,} steps for each epoch"
    return Because(size, why), Decision("batch", f"{size:,} rows", why)


def optimizer_of(situation: Situation, features: Sequence[Declared]) -> tuple[Any, Decision]:
    """Return the optimizer with its rate."""
    if begins_as_bm25(situation):
        why = "small steps: the start is good already"
        return Because(part("LazyAdam", lr=RATE, fused=True), why), Decision("optimizer", f"LazyAdam, {RATE}", why)
    if situation.task != "recommend":
        why = "only the table rows of a batch are updated, and by large steps"
        return Because(part("LazyAdam", lr=0.008, fused=True), why), Decision("optimizer", "LazyAdam, 0.008", why)
    if any((each.encoder or {}).get("init_args", {}).get("sparse") for each in features):
        why = "large tables: only the rows of a batch are updated"
        return Because(part("LazyAdam", lr=0.002, fused=True), why), Decision("optimizer", "LazyAdam, 0.002", why)
    why = "all tables are small"
    return Because(part("torch.optim.Adam", lr=0.002, fused=True), why), Decision("optimizer", "Adam, 0.002", why)


def monitor_of(situation: Situation) -> tuple[str, str]:
    """Return the metric that chooses the epoch, and why."""
    if situation.task == "search":
        return "val/mrr", "where the first right candidate stands"
    if situation.task == "rerank":
        return "val/map", "where the right candidates of the list stand"
    if situation.profile.num_candidates <= 10:
        return "val/mrr", "the corpus is too small for ranks up to 10"
    return "val/ndcg@10", "whether the ten best hold what was liked, and how high"


def schedule_of(situation: Situation) -> tuple[dict[str, Any], list[Decision]]:
    """Return the sections of the trainer and of the checkpoint."""
    monitor, why = monitor_of(situation)
    limit = Because(EPOCHS, "an upper limit: training stops when validation stops getting better")
    stops = Because(PATIENCE, "epochs without a better one after which training stops")
    sections = {
        "trainer": {"max_epochs": limit},
        "checkpoint": {"monitor": Because(monitor, why), "patience": stops},
    }
    return sections, [
        Decision("best epoch", monitor, why),
        Decision("epochs", f"at most {EPOCHS}", f"stops after {PATIENCE} without a better one"),
    ]
