"""Draw the figures of docs/tutorials/dssm.md: ``python scripts/draw_dssm.py docs/images``."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from dssm_lightning.reports.svg_canvas import GREY, SMALL, Colours, Drawing, Node

QUERY = Colours("#3b6fb5", "#dbe8f8", "#f2f7fd")
PAGE = Colours("#3f8f5f", "#d9f0e2", "#f1faf4")
MEET = Colours("#8a6d1f", "#f7ecc8", "#fffaf0")
LAYERS = [  # from below
    ("words", "a bag: their order is lost"),
    ("letter trigrams", "30,000 numbers, nearly all 0"),
    ("300, tanh", "from here on, meaning is dense"),
    ("300, tanh", "features of features"),
    ("128, tanh", "the embedding"),
]


def draw_network() -> str:
    """Both towers and where they meet."""
    drawing = Drawing(760, 560, "The DSSM: letter trigrams, three tanh layers, cosine, softmax")
    towers = [
        (200, QUERY, "query", "“show disk usage”", "#sh sho how ow# #di …"),
        (560, PAGE, "page", "“du Disk usage: …”", "#du du# #di dis isk …"),
    ]
    cosine = Node(380, 92, 280)
    for x, colours, name, text, trigrams in towers:
        drawing.panel(x - 160, 136, 320, 360, colours)
        drawing.text(x, 520, f"the {name} tower", colour=GREY)
        layers = [Node(x, 462 - 70 * place, 264) for place in range(len(LAYERS))]
        for place, (node, (title, detail)) in enumerate(zip(layers, LAYERS, strict=True)):
            shown = {0: (title, text), 1: (title, trigrams)}.get(place, (title, detail))
            drawing.box(node, colours, *shown)
            if place:
                drawing.edge(layers[place - 1].top, node.bottom)
        drawing.edge(layers[-1].top, (cosine.x + (x - cosine.x) / 5, cosine.bottom[1]))
    softmax = Node(380, 30, 280)
    drawing.box(cosine, MEET, "cosine", "of the two vectors, −1 … 1")
    drawing.box(softmax, MEET, "softmax of γ · cosine", "the right page against others")
    drawing.edge(cosine.top, softmax.bottom)
    return drawing.to_string()


def draw_gamma() -> str:
    """What the softmax makes of the same four cosines with three γ."""
    cosines = {"right page": 0.8, "near miss": 0.6, "other": 0.2, "another": 0.0}
    drawing = Drawing(760, 300, "Softmax of the same cosines with γ = 1, 10 and 50")
    for panel, gamma in enumerate((1, 10, 50)):
        left = 24 + panel * 244
        drawing.panel(left, 48, 224, 228, QUERY)
        drawing.text(left + 112, 34, f"γ = {gamma}", weight="600")
        weights = [math.exp(gamma * value) for value in cosines.values()]
        for place, ((name, value), weight) in enumerate(zip(cosines.items(), weights, strict=True)):
            x, share = left + 34 + place * 52, weight / sum(weights)
            colours = PAGE if place == 0 else MEET
            height = max(1.0, 150 * share)
            drawing.box(Node(x, 226 - height / 2, 36, height), colours, "")
            drawing.text(x, 218 - height, f"{share:.2f}", size=SMALL)
            drawing.text(x, 246, f"{value:g}", size=SMALL, colour=GREY)
            drawing.text(x, 262, name.split()[0], size=11, colour=GREY)
    return drawing.to_string()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name, content in (("dssm-network.svg", draw_network()), ("dssm-gamma.svg", draw_gamma())):
        (folder / name).write_text(content, encoding="utf-8")
