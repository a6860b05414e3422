"""What the interactions say about likes: labels, ratings, names of events, grades, or nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Literal

import polars as pl

from dssm_lightning.data.sources.positive_rows import PositiveRows
from dssm_lightning.inspection.profile import Feedback
from dssm_lightning.inspection.tables import named_events, words
from dssm_lightning.inspection.tables.event_columns import side_of
from dssm_lightning.inspection.tables.keys import Key, require_column
from dssm_lightning.inspection.tables.kinds import Column
from dssm_lightning.inspection.tables.loading import Table
from dssm_lightning.utils.errors import UserError

LEAST, MOST = -10.0, 100.0
"""Ratings lie between these numbers; greater ones count something."""
FEWEST_LIKED, MOST_LIKED = 0.25, 0.70
"""The share of ratings that should count as liked."""
FEWEST_FLAGGED = 0.001
"""The least share of ones in a column that may be a label."""
_MEANS = {"average", "avg", "mean", "count", "num", "number", "total", "predicted", "prediction"}


def find_feedback(
    events: Table, keys: Collection[Key], taken: Collection[str | None], label: str | None, positive: str | None
) -> Feedback:
    """Return what counts as liked.

    Args:
        events: the interactions.
        keys: the columns of ids.
        taken: columns that have another part.
        label: the column that the user named.
        positive: the comparison that the user gave.

    Raises:
        UserError: ratings on an unknown scale; a column from which no likes can be read; no liked row.
    """
    if positive is not None:
        return _given(events, positive)
    require_column("label", label, events)
    own = [name for name in events.columns if name not in taken] if label is None else [label]
    own = [name for name in own if label is not None or not (side_of(events, name, keys) or _is_mean(name))]
    for find in (_labels, _grades, _named, _ratings):
        for name in own:
            found = find(events, name, events.columns[name], label is not None)
            if found is not None:
                return _with_others(events, _checked(events, found), own)
    flag = None if label is not None else _flag(events, own)
    if flag is not None:
        return flag
    if label is not None:
        profile = events.columns[label].profile
        raise UserError(
            f"label is {label!r}, which holds {profile.kind}, such as {', '.join(profile.examples)}: say what counts "
            f"as liked by `positive`, such as '{label} == {profile.examples[0] if profile.examples else 1}'"
        )
    return Feedback(kind="likes", note="no column says what was liked: every row counts as liked")


def _is_mean(name: str) -> bool:
    return bool(_MEANS & set(words.words_of(name)))


def _given(events: Table, positive: str) -> Feedback:
    rule = PositiveRows.parse(positive)
    require_column(f"the column of positive {positive!r}", rule.column, events)
    frame = events.frame.select(rule.column).drop_nulls()
    share = float(str(rule.of(frame).mean() or 0))
    profile = events.columns[rule.column].profile
    numbers = profile.kind in ("number", "truth", "constant") and profile.least is not None
    kind: Literal["events", "labels", "ratings"] = (
        "events" if not numbers else "labels" if profile.distinct <= 2 else "ratings"
    )
    return _checked(
        events, Feedback(kind=kind, column=rule.column, positive=positive, share_liked=share, note="as given")
    )


def _checked(events: Table, found: Feedback) -> Feedback:
    if found.share_liked <= 0:
        held = ", ".join(events.columns[found.column].profile.examples) if found.column else ""
        raise UserError(
            f"{events.shown}: no row is liked: column {found.column!r} ({found.positive or '1 is liked'}) holds "
            f"{held}; say what counts as liked by `positive`, such as 'rating >= 4'"
        )
    return found


def _with_others(events: Table, found: Feedback, own: Sequence[str]) -> Feedback:
    """Name the other columns of 1 and 0 that say what was liked, such as purchases beside clicks."""
    others = [name for name in own if name != found.column and words.has_word(name, words.LABEL)]
    others = [name for name in others if _is_flag(events.columns[name])]
    if not others:
        return found
    named = ", ".join(others)
    note = f"{named} could be learned as well: `data.objectives`, docs/how-to/several-objectives.md"
    return replace(found, note=f"{found.note}; {note}")


def _labels(events: Table, name: str, column: Column, given: bool) -> Feedback | None:
    """Return labels of two values."""
    profile, values = column.profile, column.values
    if not (given or words.has_word(name, words.LABEL | words.GRADE)) or profile.kind not in (
        "truth",
        "number",
        "constant",
    ):
        return None
    if profile.least is None or profile.distinct > 2:
        return None
    if profile.kind == "truth":
        share = float(str(values.mean() or 0))
        return Feedback(
            kind="labels", column=name, share_liked=share, note=f"{name}: 1 is liked, 0 was shown and not liked"
        )
    greatest = float(profile.greatest or 0)
    if profile.distinct == 2:
        rule = f"{name} >= {greatest:g}"
        share = float(str((values >= greatest).mean() or 0))
        return Feedback(
            kind="labels",
            column=name,
            positive=rule,
            share_liked=share,
            note=f"{name} is {profile.least:g} or {greatest:g}",
        )
    if greatest <= 0:
        return Feedback(kind="labels", column=name, share_liked=0.0)
    return Feedback(kind="likes", note=f"{name} is {greatest:g} in each row: every row counts as liked")


def _flag(events: Table, names: Sequence[str]) -> Feedback | None:
    """Return the only column of 0 and 1 as labels, although its name does not say that it is one."""
    flags = [name for name in names if _is_flag(events.columns[name]) and not words.has_word(name, words.CONTEXT)]
    if len(flags) != 1:
        return None
    name = flags[0]
    share = float(str((events.columns[name].values.cast(pl.Float64) > 0).mean() or 0))
    if not FEWEST_FLAGGED <= share <= MOST_LIKED:
        return None
    note = f"{name} is 0 or 1: a guess that 1 is liked; if it is not, say so by `positive`"
    rule = None if events.columns[name].profile.kind == "truth" else f"{name} >= 1"
    return Feedback(kind="labels", column=name, positive=rule, share_liked=share, note=note)


def _is_flag(column: Column) -> bool:
    profile = column.profile
    values = profile.kind == "truth" or (profile.kind == "number" and (profile.least, profile.greatest) == (0.0, 1.0))
    return values and profile.distinct == 2 and not profile.missing


def _grades(events: Table, name: str, column: Column, given: bool) -> Feedback | None:
    """Return grades of relevance: whole numbers from 0 on."""
    profile, values = column.profile, column.values
    named = words.has_word(name, words.GRADE | {"label"})
    whole = (
        profile.kind == "number" and profile.is_whole and (profile.least or 0) >= 0 and (profile.greatest or 0) <= 10
    )
    if not named or not whole or words.has_word(name, words.RATING):
        return None
    share = float(str((values >= 1).mean() or 0))
    rule = f"{name} >= 1" if (profile.least or 0) < 1 else None
    note = f"grades {profile.least:g} to {profile.greatest:g}; 1 and more is liked, a greater grade is a greater gain"
    return Feedback(kind="grades", column=name, positive=rule, share_liked=share, note=note)


def _named(events: Table, name: str, column: Column, given: bool) -> Feedback | None:
    """Return events, or judgements, by their names."""
    if column.profile.kind != "category" or column.profile.distinct > 50:
        return None
    if not (given or words.has_word(name, words.EVENT | words.LABEL | words.GRADE)):
        return None
    return named_events.feedback_of(name, column.values)


def _ratings(events: Table, name: str, column: Column, given: bool) -> Feedback | None:
    """Return ratings on a scale, and the threshold from which about half of them are likes."""
    profile = column.profile
    if not (given or words.has_word(name, words.RATING | words.GRADE | {"label"})):
        return None
    if profile.kind not in ("number", "truth") or profile.least is None or profile.greatest is None:
        return None
    if profile.least < LEAST or profile.greatest > MOST:
        middle = float(str(column.values.median()))
        raise UserError(
            f"{events.shown}: column {name!r} holds numbers from {profile.least:g} to {profile.greatest:g}, which is "
            f"no known scale of ratings (from {LEAST:g} to {MOST:g}); say what counts as liked by `positive`, such as "
            f"'{name} >= {middle:g}' (the median)"
        )
    if profile.distinct < 2:
        return Feedback(kind="likes", note=f"{name} is {profile.least:g} where it has a value: every row is liked")
    values = column.values.drop_nulls()
    threshold, share = _threshold(values)
    scale = f"{name} holds {profile.least:g} to {profile.greatest:g}"
    note = f"{scale}; {share:.0%} are {threshold:g} or more and count as liked: a proposal from the data"
    if not FEWEST_LIKED <= share <= MOST_LIKED:
        note += f" (no threshold gives {FEWEST_LIKED:.0%} to {MOST_LIKED:.0%})"
    return Feedback(kind="ratings", column=name, positive=f"{name} >= {threshold:g}", share_liked=share, note=note)


def _threshold(values: pl.Series) -> tuple[float, float]:
    """Return the rating from which a row is liked, and the share of such rows.

    Example:
        >>> _threshold(pl.Series([1.0, 2.0, 3.0, 3.0, 4.0, 4.0, 4.0, 5.0]))
        (4.0, 0.5)
    """
    distinct = values.unique().sort()
    steps: Sequence[float] = distinct.to_list()[1:]
    if len(distinct) > 101:
        quantiles = (float(str(values.quantile(share / 20))) for share in range(6, 15))
        steps = [float(f"{value:.2g}") for value in quantiles]
    shares = {float(step): float(str((values >= step).mean() or 0)) for step in steps}

    def distance(step: float) -> tuple[float, float]:
        share = shares[step]
        return max(0.0, FEWEST_LIKED - share, share - MOST_LIKED), abs(share - 0.5)

    best = min(shares, key=distance)
    return best, shares[best]
