"""Events and judgements that have names, such as view and purchase, or Exact and Irrelevant."""

from __future__ import annotations

import re
from typing import Literal

import polars as pl

from dssm_lightning.inspection.profile import Feedback
from dssm_lightning.inspection.tables import words

_FEW_ROWS, _FEW_SHARE = 1_000, 0.01


def feedback_of(name: str, values: pl.Series) -> Feedback | None:
    """Return which names count as liked; None if no name is known.

    The names are compared with one value, as `Files(positive=…)` does: all but the one weak name, or the one strong
    name. If strong events are rare, every event counts: most queries have no other.

    Args:
        name: the column.
        values: (n,) names; null = missing.

    Example:
        >>> feedback_of("event", pl.Series(["view", "view", "cart", "purchase"])).positive
        'event != view'
        >>> feedback_of("label", pl.Series(["Exact", "Irrelevant", "Partial", "Partial"])).positive
        'label != Irrelevant'
    """
    filled = values.drop_nulls().cast(pl.String)
    counts = {str(value): int(count) for value, count in filled.value_counts().rows()}
    total = sum(counts.values())
    strong = [value for value in counts if _has(value, words.STRONG) and not _has(value, words.WEAK)]
    weak = [value for value in counts if _has(value, words.WEAK)]
    if not strong and not weak:
        return None
    rules = _rules(name, counts, strong, weak)
    if not rules:
        shown = ", ".join(f"{value} {count / total:.0%}" for value, count in sorted(counts.items()))
        return Feedback(kind="events", column=name, note=f"{name} is {shown}: every row counts as liked")
    rule, liked = min(rules, key=lambda each: _distance(each[1] / total))
    shown = ", ".join(
        f"{value} {count / total:.1%}" for value, count in sorted(counts.items(), key=lambda each: -each[1])
    )
    if liked < _FEW_ROWS and liked / total < _FEW_SHARE:
        note = f"{name} is {shown}: the strong ones are so few that every row counts as liked; {rule} is stricter"
        return Feedback(kind="events", column=name, note=note)
    others = [each for each, _ in rules if each != rule]
    note = f"{name} is {shown}" + (f"; also possible: {', '.join(others)}" if others else "")
    return Feedback(kind=_kind(counts), column=name, positive=rule, share_liked=liked / total, note=note)


def _rules(name: str, counts: dict[str, int], strong: list[str], weak: list[str]) -> list[tuple[str, int]]:
    total = sum(counts.values())
    rules = []
    if len(weak) == 1 and len(counts) > 1:
        rules.append((f"{name} != {_quoted(weak[0])}", total - counts[weak[0]]))
    if len(strong) == 1 and len(counts) > 1:
        rules.append((f"{name} == {_quoted(strong[0])}", counts[strong[0]]))
    if weak and not rules:
        worst = [value for value in weak if _has(value, words.WORST)]
        rules = [(f"{name} == {_quoted(value)}", counts[value]) for value in strong]
        rules += [(f"{name} != {_quoted(value)}", total - counts[value]) for value in worst[:1] if not strong]
    if len(weak) == 1 and not _has(weak[0], words.WORST):
        return rules[:1]  # events, of which each but the weak one counts
    return rules


def _kind(counts: dict[str, int]) -> Literal["labels", "events"]:
    return "labels" if len(counts) == 2 and any(_has(value, words.WORST) for value in counts) else "events"


def _distance(share: float) -> float:
    return max(0.0, 0.25 - share, share - 0.75)


def _has(value: str, known: set[str]) -> bool:
    return bool(known & {value.lower(), *re.findall(r"[a-z]+", value.lower())})


def _quoted(value: str) -> str:
    return f"'{value}'" if re.fullmatch(r"[+-]?[\d.]+", value) or value[:1] in "<>=!'\"" else value
