"""The separator and the quotation marks of a delimited text, found by the lines that have the same number of fields."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dssm_lightning.data.sources.file_formats import Format

SEPARATORS = ("\t", "::", "|||", "||", " ||| ", "\x01", "\x1f", ";", "|", ",", "^", "~", "¦")
"""The separators that are tried, apart from a blank. Of those that fit equally well, the first one is taken."""
LEAST_SHARE = 0.9
"""The least share of lines with the same number of fields, for a separator to be the one."""
_USUAL: dict[Format, str] = {"CSV": ",", "TSV": "\t"}
_MARK = "\x00"


@dataclass(frozen=True)
class Fields:
    """A text, divided into rows and fields in one way.

    Example:
        >>> Fields.of('1,"Heat, again"\\n2,Up', ",", quoted=True).rows
        [['1', 'Heat, again'], ['2', 'Up']]
    """

    separator: str
    quoted: bool
    rows: list[list[str]]
    enclosed: int = 0
    """Number of fields that quotation marks enclose."""

    @classmethod
    def of(cls, text: str, separator: str, quoted: bool) -> Fields:
        """Divide a text."""
        kept: list[str] = []

        def keep(match: re.Match[str]) -> str:
            kept.append(match[1].replace('""', '"'))
            return f"{_MARK}{len(kept) - 1}{_MARK}"

        if quoted:
            start = rf"(?:(?<=^)|(?<=\n)|(?<={re.escape(separator)}))"
            text = re.sub(rf'{start}"((?:[^"]|"")*)"(?={re.escape(separator)}|\r?\n|\r?$)', keep, text)
        rows = [line.removesuffix("\r").split(separator) for line in text.split("\n") if line.strip("\r ")]
        if kept:
            rows = [[_restored(field, kept) for field in row] for row in rows]
        return cls(separator, quoted, rows, len(kept))

    @property
    def width(self) -> int:
        """The most frequent number of fields."""
        return Counter(map(len, self.rows)).most_common(1)[0][0] if self.rows else 0

    @property
    def share(self) -> float:
        """The share of rows with the most frequent number of fields; 0 if the first row has another one."""
        width = self.width
        if not self.rows or len(self.rows[0]) != width:
            return 0.0
        return sum(len(row) == width for row in self.rows) / len(self.rows)

    @property
    def needs_quotes(self) -> bool:
        """Whether quotation marks enclose fields, and none begins a field without an end."""
        return self.enclosed > 0 and not any(field.startswith('"') for row in self.rows for field in row)


def _restored(field: str, kept: Sequence[str]) -> str:
    if field[:1] == _MARK and field[-1:] == _MARK and len(field) > 2:
        return kept[int(field[1:-1])]
    return field


def find_fields(text: str, kind: Format) -> Fields:
    r"""Divide a text by the separator that fits best; one column if none does.

    Args:
        text: whole lines.
        kind: the format that the file's ending promises. Its separator is taken if it fits.

    Example:
        >>> [find_fields(text, "CSV").separator for text in ("a;b\n1,5;2\n2,5;3", "a,b\n1,2", "1::2::a|b\n1::3::b")]
        [';', ',', '::']
    """
    usual = _USUAL.get(kind)
    ordered = sorted(SEPARATORS, key=lambda each: each != usual)
    fitting = [found for each in ordered if each in text and (found := _best_quoting(text, each, kind)) is not None]
    fitting = [found for found in fitting if found.width > 1 and found.share >= LEAST_SHARE]
    if fitting:
        return max(fitting, key=lambda found: (found.share > 0.99, found.separator == usual))
    blanks = _best_quoting(text, " ", kind)
    if blanks is not None and blanks.share > 0.99 and 2 <= blanks.width <= 8 and _are_values(blanks):
        return blanks
    return Fields.of(text, usual or "\t", quoted=kind == "CSV")


def _best_quoting(text: str, separator: str, kind: Format) -> Fields | None:
    if set(separator) == {"|"} and separator != "|" and re.search(r"\|", text.replace(separator, "")):
        return None  # an empty field, and no separator of several signs
    plain = Fields.of(text, separator, quoted=False)
    if '"' not in text:
        return Fields(separator, kind == "CSV", plain.rows)
    quoted = Fields.of(text, separator, quoted=True)
    if quoted.share != plain.share:
        return max(quoted, plain, key=lambda found: found.share)
    return quoted if quoted.needs_quotes else Fields(separator, kind == "CSV", plain.rows)


def _are_values(found: Fields) -> bool:
    """Return whether some column between blanks has numbers in all rows but the first: words of a sentence have not."""
    columns = list(zip(*(row for row in found.rows[1:] or found.rows if len(row) == found.width), strict=True))
    return any(all(re.fullmatch(r"-?\d+(\.\d+)?", field) for field in column) for column in columns)
