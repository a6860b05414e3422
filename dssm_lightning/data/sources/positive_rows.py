"""Which rows are liked, as a comparison of a column with a value: ``rating >= 7``."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import Any

import polars as pl

from dssm_lightning.data.sources.value_types import as_numbers
from dssm_lightning.data.tables import checks
from dssm_lightning.utils.errors import UserError

_OPERATORS = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_RULE = re.compile(rf"\s*(?P<column>.*?\S)\s*(?P<sign>{'|'.join(_OPERATORS)})\s*(?P<value>\S.*?)\s*", re.DOTALL)
_QUOTED = re.compile(r"(['\"])(.*)\1", re.DOTALL)


@dataclass(frozen=True)
class PositiveRows:
    """A comparison ``column sign value``. It is parsed, never evaluated as code.

    A value that is written as a number is compared with numbers. Any other value, and a value in quotation marks, is
    compared with text, for which only ``==`` and ``!=`` are possible.

    Example:
        >>> events = pl.DataFrame({"rating": ["9", "6.5", "7"], "event": ["buy", "view", "buy"]})
        >>> PositiveRows.parse("rating >= 7").of(events).to_list(), PositiveRows.parse("event == buy").of(events)[1]
        ([1, 0, 1], 0)
    """

    column: str
    sign: str
    value: float | str
    setting: str = "positive"
    """The setting that has the comparison, for messages."""

    @classmethod
    def is_rule(cls, text: str) -> bool:
        """Return whether a text has a sign of a comparison."""
        return any(sign in text for sign in _OPERATORS)

    @classmethod
    def parse(cls, rule: str, setting: str = "positive") -> PositiveRows:
        """Read a comparison of a setting.

        Raises:
            UserError: the text is no comparison; an order of texts.
        """
        found = _RULE.fullmatch(rule) if isinstance(rule, str) else None
        if found is None or found["value"][0] in "<>=!":
            raise UserError(
                f"{setting} is {rule!r}; it must be a column, one of {', '.join(_OPERATORS)}, and a value, such as "
                "'rating >= 7' or 'event == purchase'"
            )
        quoted = _QUOTED.fullmatch(found["value"])
        value: float | str = quoted[2] if quoted else found["value"]
        if not quoted and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", found["value"]):
            value = float(found["value"])
        if isinstance(value, str) and found["sign"] not in ("==", "!="):
            raise UserError(f"{setting} is {rule!r}; a text can only be compared by == and !=")
        return cls(found["column"], found["sign"], value, setting)

    @property
    def name(self) -> str:
        """The name of the column of labels."""
        value = f"{self.value:g}" if isinstance(self.value, float) else repr(self.value)
        return f"{self.column} {self.sign} {value}"

    def of(self, interactions: pl.DataFrame) -> pl.Series:
        """Return 1 for each row for which the comparison holds, else 0, (R,) Int8.

        Raises:
            UserError: no such column; a value that is missing, or that is no number.
        """
        checks.columns(interactions, "interactions", [self.column], f"{self.setting} {self.name!r}: column")
        column = interactions[self.column]
        about = f"{self.setting} {self.name!r}: column {self.column!r}"
        if isinstance(self.value, float):
            column = as_numbers(column, about)
            if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
                raise UserError(f"{about} is {column.dtype}; a number can only be compared with numbers")
            column = column.cast(pl.Float64).fill_nan(None)
        elif column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
            raise UserError(f"{about} is {column.dtype}; a text can only be compared with single values")
        else:
            column = column.cast(pl.String)
        if missing := column.null_count():
            row = column.is_null().arg_max()
            raise UserError(
                f"{about} is missing in {missing:,} of {len(column):,} rows, first in row {row} (counted from 0); drop "
                "these rows, or give them a value"
            )
        compare: Any = _OPERATORS[self.sign]
        found: pl.Series = compare(column, self.value).cast(pl.Int8)
        return found.alias(self.name)
