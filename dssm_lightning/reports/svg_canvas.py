"""A small writer of SVG: boxes with two lines of text, arrows, dashed lines, and texts cut to a width."""

from __future__ import annotations

import re
from typing import NamedTuple
from unicodedata import east_asian_width
from xml.etree import ElementTree

FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
INK, GREY, EDGE = "#1f2328", "#57606a", "#9aa3af"
LARGE, SMALL = 14, 12  # sizes of letters
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # XML cannot hold most of them


class Colours(NamedTuple):
    """Colours of one group of boxes.

    Example:
        >>> Colours(line="#2563c9", box="#dce8fb", panel="#f5f9ff").line
        '#2563c9'
    """

    line: str
    box: str
    panel: str


class Node(NamedTuple):
    """The centre and size of a box.

    Example:
        >>> Node(x=100, y=50, width=80).top
        (100, 26.0)
    """

    x: float
    y: float
    width: float
    height: float = 48

    @property
    def top(self) -> tuple[float, float]:
        """The point where an arrow upwards starts."""
        return self.x, self.y - self.height / 2

    @property
    def bottom(self) -> tuple[float, float]:
        """The point where an arrow from below ends."""
        return self.x, self.y + self.height / 2


def text_width(text: str, size: float = LARGE) -> float:
    """Estimate the width of a text, slightly too high because fonts differ.

    Example:
        >>> text_width("query", size=10), text_width("日本", size=10)
        (31.0, 20.0)
    """
    letters = sum(1.0 if east_asian_width(letter) in "WF" else 0.62 for letter in text)
    return letters * size


def fitting(text: str, width: float, size: float) -> str:
    """Return the text; if it is wider than ``width``, its longest beginning that fits, and ``…``.

    Example:
        >>> fitting("candidate tower", width=60, size=10)
        'candidat…'
    """
    if text_width(text, size) <= width:
        return text
    while text and text_width(f"{text}…", size) > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


class Drawing:
    """An SVG; every method draws over the earlier ones.

    Args:
        width: of the drawing, in user units.
        height: of the drawing, in user units.
        title: a description for screen readers.

    Example:
        >>> drawing = Drawing(200, 100, "One box")
        >>> drawing.box(Node(100, 50, 120), Colours("#2563c9", "#dce8fb", ""), "query", "text")
        >>> drawing.to_string().count("<text")
        2
    """

    def __init__(self, width: float, height: float, title: str) -> None:
        size = {"width": _number(width), "height": _number(height), "viewBox": f"0 0 {width:g} {height:g}"}
        self.root = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "font-family": FONT})
        self.root.set("text-anchor", "middle")
        self._add("title", {}, title)
        self._add("rect", {**size, "rx": "12", "fill": "#ffffff"})  # readable on a dark page

    def panel(self, left: float, top: float, width: float, height: float, colours: Colours) -> None:
        """Draw the background of a group of boxes."""
        self._rectangle(left, top, width, height, 14, {"fill": colours.panel, "stroke": colours.box})

    def box(self, node: Node, colours: Colours, text: str, detail: str = "") -> None:
        """Draw a box with a text, and with a smaller text below it."""
        place = (node.x - node.width / 2, node.y - node.height / 2, node.width, node.height)
        self._rectangle(*place, 8, {"fill": colours.box, "stroke": colours.line})
        room = node.width - 16
        if detail:
            self.text(node.x, node.y - 3, text, room, weight="600")
            self.text(node.x, node.y + 15, detail, room, size=SMALL, colour=GREY)
        else:
            self.text(node.x, node.y + 5, text, room, weight="600")

    def pill(self, node: Node, colours: Colours, text: str) -> None:
        """Draw a raw input: a box with round ends."""
        place = (node.x - node.width / 2, node.y - node.height / 2, node.width, node.height)
        self._rectangle(*place, node.height / 2, {"fill": "#ffffff", "stroke": colours.line})
        self.text(node.x, node.y + 4.5, text, node.width - 16, size=13)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        width: float = float("inf"),
        *,
        size: int = LARGE,
        colour: str = INK,
        weight: str = "400",
        anchor: str = "middle",
    ) -> None:
        """Draw a text with its baseline at y; a text wider than ``width`` is cut, and hovering shows all of it."""
        place = {"x": _number(x), "y": _number(y), "text-anchor": anchor}
        shown = fitting(text, width, size)
        element = self._add("text", {**place, "font-size": str(size), "fill": colour, "font-weight": weight}, shown)
        if shown != text:
            ElementTree.SubElement(element, "title").text = _CONTROLS.sub("\ufffd", text)

    def edge(self, start: tuple[float, float], end: tuple[float, float], colour: str = EDGE) -> None:
        """Draw an arrow upwards: straight, or a curve with vertical ends."""
        (x1, y1), (x2, y2) = start, (end[0], end[1] + 5)
        middle = (y1 + y2) / 2
        shape = f"V {y2:g}" if x1 == x2 else f"C {x1:g} {middle:g} {x2:g} {middle:g} {x2:g} {y2:g}"
        self._path(f"M {x1:g} {y1:g} {shape}", colour)
        self._add("path", {"d": f"M {x2 - 4:g} {y2:g} L {x2:g} {y2 - 5:g} L {x2 + 4:g} {y2:g} Z", "fill": colour})

    def dashed(self, points: list[tuple[float, float]], colour: str) -> None:
        """Draw a dashed line through points."""
        self._path("M " + " L ".join(f"{x:g} {y:g}" for x, y in points), colour, {"stroke-dasharray": "5 4"})

    def to_string(self) -> str:
        """Return the file's content."""
        ElementTree.indent(self.root)
        return ElementTree.tostring(self.root, encoding="unicode") + "\n"

    def _rectangle(
        self, left: float, top: float, width: float, height: float, radius: float, paint: dict[str, str]
    ) -> None:
        place = {"x": left, "y": top, "width": width, "height": height, "rx": radius}
        self._add("rect", {key: _number(value) for key, value in place.items()} | {"stroke-width": "1.4"} | paint)

    def _path(self, commands: str, colour: str, more: dict[str, str] | None = None) -> None:
        self._add("path", {"d": commands, "fill": "none", "stroke": colour, "stroke-width": "1.4", **(more or {})})

    def _add(self, tag: str, attributes: dict[str, str], text: str | None = None) -> ElementTree.Element:
        element = ElementTree.SubElement(self.root, tag, attributes)
        element.text = None if text is None else _CONTROLS.sub("\ufffd", text)
        return element


def _number(value: float) -> str:
    return f"{round(value, 1):g}"
