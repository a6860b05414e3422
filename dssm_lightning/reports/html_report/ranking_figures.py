"""Where the right candidates stand: ranks, popularity, and scores."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dssm_lightning.reports.html_report.page_parts import Figure, Section
from dssm_lightning.reports.html_report.ranked_sample import RankedSample, best_ranks
from dssm_lightning.reports.html_report.svg_drawing import INK, MUTED, SERIES, SOFT, as_svg, drawing, style

EDGES = (1, 2, 3, 6, 11, 21, 51, 101, 501, 1001, 10001)
"""Ranks, counted from 1, at which a bar of the histogram begins."""
CUT = 10


class Band(NamedTuple):
    """Pairs of a query and a right candidate, by how often training liked the candidate."""

    label: str
    pairs: int
    hits: int  # at rank 10 or better

    @property
    def rate(self) -> float:
        """The share of the pairs that are hits."""
        return self.hits / self.pairs

    @property
    def interval(self) -> tuple[float, float]:
        """The share's 95 % interval by Wilson's formula, as if the pairs were independent.

        Example:
            >>> [round(end, 3) for end in Band("1", pairs=100, hits=50).interval]
            [0.404, 0.596]
        """
        z2, n, share = 1.96**2, self.pairs, self.rate
        centre = (share + z2 / (2 * n)) / (1 + z2 / n)
        half = 1.96 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)


def popularity_bands(sample: RankedSample, popularity: Tensor) -> list[Band]:
    """Return the hits of the pairs by training positives of the candidate: 0, 1, 2–3, 4–7, and so on.

    Args:
        sample: the ranked queries.
        popularity: (N,) training positives of each ranked candidate.
    """
    liked = popularity[sample.pair_candidate]
    hit = sample.pair_rank < CUT
    band = torch.where(liked > 0, liked.clamp(min=1).double().log2().floor().long() + 1, 0)
    found = []
    for number in torch.unique(band).tolist():
        low, high = (0, 0) if number == 0 else (2 ** (number - 1), 2**number - 1)
        label = str(low) if low == high else f"{low}–{high}"
        found.append(Band(label, int((band == number).sum()), int(hit[band == number].sum())))
    return found


def rank_histogram(ranks: Tensor, num_candidates: int) -> list[tuple[str, int]]:
    """Return the number of queries whose first right candidate (Q,) stands at each range of ranks, counted from 1.

    Example:
        >>> rank_histogram(torch.tensor([0.0, 0.0, 4.0, 30.0]), num_candidates=40)
        [('1', 2), ('2', 0), ('3–5', 1), ('6–10', 0), ('11–20', 0), ('21–40', 1)]
    """
    place = ranks[ranks.isfinite()].floor().long() + 1
    edges = [edge for edge in EDGES if edge <= num_candidates]
    counts = []
    for low, high in zip(edges, [*edges[1:], num_candidates + 1], strict=True):
        label = str(low) if high == low + 1 else f"{low:,}–{high - 1:,}"
        counts.append((label, int(((place >= low) & (place < high)).sum())))
    return counts


def ranking_section(sample: RankedSample, popularity: Tensor) -> Section:
    """Return the histogram of ranks, the hits by popularity, and the distributions of scores."""
    number = len(sample.queries)
    which = f"{number:,} of {sample.total:,}" if number < sample.total else f"all {number:,}"
    own = sample.longest_list
    among = f"{len(sample.corpus):,} candidates" if own is None else f"the candidates of its own list, at most {own:,}"
    text = f"From the checkpoint: {which} queries of the {sample.fold} rows, each ranked among {among}."
    figures = [_ranks(sample), _popularity(popularity_bands(sample, popularity)), _scores(sample)]
    return Section("rankings", "Where the right candidates stand", figures, text)


def _ranks(sample: RankedSample) -> Figure:
    counts = rank_histogram(best_ranks(sample), len(sample.corpus))
    total = max(1, sum(count for _, count in counts))
    with drawing(5.0, 2.7) as (figure, [axes]):
        style(axes, "", "rank of the first right candidate", "share of queries")
        shares = [count / total for _, count in counts]
        colours = [SERIES[0] if place < 5 and label.partition("–")[0] in ("1", "2", "3", "6") else SOFT
                   for place, (label, _) in enumerate(counts)]  # fmt: skip
        axes.bar(range(len(counts)), shares, color=colours, width=0.86)
        for place, share in enumerate(shares):
            axes.annotate(f"{share:.0%}", (place, share), (0, 3), textcoords="offset points", ha="center", color=MUTED)
        axes.set_xticks(range(len(counts)), [label for label, _ in counts], rotation=35, ha="right")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        drawn = as_svg(figure, "histogram of the rank of the first right candidate")
    caption = (
        "Each query counts once, at the best rank of its right candidates; blue bars are found among the first ten. A "
        "high first bar and a long tail: the model either knows the answer or has no idea, so look at what the tail's "
        "queries lack. A hump at 11 to 100: the answer is nearly found, so a second stage that sorts again, or hard "
        "negatives, can lift it."
    )
    return Figure("Histogram of ranks", caption, drawn)


def _popularity(bands: list[Band]) -> Figure:
    with drawing(5.0, 2.7) as (figure, [axes]):
        style(axes, "", "how often training liked the candidate", "hits among the first ten")
        for place, band in enumerate(bands):
            low, high = band.interval
            axes.plot([place, place], [low, high], color=SERIES[0], linewidth=2.4)
            axes.plot([place], [band.rate], "o", color=SERIES[0], markersize=6)
            axes.annotate(f"{band.pairs:,}", (place, high), (0, 4), textcoords="offset points", ha="center",
                          color=MUTED, fontsize=9)  # fmt: skip
        axes.set_xticks(range(len(bands)), [band.label for band in bands], color=INK)
        axes.set_ylim(0, min(1.1, max((band.interval[1] for band in bands), default=1) * 1.15 + 0.02))
        axes.set_xlim(-0.6, len(bands) - 0.4)
        drawn = as_svg(figure, "hits among the first ten by popularity of the right candidate")
    caption = (
        "The share of right candidates that stand among the first ten of their query, with a 95 % interval "
        "(Wilson) and "
        "the number of pairs above it. A line that rises to the right: the model prefers what is popular. A group 0 "
        "at the left are candidates that no training row likes: they are found by their features alone."
    )
    return Figure("Hit rate by popularity", caption, drawn)


def _scores(sample: RankedSample) -> Figure:
    groups = {
        "right candidates": sample.pair_score,
        "random candidates": sample.negative_score,
        "best wrong candidate": sample.best_wrong[sample.best_wrong.isfinite()],
    }
    groups = {name: values.float() for name, values in groups.items() if len(values)}
    low, high = (float(each) for each in torch.cat(list(groups.values())).aminmax())
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    middles = (torch.linspace(low, high, 49)[:-1] + (high - low) / 96).tolist()
    with drawing(10.6, 2.8) as (figure, [axes]):
        style(axes, "", "score", "share of each group")
        for number, values in enumerate(groups.values()):
            shares = (torch.histc(values, 48, low, high) / len(values)).tolist()
            axes.step(middles, shares, where="mid", color=SERIES[number], linewidth=1.8)
            axes.fill_between(middles, shares, step="mid", color=SERIES[number], alpha=0.12, linewidth=0)
        axes.set_yticks([])
        axes.set_ylim(0)
        drawn = as_svg(figure, "distributions of the scores of right, random and best wrong candidates")
    caption = (
        "How the model scores right candidates, random ones, and the best wrong one of each query; each curve has the "
        "same area. Blue far right of orange: the model knows what is unrelated. What decides the ranking is blue "
        "against green: where they overlap, a wrong candidate wins. Two humps of blue are two kinds of queries."
    )
    legend = [(place, name) for place, name in enumerate(groups, 1)]
    return Figure("Scores of positives and negatives", caption, drawn, legend=legend, wide=True)
