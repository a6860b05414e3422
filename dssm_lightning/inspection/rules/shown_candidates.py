"""What was shown and not liked: films that were watched and rated low are not watched again."""

from __future__ import annotations

from dssm_lightning.inspection.config_text import part
from dssm_lightning.inspection.rules.columns import feature_name
from dssm_lightning.inspection.rules.decisions import Decision, Declared
from dssm_lightning.inspection.rules.situation import Situation

LARGEST = 5_000
"""Above this many candidates, the codes would cost most of the time: they make each score five times as wide."""
LEAST = 0.1
"""The share of rows that are not liked, from which on they matter."""
CODES = 1_024
"""With half of them, NDCG@10 falls by a tenth."""


def shown_candidates(situation: Situation) -> list[Declared]:
    """Return the features that push down what a query rated and did not like.

    Only for ratings: what was rated once is not rated again. What was shown and not clicked may be clicked later.
    """
    if not pushes_down(situation):
        return []
    profile = situation.profile
    order = "time" if situation.has_time else None
    name = f"{feature_name(profile.candidate_id)}_code"
    feature = part("History", of=name, events="shown", order=order)
    code = part("Codes", output_dim=CODES)
    return [
        Declared(
            side="query",
            name="rated_low",
            feature=feature,
            encoder=part("Codes", output_dim=CODES, weight=-2, learnable=True),
            why="what was rated and not liked: a learnt weight pushes exactly these down, for nobody rates twice",
            bypass=True,
        ),
        Declared(
            side="candidate",
            name=name,
            feature=part("Categorical", column=profile.candidate_id),
            encoder=code,
            why="fixed codes by which these are recognised",
            bypass=True,
        ),
    ]


def pushes_down(situation: Situation) -> bool:
    """Return whether low ratings are features."""
    profile = situation.profile
    rated = profile.feedback.kind == "ratings" and 1 - profile.feedback.share_liked >= LEAST
    return situation.task == "recommend" and situation.queries_return and rated and profile.num_candidates <= LARGEST


def shown_decision(situation: Situation) -> list[Decision]:
    """Return what the table of `init` shows of them."""
    if not pushes_down(situation):
        return []
    why = "nobody rates twice; the model pushes down what a query rated and did not like"
    return [Decision("low ratings", "a feature", why)]
