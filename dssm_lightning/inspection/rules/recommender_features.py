"""The features of a recommender: what a query liked before, when it asks, and the columns of both sides."""

from __future__ import annotations

from collections.abc import Iterator

from dssm_lightning.inspection.config_text import part
from dssm_lightning.inspection.profile import ColumnProfile
from dssm_lightning.inspection.rules.columns import TIME_BUCKETS, column_uses
from dssm_lightning.inspection.rules.decisions import ColumnUse, Declared, Features
from dssm_lightning.inspection.rules.histories import LARGE_TABLE, histories, id_decision, id_feature, knows_ids
from dssm_lightning.inspection.rules.shown_candidates import shown_candidates
from dssm_lightning.inspection.rules.situation import Situation
from dssm_lightning.inspection.rules.texts import readings_of, text_uses
from dssm_lightning.inspection.rules.towers import width_of
from dssm_lightning.utils.errors import UserError


def recommender_features(situation: Situation) -> Features:
    """Return features of a recommender: histories, and the columns of both sides.

    Raises:
        UserError: nothing is known of a query.
    """
    width = width_of(situation)
    uses = list(_columns(situation))
    content = [each for use in uses for each in use.features if each.side == "candidate"]
    others = [each for use in uses for each in use.features if each.side == "query"]
    ids = id_feature(situation, width, bool(content)) if knows_ids(situation, bool(content)) else None
    declared = histories(situation, width, None if ids is None else ids.name)
    timed = situation.queries_return and situation.has_time
    if timed and situation.profile.time is not None:
        declared.append(_time(situation.profile.time))
    declared += others
    if not declared:
        raise UserError(
            f"nothing is known of a query: {situation.profile.query_id!r} occurs once each, and no other column "
            "describes it; give a table of queries, or a column with the text that was asked"
        )
    declared += [] if ids is None else [ids]
    declared += content + shown_candidates(situation)
    decisions = [id_decision(situation, None if ids is None else ids.name, bool(content))]
    return Features(declared=declared, uses=uses, decisions=decisions, varies_by_event=timed)


def _columns(situation: Situation) -> Iterator[ColumnUse]:
    for side in ("query", "candidate"):
        for _, column in situation.columns(side):
            if column.kind == "text":
                readings = readings_of([column])[-1:]  # words, or letters where there are none
                large = True if readings[0].arguments["num_buckets"] >= LARGE_TABLE else None
                encoder = part("EmbeddingBag", output_dim=_text_width(column), sparse=large)
                yield from text_uses(situation, side, readings, encoder, column.name)
        yield from column_uses(situation, side, None)


def _text_width(column: ColumnProfile) -> int:
    return 32 if column.mean_words < 20 else 64


def _time(column: str) -> Declared:
    feature = part("Bucketized", column=column, num_buckets=TIME_BUCKETS)
    why = "the event's time: what was liked then; an answer for today gives today's time"
    encoder = part("Embedding", output_dim=32)
    return Declared(side="query", name="event_time", feature=feature, encoder=encoder, why=why)
