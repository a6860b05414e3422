"""Whether the first line of a table has the names of its columns, and names for a table without them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dssm_lightning.inspection.profile import ColumnProfile, Role
from dssm_lightning.inspection.tables import words

_VALUE = re.compile(
    r"[+-]?(\d+([.,]\d*)?|\.\d+)([eE][+-]?\d+)?|\d{4}-\d\d-\d\d.*|\d{1,2}[./-]\w{1,3}[./-]\d{2,4}.*"
    r"|true|false|https?://.*|\S+\.(png|jpe?g|gif|webp)|\[.*\]|\{.*\}",
    re.IGNORECASE | re.DOTALL,
)
_FEW = 10
_NAME = re.compile(r"[^\W\d][\w .:/()#%-]{0,59}")
_KNOWN = (
    {*words.QUERY, *words.CANDIDATE, *words.KEYS, *words.TIME, *words.LABEL, *words.RATING, *words.GRADE}
    | words.WEIGHT
    | words.FOLD
    | {
        "genre",
        "genres",
        "price",
        "year",
        "age",
        "gender",
        "sex",
        "city",
        "country",
        "language",
        "tag",
        "tags",
        "color",
    }
)


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first of some rows has names.

    Example:
        >>> has_header([["user", "film"], ["1", "7"]]), has_header([["1", "1193"], ["1", "661"]])
        (True, False)
        >>> has_header([["red shoes", "Shoe, red, 42"], ["red shoes", "Sneaker"], ["hat", "Straw hat"]])
        False
    """
    first, size = [field.strip() for field in rows[0]], len(rows[0])
    while first and not first[-1] and not any("".join(row[len(first) - 1 :]).strip() for row in rows[1:]):
        first.pop()  # a separator at the end of lines
    rest = [row[: len(first)] for row in rows[1:] if len(row) in (size, len(first))]
    strange = any(not field for field in first[1:]) or len(set(first)) < len(first)
    values = [bool(_VALUE.fullmatch(field)) for field in first]
    if any(values):
        numbered = sum(values) < len(values) and _are_numbered(first)
        return numbered and not strange and not all(map(_is_value, zip(*rest, strict=False)))
    columns = [list(column) for column in zip(*rest, strict=False)]
    if any(_is_value(column) for name, column in zip(first, columns, strict=False) if name or not strange):
        return True
    if strange or not columns:
        return not strange
    if any(name in column for name, column in zip(first, columns, strict=True)):
        return False  # the value occurs again
    known = [bool(set(words.words_of(name)) & _KNOWN) or name.lower() in _KNOWN for name in first]
    named = [bool(_NAME.fullmatch(field)) and len(field.split()) <= 4 for field in first if field]
    if not all(named):
        return False
    if sum(known) * 2 >= len(known):
        return True
    return any("_" in name for name in first) or _are_shorter(first, columns)


def _are_numbered(first: Sequence[str]) -> bool:
    """Return whether the numbers of the first line count columns, such as the parts of a vector."""
    numbers = [field for field in first if _VALUE.fullmatch(field)]
    return len(numbers) > 2 and numbers in (
        [str(number) for number in range(start, start + len(numbers))] for start in (0, 1)
    )


def _is_value(column: Sequence[str]) -> bool:
    filled = [field.strip() for field in column if field.strip()]
    return bool(filled) and sum(bool(_VALUE.fullmatch(field)) for field in filled) >= 0.9 * len(filled)


def _are_shorter(first: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
    """Return whether names stand above texts that are much longer."""
    return any(
        sum(map(len, column)) / len(column) > 2 * len(name) + 10 for name, column in zip(first, columns, strict=True)
    )


def proposed_names(columns: Sequence[ColumnProfile], role: Role) -> list[str]:
    """Return names for columns without any, by their kinds and order.

    The first two columns of ids of the interactions, or else of texts, are the query and the candidate.
    """
    names = _names_of_events(columns) if role == "interactions" else _names_of_side(columns, role)
    found: list[str] = []
    for name in names:
        number = 1 + sum(re.fullmatch(rf"{re.escape(name)}(_\d+)?", each) is not None for each in found)
        found.append(name if number == 1 else f"{name}_{number}")
    return found


def _names_of_events(columns: Sequence[ColumnProfile]) -> list[str]:
    possible = [each for each in columns if _can_be_id(each)]
    parts = [each for each in possible if not _is_like_a_rating(each)]
    parts = possible if len(parts) < 2 else parts
    several = [each for each in parts if each.kind != "category" or each.distinct > _FEW or each.rows < 50]
    if len(several) < 2 <= len(several) + sum(each.kind == "text" for each in columns):
        parts = several  # names of events, beside a text that is the other side
    texts = [each for each in columns if each.kind == "text"]
    if len(parts) < 2 <= len(texts) + len(parts):
        chosen = {each.name for each in [*parts, *texts][:2]}
        parts = [each for each in columns if each.name in chosen]
    keys = [each.name for each in parts[:2]]
    whole = max((each.distinct for each in columns), default=0)
    names = []
    for each in columns:
        known = {example.lower() for example in each.examples} & (words.STRONG | words.WEAK)
        if each.name in keys:
            side = "query" if each.name == keys[0] else "candidate"
            names.append(side if each.kind == "text" else f"{side}_id")
        elif each.kind == "category" and each.distinct <= _FEW and known:
            names.append("event")
        elif each.kind == "number" and 1 < each.distinct <= 101 and "rating" not in names and each.distinct < whole:
            names.append("rating" if (each.greatest or 0) > 3 or (each.least or 0) < 0 else "label")
        else:
            names.append({"truth": "label", "text": "text", "constant": "constant"}.get(each.kind, each.kind))
    if len(columns) == 4 and columns[1].kind == "constant" and names[3] in ("rating", "label"):
        return [names[0], "iteration", names[2], "relevance"]  # the judgements of TREC
    return names


def _can_be_id(column: ColumnProfile) -> bool:
    whole = column.kind == "number" and column.is_whole and (column.least or 0) >= 0
    return whole or column.kind == "category"


def _is_like_a_rating(column: ColumnProfile) -> bool:
    few = column.kind == "number" and column.distinct <= 11
    return few and (column.greatest or 0) <= 10 and column.rows > 20


def _names_of_side(columns: Sequence[ColumnProfile], role: Role) -> list[str]:
    side = "query" if role == "queries" else "candidate"
    unique = [each for each in columns if each.distinct == each.rows - each.missing and not each.missing]
    key = next((each for each in unique if _can_be_id(each)), unique[0] if unique else columns[0])
    names = []
    for each in columns:
        if each is key:
            names.append(f"{side}_id")
        elif each.kind == "text" or (each.kind == "category" and each.distinct > 0.9 * each.rows):
            names.append("title" if side == "candidate" else "text")
        else:
            names.append(each.kind)
    return names
