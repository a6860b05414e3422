"""The grammar of filters, read by lark."""

from __future__ import annotations

import ast
import math
from functools import cache
from typing import TYPE_CHECKING, Any

from dssm_lightning.retrieval.filters.conditions import And, Compare, Condition, Filter, Not, Or, Value
from dssm_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

GRAMMAR = r"""
?start: either
?either: both ("or"i both)*
?both: unit ("and"i unit)*
?unit: "not"i unit -> negated
     | "(" either ")"
     | column OPERATOR value -> compared
     | column "in"i "(" value ("," value)* ")" -> listed
     | column "not"i "in"i "(" value ("," value)* ")" -> not_listed
     | column -> is_true
column: NAME | QUOTED
value: NUMBER | TEXT | TRUE | FALSE | NULL
TRUE.2: /true\b/i
FALSE.2: /false\b/i
NULL.2: /null\b/i
OPERATOR: "<=" | ">=" | "!=" | "=" | "<" | ">"
NUMBER: /[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?(?!\w)/i
TEXT: /'([^'\\]|\\.)*'|"([^"\\]|\\.)*"/s
QUOTED: /`[^`]+`/
NAME: /[^\W\d]\w*/
%ignore /\s+/
"""
MOST_TERMS, DEEPEST, LONGEST = 10_000, 50, 1_000_000
"""Columns and values of a filter, levels of ``(`` and ``not``, and characters: more are refused."""
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_TERMS = {"NUMBER", "TEXT", "TRUE", "FALSE", "NULL", "NAME", "QUOTED"}


def parse_filter(text: str) -> Filter:
    r"""Parse a filter.

    - ``year > 1990``: ``=``, ``!=``, ``<``, ``<=``, ``>`` or ``>=``, with a number or a text;
    - ``genre in ('Drama', "War")``: one of these values; ``not in``: none of them;
    - ``seen``, ``not seen``: a column of truth values; also ``seen = true``;
    - ``year = null``: the value is missing;
    - ``and``, ``or``, ``not`` and brackets: ``not`` binds closest, then ``and``, then ``or``;
    - ```release year` = 1990``: a name with other characters than letters, digits and ``_``.

    Texts stand in ``'…'`` or ``"…"``; ``\\``, ``\'``, ``\"``, ``\n``, ``\t``, ``\r`` and ``\u00e9`` are escapes.
    On a column of lists, ``genre = 'Drama'`` and the other comparisons hold if one value of the list fits. A missing
    value, or an empty list, fits nothing but ``null``. ``x != 1`` means ``not x = 1``, and thus holds for missing
    values.

    Args:
        text: the filter.

    Raises:
        UserError: the text is no filter; the message has the position. More than 10,000 columns and values, or more
            than 50 levels.

    Example:
        >>> kept = parse_filter("genre = 'War' or year >= 2000 and not seen")
        >>> columns = {"genre": [["War"], ["Drama"], []], "year": [1980, 2001, 2002], "seen": [False, False, True]}
        >>> kept.mask(columns).tolist()
        [True, True, False]
        >>> parse_filter("year > > 1990")
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: filter, character 8: '>' is unexpected here: year > ▸> 1990
    """
    if not isinstance(text, str):
        raise UserError(f"filter is {type(text).__name__}; it must be a text such as year > 1990")
    if len(text) > LONGEST:
        raise UserError(f"filter has {len(text):,} characters; at most {LONGEST:,} are possible")
    return Filter(text, _condition(_parsed(text)))


def _parsed(text: str) -> Tree[Token]:
    from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

    try:
        _require_small(text)
        return _parser().parse(text)
    except UnexpectedToken as error:
        if error.token.type == "$END":
            raise _unexpected(text, len(text), "") from error
        place = error.token.start_pos or 0
        raise _unexpected(text, place, str(error.token)) from error
    except UnexpectedCharacters as error:
        place = error.pos_in_stream or 0
        if text[place] in "'\"`":
            raise UserError(f"filter, character {place + 1}: the quote is not closed: {_shown(text, place)}") from error
        raise _unexpected(text, place, text[place]) from error
    except UnexpectedInput as error:
        raise UserError(f"filter: {_shown(text, 0)} is no filter") from error


def _unexpected(text: str, place: int, found: str) -> UserError:
    what = "the end" if not found else repr(found if len(found) <= 30 else found[:29] + "…")
    return UserError(f"filter, character {place + 1}: {what} is unexpected here: {_shown(text, place)}")


def _require_small(text: str) -> None:
    """Refuse too many terms and too many levels, before anything is built of them."""
    terms, levels, nots, open_nots = 0, 0, 0, []
    for token in _parser().lex(text):
        if token.type in _TERMS:
            terms, nots = terms + 1, 0
            if terms > MOST_TERMS:
                raise UserError(f"filter has more than {MOST_TERMS:,} columns and values")
        elif token.type == "NOT":
            nots += 1
        elif token.type == "LPAR":
            open_nots.append(nots)
            levels, nots = levels + 1 + nots, 0
        elif token.type == "RPAR" and open_nots:
            levels -= 1 + open_nots.pop()
        if levels + nots > DEEPEST:
            raise UserError(f"filter, character {(token.start_pos or 0) + 1}: more than {DEEPEST} levels of ( and not")


@cache
def _parser() -> Lark:
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", lexer="basic", maybe_placeholders=False)


def _condition(tree: Any) -> Condition:
    kind, parts = str(tree.data), tree.children
    if kind in ("either", "both"):
        return (Or if kind == "either" else And)(tuple(_condition(part) for part in parts))
    if kind == "negated":
        return Not(_condition(parts[0]))
    column = str(parts[0].children[0]).strip("`")
    if kind == "is_true":
        return Compare(column, "=", (True,), bare=True)
    if kind == "compared":
        operator, value = str(parts[1]), _value(parts[2].children[0])
        equal = Compare(column, "=" if operator == "!=" else operator, (value,))
        return Not(equal) if operator == "!=" else equal
    listed = Compare(column, "=", tuple(_value(part.children[0]) for part in parts[1:]))
    return Not(listed) if kind == "not_listed" else listed


def _value(token: Token) -> Value:
    if token.type == "TEXT":
        return _unescaped(token)
    if token.type != "NUMBER":
        return {"TRUE": True, "FALSE": False, "NULL": None}[token.type]
    try:
        number: Value = ast.literal_eval(token) if set(token) & set(".eE") else int(token)
    except (ValueError, SyntaxError, MemoryError) as error:  # int of more than 4,300 digits
        raise UserError(f"filter, character {(token.start_pos or 0) + 1}: the number is too long") from error
    if isinstance(number, float) and not math.isfinite(number):
        raise UserError(f"filter, character {(token.start_pos or 0) + 1}: {token} is too great for a number")
    return number


def _unescaped(token: Token) -> str:
    parts, rest = [], str(token)[1:-1]
    while "\\" in rest:
        before, _, rest = rest.partition("\\")
        escape, rest = rest[0], rest[1:]
        if escape == "u":
            digits, rest = rest[:4], rest[4:]
            try:
                escape = chr(int(digits, 16)) if len(digits) == 4 and digits.isalnum() else ""
            except ValueError:
                escape = ""
            escape = "" if "\ud800" <= escape <= "\udfff" else escape  # half of a character
        elif escape in _ESCAPES:
            escape = _ESCAPES[escape]
        elif escape not in "\\'\"":
            escape = ""
        if not escape:
            place = (token.start_pos or 0) + 1
            raise UserError(
                f"filter, character {place}: the text {token[:30]} has an unknown escape; for \\ write \\\\"
            )
        parts += [before, escape]
    return "".join([*parts, rest])


def _shown(text: str, place: int) -> str:
    """The filter around a place, which ▸ marks, in one line."""
    start, end = max(0, place - 30), place + 30
    marked = ("…" if start else "") + text[start:place] + "▸" + text[place:end] + ("…" if end < len(text) else "")
    return " ".join(marked.split())
