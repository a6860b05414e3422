"""Drawings of matplotlib as SVG within a page: texts stay texts, and colours follow the page's light or dark theme."""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from markupsafe import Markup, escape

from dssm_lightning.utils.console import cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

SERIES = ("#2563c9", "#c2571a", "#0b7d60", "#7440b4", "#b0216a", "#8a6d00", "#0a7ea4", "#6e7781")
"""Colours of series in the light theme; the page has a variable for each, so that dark and print can differ."""
INK, MUTED, GRID, SOFT = "#1f2328", "#57606a", "#e4e7eb", "#b9c6dd"
_VARIABLES = {
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, 1)},
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    SOFT: "var(--soft)",
}
_RULES: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a text of a user is never a formula
    "axes.formatter.use_mathtext": False,
    "font.size": 10.0,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.unicode_minus": True,
}


class Dot(NamedTuple):
    """A point that answers to the pointer."""

    x: float
    y: float
    series: int  # number of the colour, from 0
    title: str
    is_query: bool = False


@contextmanager
def drawing(width: float, height: float, columns: int = 1) -> Iterator[tuple[Drawing, list[Axes]]]:
    """Yield a drawing in inches with its axes side by side, within the rules of this module."""
    import matplotlib
    from matplotlib.figure import Figure as Drawing

    with matplotlib.rc_context(_RULES):
        figure = Drawing(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False)[0].tolist()
        for each in axes:
            style(each)
        yield figure, axes


def style(axes: Axes, title: str = "", x: str = "", y: str = "", grid: Literal["both", "x", "y"] = "y") -> None:
    """Set titles and a light grid."""
    if title:
        axes.set_title(cell(title), loc="left", fontsize=10.5, fontweight="bold", color=INK)
    if x:
        axes.set_xlabel(cell(x))
    if y:
        axes.set_ylabel(cell(y))
    axes.grid(visible=False)
    axes.grid(axis=grid, color=GRID)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def whole_epochs(axes: Axes) -> None:
    """Let the horizontal axis count epochs."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def as_svg(figure: Drawing, label: str, dots: Sequence[Dot] = ()) -> Markup:
    """Return a drawing as an element of a page.

    Args:
        figure: the drawing, made within :func:`drawing`.
        label: what a screen reader says of it.
        dots: points in the coordinates of the first axes.
    """
    import matplotlib

    salt = hashlib.sha256(label.encode("utf-8", "replace")).hexdigest()[
        :12
    ]  # ids differ between the drawings of a page
    file = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # the browser has more fonts
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :].replace("</svg>", f"{_circles(figure, dots)}</svg>")
    text = re.sub(r"<!--.*?-->|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "", text, flags=re.DOTALL)
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)  # the page has its own style
    text = re.sub(r"#[0-9a-f]{6}\b", lambda found: _VARIABLES.get(found[0], found[0]), text)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    text = re.sub(r"font: ([^;\"]*?)'[^;\"]*", r"font: \1var(--font)", text)
    text = re.sub(r'<svg[^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", text, count=1)
    head = f'<svg role="img" aria-label="{escape(cell(label, 200))}"'
    whole = (head + text.removeprefix("<svg")).encode("utf-8", "replace").decode("utf-8")
    return Markup(whole)  # the texts in it are escaped by matplotlib, and by `_circles`


def _circles(figure: Drawing, dots: Sequence[Dot]) -> str:
    if not dots:
        return ""
    axes, height = figure.axes[0], figure.get_figheight() * 72
    places = axes.transData.transform([(dot.x, dot.y) for dot in dots]) * 72 / figure.dpi
    marks = []
    for dot, (x, y) in zip(dots, places.tolist(), strict=True):
        at, title = f"{x:.1f}", f"<title>{escape(cell(dot.title, 200))}</title>"
        kind = f"dot s{dot.series + 1}"
        if dot.is_query:
            marks.append(f'<path class="{kind} query" d="M{x - 4:.1f} {height - y:.1f}h8m-4 -4v8">{title}</path>')
        else:
            marks.append(f'<circle class="{kind}" cx="{at}" cy="{height - y:.1f}" r="2.6">{title}</circle>')
    return "".join(marks)
