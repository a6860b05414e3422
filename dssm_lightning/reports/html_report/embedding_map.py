"""Embeddings of a sample of candidates and queries as a map, and the alarm for a collapse."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.evaluation.embedding_geometry import SAMPLE, effective_rank, mean_cosine, uniformity
from dssm_lightning.reports.html_report.page_parts import Cell, Figure, Section, Table, number
from dssm_lightning.reports.html_report.ranked_sample import SEED, RankedSample
from dssm_lightning.reports.html_report.svg_drawing import SERIES, Dot, as_svg, drawing
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import did_you_mean

POINTS, QUERY_POINTS = 900, 150
COSINE_ALARM, RANK_ALARM = 0.9, 3.0
"""A collapse: random candidates have a mean cosine of 0.9 or more (an angle of 26° or less), or embeddings use three
dimensions or fewer. Runs that rank well have stayed below .5 and above 20 (docs/how-to/reports.md)."""


class Geometry(NamedTuple):
    """How the sampled embeddings of one side lie."""

    side: str
    rows: int
    width: int
    rank: float  # effective
    cosine: float  # mean, of random pairs
    uniformity: float

    @property
    def collapsed(self) -> bool:
        """Whether the alarm goes off; a side of one or two rows says nothing."""
        return self.rows > RANK_ALARM and (
            self.cosine >= COSINE_ALARM or self.rank <= min(RANK_ALARM, 0.5 * self.width, 0.5 * self.rows)
        )


def measure_geometry(sample: RankedSample, widths: tuple[int, int]) -> list[Geometry]:
    """Return the geometry of both sides, from up to 1,000 embeddings of each."""
    found = []
    for side, embedding, width in (
        ("queries", sample.queries, widths[0]),
        ("candidates", sample.corpus, widths[1]),
    ):
        rows = embedding[sampled(len(embedding), SAMPLE), :width]
        measured = effective_rank(rows), mean_cosine(rows), uniformity(rows)
        found.append(Geometry(side, len(rows), width, *measured))
    return found


def embeddings_section(
    sample: RankedSample, geometry: Sequence[Geometry], widths: tuple[int, int], candidates: pl.DataFrame,
    display: Sequence[str], query_titles: Sequence[str], colour_by: str | None,
) -> Section:  # fmt: skip
    """Return the maps and the table of the geometry.

    Args:
        sample: the ranked queries.
        geometry: of both sides.
        widths: the learned dimensions of each side.
        candidates: the corpus, N rows of raw columns.
        display: columns that describe a candidate.
        query_titles: a text for each sampled query.
        colour_by: a column of the candidates; None = one with few values.

    Raises:
        UserError: ``colour_by`` is no column of the candidates.
    """
    column = colour_column(candidates, colour_by)
    figures = [_geometry_table(geometry)]
    if widths[0] == widths[1] and len(sample.corpus) > 2:
        figures += _maps(sample, widths[0], candidates, display, query_titles, column)
    return Section("embeddings", "How the embeddings lie", figures)


def colour_column(candidates: pl.DataFrame, colour_by: str | None) -> str | None:
    """Return the column that colours the map: the given one, else the one with the fewest values, from 2 to 60.

    Raises:
        UserError: no such column.

    Example:
        >>> corpus = pl.DataFrame({"id": [1, 2, 3], "title": ["a", "b", "c"], "kind": ["x", "y", "x"]})
        >>> colour_column(corpus, None)
        'kind'
    """
    if colour_by is not None:
        if colour_by not in candidates.columns:
            raise UserError(
                f"--colour_by: the candidates have no column {colour_by!r}; possible are "
                f"{', '.join(candidates.columns)}{did_you_mean(colour_by, candidates.columns)}"
            )
        return colour_by
    counts = {}
    for name in candidates.columns[1:]:
        values = _labels(candidates[name])
        distinct = len(set(values) - {""})
        if 2 <= distinct <= 60 and distinct < len(values):
            counts[name] = distinct
    return min(counts, key=lambda name: counts[name], default=None)


def _labels(column: pl.Series) -> list[str]:
    """Return a text for each row: the first entry of a list, nothing for null."""
    if isinstance(column.dtype, pl.List):
        column = column.list.first()
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Boolean, pl.Categorical, pl.Enum)):
        return [""] * len(column)
    return ["" if value is None else str(value) for value in column.to_list()]


def sampled(total: int, size: int) -> Tensor:
    """Return at most ``size`` of the numbers 0 … total − 1, ascending, drawn by a fixed seed."""
    if total <= size:
        return torch.arange(total)
    return torch.randperm(total, generator=torch.Generator().manual_seed(SEED))[:size].sort().values


def _maps(
    sample: RankedSample, width: int, candidates: pl.DataFrame, display: Sequence[str], query_titles: Sequence[str],
    column: str | None,
) -> list[Figure]:  # fmt: skip
    places, chosen = sampled(len(sample.corpus), POINTS), sampled(len(sample.queries), QUERY_POINTS)
    points = F.normalize(torch.cat([sample.corpus[places, :width], sample.queries[chosen, :width]]).double(), dim=1)
    rows = [sample.corpus_row(place) for place in places.tolist()]
    labels = [""] * len(rows) if column is None else [_labels(candidates[column])[row] for row in rows]
    frequent = [name for name, _ in sorted(_count(labels).items(), key=lambda pair: (-pair[1], pair[0])) if name][:7]
    series = [frequent.index(label) if label in frequent else len(SERIES) - 1 for label in labels]
    titles = [_title(candidates, row, display) for row in rows]
    titles = [f"{title} · {label}" if label else title for title, label in zip(titles, labels, strict=True)]
    queries = [f"query: {query_titles[row]}" for row in chosen.tolist()]
    legend = [(place, name) for place, name in enumerate(frequent, 1)]
    legend += [(len(SERIES), "other" if column is not None else "candidate")] * any(each == 7 for each in series)
    figures = []
    for name, method, text in _methods(points):
        places_of = method.tolist()
        dots = [Dot(x, y, *known) for (x, y), known in zip(places_of, zip(series, titles, strict=True), strict=False)]
        dots += [Dot(x, y, 0, title, True) for (x, y), title in zip(places_of[len(rows) :], queries, strict=True)]
        with drawing(10.6, 5.6) as (figure, [axes]):
            axes.set_axis_off()
            axes.set_xlim(*_ends(method[:, 0]))
            axes.set_ylim(*_ends(method[:, 1]))
            figure.draw_without_rendering()
            drawn = as_svg(figure, f"map of embeddings by {name}", dots)
        by = "" if column is None else f", coloured by {column}"
        caption = (
            f"{text} Circles are {len(rows):,} candidates{by}, crosses {len(queries):,} queries; point at one to "
            "read it."
        )
        figures.append(Figure(f"Map of embeddings ({name})", caption, drawn, legend=legend, wide=True))
    return figures


def _methods(points: Tensor) -> list[tuple[str, Tensor, str]]:
    """Return the flat places of points (B, D) by each method that is installed, with how to read them."""
    centred = points - points.mean(0)
    _, values, directions = torch.linalg.svd(centred, full_matrices=False)
    share = float(values[:2].square().sum() / values.square().sum().clamp(min=1e-300))
    text = (
        f"The two directions in which the embeddings differ most; they hold {share:.0%} of the variance, so points "
        "that "
        "are apart here are apart, while neighbours here may be far from each other in the other directions. Crosses "
        "in a cloud of their own are normal: what counts is which candidates are nearest."
    )
    found = [("PCA", centred @ directions[:2].T, text)]
    if find_spec("umap") is not None:
        flat = import_module("umap").UMAP(metric="cosine", random_state=SEED, n_jobs=1).fit_transform(points.numpy())
        text = "UMAP keeps neighbours together. Groups mean something; distances between groups and their sizes do not."
        found.append(("UMAP", torch.from_numpy(flat).double(), text))
    return found


def _ends(values: Tensor) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    room = max(high - low, 1e-6) * 0.03
    return low - room, high + room


def _count(labels: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
    return counts


def _title(candidates: pl.DataFrame, row: int, display: Sequence[str]) -> str:
    values = candidates.row(row, named=True)
    texts = [str(values[name]) for name in display if values.get(name) is not None]
    return " · ".join(texts) or str(candidates.item(row, 0))


def _geometry_table(found: Sequence[Geometry]) -> Figure:
    header = ["", "effective rank", "mean cosine of random pairs", "uniformity", ""]
    rows = []
    for each in found:
        state = Cell("collapsed", mark="bad") if each.collapsed else Cell("no collapse", mark="good")
        rank = Cell(number(each.rank, 1), f"of {min(each.width, each.rows)} possible")
        rows.append([Cell(each.side, f"{each.rows:,} sampled"), rank, Cell(number(each.cosine)),
                     Cell(number(each.uniformity, 2)), state])  # fmt: skip
    caption = (
        f"Effective rank: how many dimensions the embeddings use. The alarm goes off at {RANK_ALARM:.0f} or fewer, or "
        f"if two random embeddings of a side have a mean cosine of {COSINE_ALARM} or more: then all of them lie within "
        "an angle of 26°, and what is left to distinguish candidates is noise. A low rank without an alarm is no fault "
        "if the metrics are good: some data have few directions. Biases and codes of bypass are not counted."
    )
    return Figure("Collapse alarm", caption, table=Table(header, rows), wide=True)
