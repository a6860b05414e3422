"""The shape of both towers: how encodings are combined, their width, dropout, and the scale of the scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dssm_lightning.inspection.config_text import Because, part
from dssm_lightning.inspection.rules.decisions import Decision, Declared
from dssm_lightning.inspection.rules.few_pairs import WIDTH as BM25_WIDTH
from dssm_lightning.inspection.rules.few_pairs import begins_as_bm25
from dssm_lightning.inspection.rules.situation import Situation

SEARCH_WIDTH = 300
"""Width of a sum of texts."""
WIDE, WIDTH, NARROW = 512, 128, 64
"""Width of a recommender without times, of any other one, and of one with a large corpus."""
WIDE_CORPUS, WIDE_PAIRS = 5_000, 20_000
"""Without times, up to this many candidates, and from this many liked pairs on, a recommender is wide."""
LARGE_CORPUS = 50_000
"""Above this many candidates, a recommender is narrow."""
FEW_PAIRS = 2_000
"""With fewer liked pairs, a recommender is narrow, too."""


def width_of(situation: Situation) -> int:
    """Return the width of an embedding."""
    if situation.task != "recommend":
        return SEARCH_WIDTH
    profile = situation.profile
    if is_wide(situation):
        return WIDE
    return NARROW if profile.num_candidates > LARGE_CORPUS or profile.num_pairs < FEW_PAIRS else WIDTH


def is_wide(situation: Situation) -> bool:
    """Return whether which candidates go together is all that there is to learn, and there is enough of it."""
    profile = situation.profile
    fits = profile.num_candidates <= WIDE_CORPUS and profile.num_pairs >= WIDE_PAIRS
    return situation.queries_return and not situation.has_time and fits


def towers_of(situation: Situation, features: Sequence[Declared]) -> tuple[dict[str, Any], Decision]:
    """Return the towers, the tied tables and the scorer, as settings of the model."""
    if situation.task == "recommend":
        return _concatenated(situation, features)
    return _summed(situation, features)


def _encoders(features: Sequence[Declared], side: str) -> dict[str, Any]:
    return {each.name: each.encoder for each in features if each.side == side and each.encoder is not None}


def _tied(features: Sequence[Declared]) -> dict[str, str]:
    return {each.name: each.tied for each in features if each.tied is not None}


def _summed(situation: Situation, features: Sequence[Declared]) -> tuple[dict[str, Any], Decision]:
    towers: dict[str, Any] = {}
    for side in ("query", "candidate"):
        fusion = Because("Sum", "the encodings are added, and nothing is learnt after that: texts meet in one space")
        arguments = {"fusion": fusion if side == "query" else "Sum", "encoders": _encoders(features, side)}
        towers[f"{side}_tower"] = {"class_path": "Tower", "init_args": arguments}
    model = dict(towers)
    counted = begins_as_bm25(situation)
    if counted:
        free = Because(False, "long vectors for texts that say much: BM25 counts it so")
        towers["candidate_tower"]["init_args"] = {"normalize": free, **towers["candidate_tower"]["init_args"]}
    tied = _tied(features)
    if tied:
        model["tied_embeddings"] = Because(tied, "a word means the same on both sides")
    model["scorer"] = Because(part("Dot", logit_scale=20), "factor of the scores: 1 / temperature")
    width = f"{BM25_WIDTH if counted else width_of(situation)} wide, added up, no layers"
    return model, Decision(
        "towers", width, "the best form for texts; one vector for each text, one table for both sides"
    )


def _concatenated(situation: Situation, features: Sequence[Declared]) -> tuple[dict[str, Any], Decision]:
    width = width_of(situation)
    share = 0.65 if is_wide(situation) else 0.5
    dropout = Because(share, "against memorising pairs; with far more events, less")
    model: dict[str, Any] = {}
    for side in ("query", "candidate"):
        arguments: dict[str, Any] = {
            "fusion": "Concat",
            "output_dim": width,
            "dropout": dropout if side == "query" else share,
            "normalize": Because(False, "a long vector may say that the case is clear") if side == "query" else False,
        }
        if side == "candidate" and not any(each.reads_candidates for each in features):
            arguments["bias"] = Because(True, "one number for each candidate: how popular it is with everybody")
        skipped = [each.name for each in features if each.side == side and each.bypass]
        if skipped:
            arguments["bypass"] = Because(skipped, "appended to the embedding: their products are added to the score")
        arguments["encoders"] = _encoders(features, side)
        model[f"{side}_tower"] = {"class_path": "Tower", "init_args": arguments}
    tied = _tied(features)
    if tied:
        model["tied_embeddings"] = Because(tied, "the same words, read on both sides")
    model["scorer"] = "Dot"
    why = "one linear layer over all encodings; deeper ones gained nothing"
    return model, Decision("towers", f"{width} wide, one linear layer, dropout {share}", why)
