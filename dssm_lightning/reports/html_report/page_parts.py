"""The parts of a report: sections of figures, each with a caption that says how to read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup


class Cell(NamedTuple):
    """A value of a table."""

    text: str
    detail: str = ""  # below, smaller
    mark: str = ""  # a class of the page: good, bad, best


class Table(NamedTuple):
    """A table; texts are escaped when it is shown."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]


class Hit(NamedTuple):
    """A candidate in an example."""

    place: str
    title: str
    score: str
    right: bool
    picture: str = ""  # a data URL


class Example(NamedTuple):
    """A query with its ranking."""

    title: str
    detail: Sequence[str]
    hits: Sequence[Hit]
    answers: Sequence[Hit]  # the right answers that are not among the hits


class Figure(NamedTuple):
    """A drawing, a table or examples."""

    title: str
    caption: str  # how to read it
    drawing: Markup | None = None
    table: Table | None = None
    examples: Sequence[Example] = ()
    legend: Sequence[tuple[int, str]] = ()  # number of the colour from 1, and its name
    wide: bool = False


class Section(NamedTuple):
    """A part of the page."""

    key: str
    title: str
    figures: Sequence[Figure]
    text: str = ""


def signed(value: float) -> str:
    """Return a difference with its sign.

    Example:
        >>> signed(0.0123), signed(-0.0123), signed(-0.00001)
        ('+0.012', '−0.012', '±0.000')
    """
    text = f"{abs(value):.3f}"
    return ("±" if float(text) == 0 else "+" if value > 0 else "−") + text


def span(low: float, high: float) -> str:
    """Return an interval of a difference.

    Example:
        >>> span(-0.5, 0.25)
        '−0.500 to +0.250'
    """
    return f"{signed(low)} to {signed(high)}"


def short_name(name: str) -> str:
    """Return the name of a baseline without empty brackets, with a blank where a line may end.

    Example:
        >>> short_name("TfIdf()"), short_name("EASE(l2=100.0)")
        ('TfIdf', 'EASE (l2=100.0)')
    """
    return name.removesuffix("()").replace("(", " (", 1)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number as tables show it.

    Example:
        >>> number(0.12345), number(1234.5), number(None)
        ('0.123', '1,234', '–')
    """
    if value is None or value != value:
        return "–"
    return (f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}f}").replace("-", "−")
