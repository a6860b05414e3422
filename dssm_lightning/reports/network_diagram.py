"""A drawing of the two towers, from the raw columns at the bottom to the score at the top."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from dssm_lightning.reports.layer_shapes import format_shape
from dssm_lightning.reports.model_summary import Branch, ModelSummary, TowerSummary
from dssm_lightning.reports.svg_canvas import GREY, SMALL, Colours, Drawing, Node, text_width
from dssm_lightning.utils.errors import UserError

QUERY = Colours("#2563c9", "#dce8fb", "#f5f9ff")
CANDIDATE = Colours("#0b7d60", "#d3efe5", "#f3fbf8")
SCORE = Colours("#7440b4", "#eadffb", "#ffffff")
TIE = "#c2571a"
STEP, GAP = 84, 14  # distance between two rows of boxes; between two branches
WIDEST = 200  # width of a branch; longer names are cut
PAD, BETWEEN, MARGIN = 20, 110, 24  # inside a tower's panel; between both panels; around both panels
LANE = 12  # distance between two dashed lines of shared tables


def require_svg(path: Path) -> None:
    """Refuse a file name that does not end in .svg.

    Raises:
        UserError: another suffix.
    """
    if path.suffix.lower() != ".svg":
        raise UserError(f"--plot {path}: the drawing is an SVG, give a name that ends in .svg")


def draw_network(summary: ModelSummary, path: Path) -> None:
    """Write a model's drawing as SVG: query tower left, candidate tower right; missing folders are made.

    Raises:
        UserError: ``path`` does not end in .svg.
    """
    require_svg(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(network_svg(summary), encoding="utf-8")


def network_svg(summary: ModelSummary) -> str:
    """Return the drawing's SVG."""
    ties = [] if summary.one_tower else _ties(summary)
    lanes = LANE * max(0, len(ties) - 1)
    towers = (summary.query, summary.candidate)
    levels = max(5 + len(tower.layers) + tower.normalize for tower in towers)  # rows of boxes, without the score
    top = MARGIN + STEP  # of the panels
    ground = top + PAD + (levels - 1) * STEP + lanes + 24  # centre of the raw columns
    query = _TowerDrawing(summary.query, QUERY, MARGIN, ground, lanes)
    candidate = _TowerDrawing(summary.candidate, CANDIDATE, query.right + BETWEEN, ground, lanes)
    title = f"Two towers of {summary.parameters:,} parameters"
    drawing = Drawing(candidate.right + MARGIN, ground + 64 + MARGIN, title)
    middle = (query.right + candidate.left) / 2
    scorer, options = _bare(summary.scorer.kind), summary.scorer.kind.partition(", ")[2]
    detail = " · ".join(filter(None, [options, format_shape(summary.scorer.shape)]))
    score = Node(middle, MARGIN + 24, max(160.0, text_width(scorer) + 24, text_width(detail, SMALL) + 24))
    for tower in (query, candidate):
        drawing.panel(tower.left, top, tower.right - tower.left, ground + 58 - top, tower.colours)
    if summary.one_tower:
        drawing.dashed([(query.right, query.rows[2]), (candidate.left, query.rows[2])], TIE)
        drawing.text(middle, query.rows[2] - 8, "same weights", size=SMALL, colour=TIE)
    encoders = query.encoders | candidate.encoders
    for number, tie in enumerate(ties):
        y = _draw_tie(drawing, [encoders[name] for name in tie], number * LANE)
        if number == 0 and _joins_towers(tie):
            drawing.text(middle, y - 6, "shared table", size=SMALL, colour=TIE)
    for tower in (query, candidate):
        embedding = tower.draw(drawing, top + PAD + 24)
        drawing.edge(embedding.top, (score.x + (-24 if tower is query else 24), score.bottom[1]), SCORE.line)
    drawing.box(score, SCORE, scorer, detail)
    return drawing.to_string()


class _TowerDrawing:
    """One tower: its branches, and the boxes above them."""

    def __init__(self, tower: TowerSummary, colours: Colours, left: float, ground: float, lanes: float) -> None:
        self.tower, self.colours, self.left, self.ground = tower, colours, left, ground
        widths = [_branch_width(branch) for branch in tower.branches]
        above = [tower.fusion.kind, *(layer.kind for layer in tower.layers), self.title]
        inner = max(sum(widths) + GAP * (len(widths) - 1), min(360.0, max(map(text_width, above)) + 30))
        self.right = left + inner + 2 * PAD
        self.centre = (left + self.right) / 2
        self.rows = [ground, ground - STEP, ground - 2 * STEP - lanes, ground - 3 * STEP - lanes]
        """Centres of the rows of raw columns, features, encoders and fusion."""
        x = self.centre - (sum(widths) + GAP * (len(widths) - 1)) / 2
        self.features: list[Node] = []
        for width in widths:
            self.features.append(Node(x + width / 2, self.rows[1], width))
            x += width + GAP
        self.encoders = {
            f"{tower.side}.{branch.feature.name}": node._replace(y=self.rows[2])
            for branch, node in zip(tower.branches, self.features, strict=True)
        }

    @property
    def title(self) -> str:
        """The text below the tower."""
        return f"{self.tower.side} tower · {compact(self.tower.parameters)} parameters"

    def draw(self, drawing: Drawing, top: float) -> Node:
        """Draw the tower and return the embedding's box, whose centre is at ``top``."""
        drawing.text(self.centre, self.ground + 44, self.title, weight="600", colour=self.colours.line)
        self._draw_columns(drawing)
        fusion = Node(self.centre, self.rows[3], self.right - self.left - 2 * PAD)
        for branch, feature, encoder in zip(self.tower.branches, self.features, self.encoders.values(), strict=True):
            drawing.edge(feature.top, encoder.bottom)
            if branch.bypasses:  # the fusion's box is as wide as the tower: a text replaces the arrow
                self._label(drawing, (encoder.x - 60, fusion.bottom[1] + 24), "to the embedding")
            else:
                drawing.edge(encoder.top, (encoder.x, fusion.bottom[1]))
            if branch.encoder.shape is not None and not branch.bypasses:
                self._label(drawing, (encoder.x, fusion.bottom[1] + 24), branch.encoder.shape[-1])
            drawing.box(feature, self.colours, branch.feature.name, type(branch.feature).__name__)
            drawing.box(encoder, self.colours, _bare(branch.encoder.kind), _size(branch))
        drawing.box(fusion, self.colours, self.tower.fusion.kind)
        return self._draw_head(drawing, fusion, top)

    def _draw_columns(self, drawing: Drawing) -> None:
        """Draw a raw column below each feature; neighbours that read the same column share it."""
        pairs = zip(self.tower.branches, self.features, strict=True)
        for column, group in groupby(pairs, key=lambda pair: pair[0].reads):
            nodes = [node for _, node in group]
            left, right = nodes[0].x - nodes[0].width / 2, nodes[-1].x + nodes[-1].width / 2
            pill = Node((left + right) / 2, self.rows[0], right - left, 30)
            for node in nodes:
                drawing.edge((node.x, pill.top[1]), node.bottom)
            drawing.pill(pill, self.colours, column)

    def _draw_head(self, drawing: Drawing, fusion: Node, top: float) -> Node:
        """Draw the layers above fusion and return the embedding's box."""
        below, width = fusion, self.tower.fusion.shape
        boxes = [(layer.name, layer.kind, layer.shape) for layer in self.tower.layers]
        if self.tower.normalize:
            boxes.append(("normalize", "length 1", boxes[-1][2] if boxes else width))
        for name, kind, shape in boxes:
            node = Node(self.centre, below.y - STEP, min(fusion.width, max(200.0, text_width(kind, SMALL) + 24)))
            self._connect(drawing, below, node, width)
            drawing.box(node, self.colours, name, kind)
            below, width = node, shape
        embedding = Node(self.centre, top, min(fusion.width, 220))
        self._connect(drawing, below, embedding, width)
        note = " with bias" if self.tower.bias is not None else ""
        strong = Colours(self.colours.line, "#ffffff", "")
        drawing.box(embedding, strong, f"{self.tower.side} embedding", f"{format_shape(self.tower.shape)}{note}")
        return embedding

    def _connect(self, drawing: Drawing, below: Node, above: Node, shape: tuple[int | str, ...] | None) -> None:
        drawing.edge(below.top, above.bottom)
        if shape is not None:
            self._label(drawing, (below.x, below.top[1] - 13), shape[-1])

    def _label(self, drawing: Drawing, at: tuple[float, float], width: int | str) -> None:
        drawing.text(at[0] + 8, at[1], str(width), size=SMALL, colour=GREY, anchor="start")


def compact(count: int) -> str:
    """Format a count in three digits.

    Example:
        >>> compact(19_660_800), compact(65_536), compact(352)
        ('19.7 M', '65.5 k', '352')
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}" if count < 1000 * size else f"{count / size:,.0f} {unit}"
    return str(count)


def _branch_width(branch: Branch) -> float:
    large = (branch.feature.name, _bare(branch.encoder.kind), branch.reads)
    small = (type(branch.feature).__name__, _size(branch))
    widest = max(*(text_width(text) for text in large), *(text_width(text, SMALL) for text in small))
    return min(WIDEST, widest + 20)


def _size(branch: Branch) -> str:
    parameters = branch.encoder.parameters
    return f"{compact(parameters)} parameters" if parameters else "no parameters"


def _bare(kind: str) -> str:
    """Return the class, without its settings."""
    return kind.partition(",")[0]


# -- shared tables ----------------------------------------------------------------------------------------------------


def _ties(summary: ModelSummary) -> list[list[str]]:
    """Return groups of branches (side.feature) that share parameters, groups across both towers first."""
    branches = [(tower.side, branch) for tower in (summary.query, summary.candidate) for branch in tower.branches]
    groups = [(f"{side}.{branch.feature.name}", *branch.shares) for side, branch in branches if branch.shares]
    distinct = dict.fromkeys(tuple(sorted(group)) for group in groups)
    return sorted(map(list, distinct), key=_joins_towers, reverse=True)


def _joins_towers(names: list[str]) -> bool:
    return len({name.partition(".")[0] for name in names}) > 1


def _draw_tie(drawing: Drawing, nodes: list[Node], lane: float) -> float:
    """Draw a dashed line below the encoders of one table, and return its y."""
    nodes = sorted(nodes, key=lambda node: node.x)
    y = nodes[0].bottom[1] + LANE + lane
    shift = min(node.width for node in nodes) / 4  # beside the edges that come from below
    for node in nodes:
        drawing.dashed([(node.x + shift, node.bottom[1]), (node.x + shift, y)], TIE)
    drawing.dashed([(nodes[0].x + shift, y), (nodes[-1].x + shift, y)], TIE)
    return y
