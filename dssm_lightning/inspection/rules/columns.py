"""Which feature reads which column, and which columns are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dssm_lightning.inspection.config_text import part
from dssm_lightning.inspection.profile import ColumnProfile
from dssm_lightning.inspection.rules.decisions import ColumnUse, Declared, Side
from dssm_lightning.inspection.rules.situation import Situation

FEW_NUMBERS = 12
"""Whole numbers of at most this many distinct values are categories, such as stars or a month."""
MOST_MISSING = 0.98
"""A column with a greater share of missing values is left out."""
LIKE_AN_ID = 0.5
"""A category with this many distinct values for each row, or more, tells nothing of other rows."""
FEW_ROWS = 50
"""Below this many rows, a category may differ in each row by chance."""
RARE = 1_000
"""A column with more categories than this learns those of five rows or more."""
MOST_FEATURES = 30
"""Columns of a side that become features; of wider tables the first ones."""
PICTURE_SIZE = 64
TIME_BUCKETS = 50
"""Parts of a time, with equally many rows each."""


def column_uses(situation: Situation, side: Side, width: int | None) -> Iterator[ColumnUse]:
    """Yield what becomes of each column of a side that is no text.

    Args:
        situation: the data.
        side: query or candidate.
        width: of every encoding, for a sum; None = by the column.
    """
    used = 0
    for table, column in situation.columns(side):
        if column.kind == "text":
            continue
        use = _left_out(column) or ("" if used < MOST_FEATURES else "left out: one of too many columns")
        if width is not None and column.kind in ("number", "time") and not _is_scale(column):
            use = "left out: texts do not ask for numbers"
        features = [] if use else [_declared(column, side, width, _name(column, situation))]
        used += len(features)
        shown = use or _shown(features[0])
        yield ColumnUse(table=table.role, column=column.name, kind=column.kind, use=shown, features=features)


def _left_out(column: ColumnProfile) -> str:
    """Return why a column tells nothing; "" = it does."""
    if column.kind in ("constant", "empty"):
        return f"left out: {column.kind}"
    if column.share_missing > MOST_MISSING:
        return f"left out: {column.share_missing:.0%} missing"
    if column.kind == "category" and column.rows >= FEW_ROWS and column.distinct > LIKE_AN_ID * column.rows:
        return "left out: nearly one value for each row"
    if column.kind == "picture" and column.unreadable and column.share_missing == 1:
        return "left out: no picture can be read"
    return ""


def _name(column: ColumnProfile, situation: Situation) -> str:
    """Return the name of a column's feature; a picture that is the id as well leaves its name to the id's feature."""
    profile = situation.profile
    if column.kind == "picture" and column.name in (profile.query_id, profile.candidate_id):
        return f"{feature_name(column.name)}_picture"
    return feature_name(column.name)


def _declared(column: ColumnProfile, side: Side, width: int | None, name: str) -> Declared:
    feature, encoder, why = _parts(column, width)
    feature["init_args"] = {"column": column.name, **feature.get("init_args", {})}
    return Declared(side=side, name=name, feature=feature, encoder=encoder, why=why, gives_way=True)


def feature_name(column: str) -> str:
    """Return a name for features of a column: they have only letters, digits, blanks, _ and -.

    Example:
        >>> feature_name("price.eur"), feature_name("size (cm)"), feature_name("title")
        ('price_eur', 'size _cm_', 'title')
    """
    return re.sub(r"[^\w -]", "_", column) or "column"


def _parts(column: ColumnProfile, width: int | None) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return the feature, the encoder and the reason for both."""
    if column.kind == "picture":
        picture = part("Image", size=PICTURE_SIZE, root=column.root, on_error="skip")
        return picture, part("ConvNet", output_dim=width or 64), "a picture that cannot be read counts as missing"
    if column.kind == "vector":
        return part("Vector"), part("Linear", output_dim=width or 64), "numbers of another model"
    if column.kind == "categories":
        known = part("CategoricalList", separator=column.separator, min_frequency=_rare(column))
        return known, part("EmbeddingBag", output_dim=width or 32), "the mean of its entries"
    if column.kind == "category" or column.kind == "truth" or _is_scale(column):
        known = part("Categorical", min_frequency=_rare(column))
        return known, part("Embedding", output_dim=width or small_width(column.distinct)), "a category"
    missing = "bucket" if column.missing else None
    if column.kind == "time":
        dates = part("Bucketized", num_buckets=min(TIME_BUCKETS, max(2, column.distinct)), missing=missing)
        return dates, part("Embedding", output_dim=width or 32), "in buckets, which meet those of the event's time"
    found = part("Bucketized", num_buckets=min(20, max(2, column.distinct)), missing=missing)
    return found, part("Embedding", output_dim=width or 16), "in buckets: its effect need not be a straight line"


def small_width(distinct: int) -> int:
    """Return the width of a table of categories: 8 for a few, 32 for hundreds.

    Example:
        >>> small_width(2), small_width(40), small_width(5000)
        (8, 16, 32)
    """
    return 8 if distinct <= 8 else 16 if distinct <= 100 else 32


def _is_scale(column: ColumnProfile) -> bool:
    return column.kind == "number" and column.is_whole and column.distinct <= FEW_NUMBERS


def _rare(column: ColumnProfile) -> int | None:
    return 5 if column.distinct > RARE else None


def _shown(declared: Declared) -> str:
    return str(declared.feature["class_path"])
