"""Few training pairs of texts: the model begins as BM25, and learns what differs."""

from __future__ import annotations

from typing import Any

from dssm_lightning.inspection.config_text import part
from dssm_lightning.inspection.rules.decisions import Decision
from dssm_lightning.inspection.rules.situation import OWN_TEXTS, Situation
from dssm_lightning.inspection.rules.table_sizes import is_wordwise

LINE = 8_000
"""Training pairs below which a model that begins as BM25 is better than one from scratch."""
WIDTH = 1_024
"""Width in which random vectors of words hardly meet."""
RATE = 0.0005


def begins_as_bm25(situation: Situation) -> bool:
    """Return whether there are few pairs, and the words of a query occur in what it finds."""
    texts = [*situation.query_texts, *situation.candidate_texts]
    both = bool(situation.query_texts and situation.candidate_texts)
    keywords = situation.asks_by_keywords and len({column.language for column in texts}) == 1
    shared = (keywords or situation.profile.share_shared_texts >= OWN_TEXTS) and all(map(is_wordwise, texts))
    return situation.task != "recommend" and both and shared and situation.training_pairs < LINE


def query_bag() -> dict[str, Any]:
    """Return the encoder of a query's text."""
    return part("EmbeddingBag", output_dim=WIDTH, pooling="sum", sparse=True)


def candidate_bag() -> dict[str, Any]:
    """Return the encoder of a candidate's text."""
    return part("TermBag", output_dim=WIDTH, sparse=True)


def bm25_decision(situation: Situation) -> Decision:
    """Return what the table of `init` shows."""
    why = f"{situation.training_pairs:,} training pairs; from about {LINE:,} on, a start from scratch is as good"
    return Decision("start", "as BM25: idf × random vectors", why)
