"""How the training went, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from markupsafe import Markup

from dssm_lightning.reports.html_report.page_parts import Figure, Section
from dssm_lightning.reports.html_report.run_record import RunRecord
from dssm_lightning.reports.html_report.svg_drawing import MUTED, SERIES, as_svg, drawing, style, whole_epochs
from dssm_lightning.reports.training_curves import Points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CANDIDATES = ("val/ndcg@10", "val/mrr", "val/recall@10", "val/hit_rate@10")
SIGNALS = {
    "train/negatives": "negatives of a row",
    "train/masked_positives": "masked known positives of a row",
    "train/logit_scale": "logit scale",
    "val/alignment": "alignment",
    "val/candidate_uniformity": "uniformity of candidates",
    "val/query_uniformity": "uniformity of queries",
}
"""What each logged name is called; the first three come from training, the others from validation."""


def training_section(records: Sequence[RunRecord], names: Sequence[str]) -> Section:
    """Return the learning curves of one or two runs."""
    curves = [record.curves for record in records]
    legend = [(place + 1, name) for place, name in enumerate(names)] if len(records) > 1 else []
    figures = [each for each in (_learning(records, curves), _signals(curves)) if each is not None]
    figures = [figure._replace(legend=legend) for figure in figures]
    missing = sorted({SIGNALS[name] for each in curves if each for name in SIGNALS if name not in each})
    text = ""
    if any(each and "train/loss" not in each for each in curves):
        text = "No loss was logged: trainer.log_every_n_steps (50 by default) is more than an epoch has steps. "
    if missing:
        text += (
            f"Not logged, and left out: {', '.join(missing)}. Releases before this one did not log these values, and a "
            "run without validation has neither alignment nor uniformity."
        )
    return Section("training", "How the training went", figures, text)


def monitored(record: RunRecord) -> str | None:
    """Return the validation metric whose curve is shown: the monitored one, or a usual one."""
    wanted = (record.monitor, *CANDIDATES)
    return next((name for name in wanted if name is not None and record.curves.get(name)), None)


def best_epoch(points: Points, mode: str = "max") -> tuple[int, float]:
    """Return the first epoch with the best finite value; NaNs never win.

    Example:
        >>> best_epoch([(1, 0.2), (2, float("nan")), (3, 0.4), (4, 0.4)])
        (3, 0.4)
    """
    finite = [(epoch, value) for epoch, value in points if value == value] or points
    sign = 1 if mode == "max" else -1
    return max(finite, key=lambda point: (sign * point[1], -point[0]))


def _learning(records: Sequence[RunRecord], curves: Sequence[Mapping[str, Points]]) -> Figure | None:
    shown = [monitored(record) for record in records]
    names = ["train/loss", *dict.fromkeys(name for name in shown if name is not None)]
    names = [name for name in names if any(name in each for each in curves)]
    if not names:
        return None
    caption = (
        "The loss of the last logged batch of each epoch (lower is better), and the metric on validation rows (higher "
        "is better; the ring marks the best epoch, which best.ckpt holds). A metric that still rises at the right end "
        "wants more epochs. One that peaks and falls while the loss goes on falling has learnt its training rows by "
        "heart. Losses of runs with other losses or other negatives cannot be compared."
    )
    label = f"curves of {', '.join(names)} by epoch"
    return Figure("Learning curves", caption, _draw(names, curves, names, label, ring=True), wide=len(names) > 1)


def _signals(curves: Sequence[Mapping[str, Points]]) -> Figure | None:
    names = [name for name in SIGNALS if any(each.get(name) for each in curves)]
    if not names:
        return None
    caption = (
        "Negatives: how many candidates a training row was compared with; masked: candidates of its batch that it is "
        "known to like, which were not counted as negatives. Many masked positives are normal for users with long "
        "histories. A logit scale at its limit (100 by default) means that the model wants sharper scores than "
        "allowed. "
        "Alignment: mean squared distance of a query and a right candidate on the unit sphere, lower is better (0 = "
        "equal, 2 = unrelated). Uniformity: log of the mean of exp(−2 · squared distance) over random pairs; about −4 "
        "= spread evenly, 0 = all in one place. A uniformity that climbs towards 0 is a collapse; alignment and "
        "uniformity are to fall together (Wang and Isola, arXiv 2005.10242)."
    )
    rows = [names[start : start + 3] for start in range(0, len(names), 3)]
    parts = [_draw(row, curves, [SIGNALS[name] for name in row], f"{', '.join(row)} by epoch") for row in rows]
    return Figure("Signals of health", caption, Markup("").join(parts), wide=True)


def _draw(
    names: Sequence[str],
    curves: Sequence[Mapping[str, Points]],
    titles: Sequence[str],
    label: str,
    *,
    ring: bool = False,
) -> Markup:
    with drawing(10.6 if len(names) > 1 else 5.0, 2.5, columns=len(names)) as (figure, axes):
        for place, each in enumerate(axes):
            style(each, titles[place])
            whole_epochs(each)
            for number, logged in enumerate(curves):
                points = logged.get(names[place])
                if not points:
                    continue
                epochs, values = zip(*points, strict=True)
                colour = SERIES[number]
                each.plot(epochs, values, color=colour, linewidth=1.8, marker="o", markersize=3.2)
                if ring and names[place].startswith("val/"):
                    epoch, value = best_epoch(points)
                    each.plot([epoch], [value], "o", markersize=9, markerfacecolor="none", markeredgecolor=colour)
                    each.annotate(f"{value:.3f}", (epoch, value), (0, 9), textcoords="offset points", ha="center",
                                  color=MUTED, fontsize=9)  # fmt: skip
            each.margins(0.06, 0.2)
            _widen(each)
        return as_svg(figure, label)


def _widen(axes: Axes) -> None:
    """Let the vertical axis span at least a tenth of its values, so that noise does not look like a trend."""
    low, high = axes.get_ylim()
    least = 0.1 * max(abs(low), abs(high))
    if high - low < least:
        middle = (low + high) / 2
        axes.set_ylim(middle - least / 2, middle + least / 2)
