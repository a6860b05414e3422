"""What a query liked before: which histories a recommender reads, and whether it knows candidates by their ids."""

from __future__ import annotations

from typing import Any

from dssm_lightning.inspection.config_text import part
from dssm_lightning.inspection.rules.columns import feature_name
from dssm_lightning.inspection.rules.decisions import Decision, Declared
from dssm_lightning.inspection.rules.situation import Situation

LONGEST = 200
"""Entries of a history, at most: the newest."""
RECENT = 20
"""Entries of the recent history, of which the newest count most."""
LARGE_TABLE = 50_000
"""From this many rows on, a table is sparse: only the rows of a batch are updated."""
WARM, COLD = 5.0, 1.5
"""Likes of a candidate: from the first on its id is trusted; below the second it is not used."""
MOSTLY_NEW = 0.5
"""If a greater share of the candidates was never liked, the id is hidden half of the time."""


def knows_ids(situation: Situation, content: bool) -> bool:
    """Return whether candidates are known by their ids.

    Args:
        situation: the data.
        content: whether candidates have other features.
    """
    return not content or situation.likes_of_a_candidate >= COLD


def id_dropout(situation: Situation) -> float:
    """Return how often training hides the id of a candidate."""
    profile = situation.profile
    never = 1 - profile.num_liked_candidates / max(1, profile.num_candidates)
    return 0.5 if situation.likes_of_a_candidate < WARM or never > MOSTLY_NEW else 0.1


def id_feature(situation: Situation, width: int, content: bool) -> Declared:
    """Return the feature of the candidate's id."""
    profile = situation.profile
    large = True if profile.num_candidates >= LARGE_TABLE else None
    hidden = id_dropout(situation) if content else None
    return Declared(
        side="candidate",
        name=feature_name(profile.candidate_id),
        feature=part("Categorical", column=profile.candidate_id),
        encoder=part("Embedding", output_dim=width, id_dropout=hidden, sparse=large),
        why=_why_hidden(hidden),
    )


def _why_hidden(hidden: float | None) -> str:
    if hidden is None:
        return "nothing else is known of a candidate"
    return f"its id is hidden in {hidden:.0%} of the rows, so that the other columns are learnt for new candidates"


def histories(situation: Situation, width: int, ids: str | None) -> list[Declared]:
    """Return the histories of a query.

    Args:
        situation: the data.
        width: of the embedding.
        ids: the feature of the candidate's id; None = candidates are known by their content alone.
    """
    if not situation.queries_return:
        return []
    large = True if ids is not None and situation.profile.num_candidates >= LARGE_TABLE else None
    of = ids or "candidate"
    found = [_whole(of, width, large, timed=situation.has_time)]
    if situation.has_time:
        found.append(_recent(of, width, large))
    return found


def _whole(of: str, width: int, large: bool | None, timed: bool) -> Declared:
    order = "time" if timed and of == "candidate" else None
    feature = part("History", of=of, order=order, max_length=LONGEST, dropout=0.3 if timed else 0.5)
    encoder = part("EmbeddingBag", output_dim=width, pooling="mean", sparse=large)
    why = "all that was liked, without the target; a part is left out at random, against memorising"
    return Declared(side="query", name="history", feature=feature, encoder=encoder, why=why)


def _recent(of: str, width: int, large: bool | None) -> Declared:
    feature = part("History", of=of, order="time", max_length=RECENT)
    settings: dict[str, Any] = {"output_dim": width, "half_life": 5, "learnable": True, "pooling": "sum"}
    encoder = part("DecayedEmbeddingBag", **settings, sparse=large)
    why = "the last events before this one, of which the newest count most"
    return Declared(side="query", name="recent", feature=feature, encoder=encoder, why=why)


def id_decision(situation: Situation, ids: str | None, content: bool) -> Decision:
    """Return what the table of `init` shows of the ids."""
    likes = f"{situation.likes_of_a_candidate:.1f} likes for each candidate"
    if ids is None:
        return Decision("ids", "not used", f"{likes}: too few to learn from; candidates are known by their content")
    if not content:
        return Decision("ids", "used", "nothing else is known of a candidate")
    return Decision("ids", f"used, hidden in {id_dropout(situation):.0%} of the rows", likes)
