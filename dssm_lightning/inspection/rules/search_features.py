"""The features of a search: texts, whose tables both sides share, and categories beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dssm_lightning.inspection.config_text import part
from dssm_lightning.inspection.rules.columns import column_uses
from dssm_lightning.inspection.rules.decisions import ColumnUse, Declared, Features, Side
from dssm_lightning.inspection.rules.few_pairs import begins_as_bm25, bm25_decision, candidate_bag, query_bag
from dssm_lightning.inspection.rules.histories import id_decision, id_feature, knows_ids
from dssm_lightning.inspection.rules.situation import Situation
from dssm_lightning.inspection.rules.texts import Reading, pooling_of, readings_of, table_decision, terms_of, text_uses
from dssm_lightning.inspection.rules.towers import width_of

MOST_TEXTS = 3
"""Texts of a candidate that are read beside each other: the longest ones."""
SIDES: tuple[Side, Side] = ("query", "candidate")


def search_features(situation: Situation) -> Features:
    """Return features of equal widths, whose encodings are added."""
    if begins_as_bm25(situation):
        return _bm25(situation)
    width = width_of(situation)
    texts = [*situation.query_texts, *situation.candidate_texts]
    readings = readings_of(texts)
    encoder = part("EmbeddingBag", output_dim=width, pooling=pooling_of(texts), sparse=True)
    uses: list[ColumnUse] = []
    for side in SIDES:
        uses += text_uses(situation, side, readings, encoder)
        uses += column_uses(situation, side, width)
    declared = _tied([each for use in uses for each in use.features], readings)
    decisions = [table_decision(readings, shared=bool(situation.query_texts and situation.candidate_texts))]
    content = any(each.side == "candidate" for each in declared)
    if not situation.candidate_texts:
        ids = id_feature(situation, width, content) if knows_ids(situation, content) else None
        declared += [] if ids is None else [ids]
        decisions.append(id_decision(situation, None if ids is None else ids.name, content))
    return Features(declared=declared, uses=uses, decisions=decisions)


def _bm25(situation: Situation) -> Features:
    """Return texts alone, whose scores begin as those of BM25: queries read the table of each text of a candidate.

    The directions of two tables are independent, so that the scores of the texts are added up.
    """
    reading = terms_of([*situation.query_texts, *situation.candidate_texts])
    longest = sorted(situation.candidate_texts, key=lambda column: -column.mean_words * column.distinct)[:MOST_TEXTS]
    uses: list[ColumnUse] = []
    for text in [column for column in situation.candidate_texts if column in longest]:
        counted = replace(reading, arguments={**reading.arguments, "count_texts": True})
        uses += text_uses(situation, "candidate", [counted], candidate_bag(), text.name)
    owners = [each.name for use in uses for each in use.features]
    for text in situation.query_texts:
        read = [
            replace(reading, suffix=reading.suffix if len(owners) == 1 else f"in_{owner}", tied=owner)
            for owner in owners
        ]
        uses += text_uses(situation, "query", read, query_bag(), text.name)
    uses += [_alone(use) for side in SIDES for use in column_uses(situation, side, width_of(situation))]
    declared = [each for use in uses for each in use.features]
    decisions = [table_decision([reading], shared=True), bm25_decision(situation)]
    return Features(declared=declared, uses=uses, decisions=decisions)


def _alone(use: ColumnUse) -> ColumnUse:
    return replace(use, use="left out: with few pairs only the texts are read", features=[]) if use.features else use


def _tied(features: list[Declared], readings: Sequence[Reading]) -> list[Declared]:
    """Let all texts share one table for each reading: that of the first candidate's text, else of the query's."""
    found = list(features)
    for reading in readings:
        same = [each for each in features if each.name.endswith(f"_{reading.suffix}")]
        same = [each for each in same if each.feature["class_path"] == reading.class_path]
        owner = next((each for each in same if each.side == "candidate"), same[0] if same else None)
        for each in same:
            if owner is not None and each is not owner:
                found[features.index(each)] = replace(each, tied=owner.name)
    return found
