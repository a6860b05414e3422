"""The report of two runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from dssm_lightning import __version__
from dssm_lightning.evaluation.paired_comparison import Difference, pair_rows
from dssm_lightning.evaluation.result_files import ROW_ID_COLUMNS
from dssm_lightning.reports.html_report.example_cases import Cases
from dssm_lightning.reports.html_report.metric_figures import CHANCE, compare, shown_metrics
from dssm_lightning.reports.html_report.page import Page
from dssm_lightning.reports.html_report.page_parts import Cell, Example, Figure, Section, Table, number, signed, span
from dssm_lightning.reports.html_report.run_facts import describe
from dssm_lightning.reports.html_report.run_record import Measured, Note, RunRecord
from dssm_lightning.reports.html_report.training_figures import training_section
from dssm_lightning.reports.html_report.write_report import OpenedRun
from dssm_lightning.utils.console import cell
from dssm_lightning.utils.errors import UserError

DIFFERENT = 4
"""Examples of each direction."""
MOST_SETTINGS = 60


def make_comparison(records: Sequence[RunRecord], opened: Sequence[OpenedRun | None]) -> Page:
    """Return the page of two runs.

    Raises:
        UserError: both runs were tested, but not on the same rows.
    """
    a, b = records
    names = _names(records)
    tested = [each for each in (a.model, b.model) if each is not None]
    sections, headline = (
        [_settings(records, names)],
        "At least one of the runs was not tested, so their metrics cannot be compared.",
    )
    if len(tested) == 2:
        measured = [each._replace(name=name) for each, name in zip(tested, names, strict=True)]
        metrics = list(dict.fromkeys([*shown_metrics(a), *shown_metrics(b)]))
        found = _differences(measured, metrics)
        sections.append(Section("metrics", "Which is better", [_metrics(measured, metrics, found), *_slices(measured)]))
        headline = _headline(found.get(a.primary), a.primary, names)
    sections.append(training_section(records, names))
    if len(tested) == 2:
        sections += _examples(tested, a.primary, opened, names)
    notes = [
        Note(f"{name}: {note.text}", note.command)
        for name, each in zip(names, records, strict=True)
        for note in each.notes
    ]
    made = (
        f"Made by dssm-lightning {__version__} from {a.folder} and {b.folder}. This page loads nothing from anywhere."
    )
    return Page(f"Report: {names[0]} and {names[1]}", headline, [], notes, [], sections, made)


def _names(records: Sequence[RunRecord]) -> list[str]:
    names = [each.name for each in records]
    return names if names[0] != names[1] else [str(each.folder) for each in records]


def _differences(measured: Sequence[Measured], metrics: Sequence[str]) -> dict[str, Difference]:
    """Return B − A by metric.

    Raises:
        UserError: as for :func:`pair_rows`: the tests cannot be compared, and the reader must know why.
    """
    frames = [each.rows for each in measured]
    if frames[0] is None or frames[1] is None:
        return {}
    pair_rows(frames[0], frames[1], (measured[0].name, measured[1].name))
    return compare(measured[0], measured[1], metrics)


def _headline(found: Difference | None, metric: str, names: Sequence[str]) -> str:
    if found is None:
        return f"The tests of both runs have no {metric} for each query: test both again."
    difference = f"{signed(found.difference)} ({span(found.low, found.high)})"
    if found.p >= CHANCE:
        return f"{metric}: {names[1]} has {difference} beside {names[0]}, which may be chance."
    word = "better" if found.difference > 0 else "worse"
    return f"{metric}: {names[1]} is {word} than {names[0]} by {difference}, beyond chance."


def _metrics(measured: Sequence[Measured], metrics: Sequence[str], found: dict[str, Difference]) -> Figure:
    rows = []
    for name in metrics:
        each = found.get(name)
        cells = [Cell(number(one.metrics.get(name))) for one in measured]
        if each is None:
            rows.append([Cell(name), *cells, Cell("–"), Cell("–")])
            continue
        mark = "" if each.p >= CHANCE else "good" if each.difference > 0 else "bad"
        sign = "·" if each.p >= CHANCE else "▲" if each.difference > 0 else "▼"
        rows.append(
            [
                Cell(name),
                *cells,
                Cell(f"{sign} {signed(each.difference)}", span(each.low, each.high), mark),
                Cell(f"{each.p:.3f}"),
            ]
        )
    caption = (
        "Means over the test queries, higher is better; the second run less the first, on the queries that both have, "
        "with its 95 % interval and p-value (paired bootstrap over queries). ▲ and ▼ mark differences beyond chance. "
        "Many metrics of one comparison are not many comparisons: they rise and fall together."
    )
    header = ["", *(each.name for each in measured), "difference", "p"]
    return Figure("Metrics side by side", caption, table=Table(header, rows), wide=True)


def _slices(measured: Sequence[Measured]) -> list[Figure]:
    metric = next(
        (each for each in ("hit_rate@10", "recall@10", "mrr") if all(each in one.metrics for one in measured)), ""
    )
    shared = [name.removesuffix("/queries") for name in measured[0].metrics if name.endswith("/queries")]
    shared = [name for name in shared if all(f"{name}/{metric}" in one.metrics for one in measured)]
    if not shared:
        return []
    found = compare(measured[0], measured[1], [f"{name}/{metric}" for name in shared])
    rows = []
    for name in shared:
        each = found.get(f"{name}/{metric}")
        mark = "" if each is None or each.p >= CHANCE else "good" if each.difference > 0 else "bad"
        difference = Cell("–") if each is None else Cell(signed(each.difference), span(each.low, each.high), mark)
        size = f"{measured[0].metrics[f'{name}/queries']:,.0f} queries"
        values = [Cell(number(one.metrics[f"{name}/{metric}"])) for one in measured]
        rows.append([Cell(name.replace("_", " "), size), *values, difference])
    caption = (
        f"{metric} of each slice, and the difference with its 95 % interval; coloured where it is beyond chance. Head, "
        "middle and tail divide the right candidates by how often training liked them. One run may be better for the "
        "popular and worse for the rare."
    )
    header = ["", *(each.name for each in measured), "difference"]
    return [Figure("By slice", caption, table=Table(header, rows), wide=True)]


def _settings(records: Sequence[RunRecord], names: Sequence[str]) -> Section:
    """Return the settings in which the configs differ."""
    flat = [_flat(record.config) for record in records]
    different = [key for key in dict.fromkeys([*flat[0], *flat[1]]) if flat[0].get(key, "–") != flat[1].get(key, "–")]
    rows = [[Cell(key), *(Cell(cell(each.get(key, "–"), 120)) for each in flat)] for key in different[:MOST_SETTINGS]]
    left_out = len(different) - len(rows)
    text = "The configs are equal." if not rows else f"{left_out} more differ." if left_out else ""
    caption = (
        "Every setting in which the two configs differ; all others are equal. Where several differ, no metric of "
        "this page says which of them is the cause."
    )
    figures = [Figure("Settings that differ", caption, table=Table(["", *names], rows), wide=True)] if rows else []
    return Section("facts", "What differs", figures, text)


def _flat(value: object, prefix: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        found: dict[str, str] = {}
        for key, each in value.items():
            found |= _flat(each, f"{prefix}.{key}" if prefix else str(key))
        return found
    if isinstance(value, list):
        return {prefix: ", ".join(describe(each) or str(each) for each in value)}
    return {prefix: str(value)}


def _examples(
    tested: Sequence[Measured], metric: str, opened: Sequence[OpenedRun | None], names: Sequence[str]
) -> list[Section]:
    """Return the sampled queries in which the runs differ most, each with both rankings."""
    if tested[0].rows is None or tested[1].rows is None or any(each is None or each.sample is None for each in opened):
        return []
    first, second = (Cases(each.sample, each.data) for each in opened if each is not None and each.sample is not None)
    places = [_places(cases) for cases in (first, second)]
    order = _most_different(tested, metric)
    known = [key for key in order if all(key in place for place in places)]
    if not known:
        return []
    figures = []
    for title, keys in (
        (f"{names[1]} is better", known[-DIFFERENT:][::-1]),
        (f"{names[0]} is better", known[:DIFFERENT]),
    ):
        keys = [key for key in keys if (order[key] > 0) == (title == f"{names[1]} is better") and order[key]]
        examples = [example for key in keys for example in _both(key, places, (first, second), names)]
        if examples:
            caption = (
                f"The sampled queries whose {metric} differs most, with the ranking of both runs; green marks the "
                "right "
                "candidates. Look for what these queries have in common: that is what the change has taught or cost."
            )
            figures.append(Figure(title, caption, examples=examples, wide=True))
    return [Section("examples", "Where they differ most", figures)] if figures else []


def _most_different(tested: Sequence[Measured], metric: str) -> dict[tuple[object, ...], float]:
    """Return B − A of each row, by its ids, ascending."""
    frames = [each.rows for each in tested if each.rows is not None]
    keys = [name for name in ROW_ID_COLUMNS if name in frames[0].columns]
    if any(metric not in each.columns for each in frames):
        return {}
    joined = (
        frames[0].select(*keys, metric).join(frames[1].select(*keys, pl.col(metric).alias("b")), on=keys).drop_nulls()
    )
    joined = joined.with_columns(difference=pl.col("b") - pl.col(metric)).sort("difference", *keys)
    return {tuple(row[:-1]): row[-1] for row in joined.select(*keys, "difference").iter_rows()}


def _places(cases: Cases) -> dict[tuple[object, ...], int]:
    """Return the number of each sampled query by its ids in ``per_query.parquet``."""
    sample, prepared = cases.sample, cases.data.data
    queries = prepared.queries.to_series(0)
    found: dict[tuple[object, ...], int] = {}
    for place, row in enumerate(sample.query_row.tolist()):
        key: tuple[object, ...] = (queries[row],)
        if sample.event_row is not None:
            candidate = int(prepared.interactions.candidate[sample.event_row[place]])
            key = (*key, prepared.candidates.item(candidate, 0))
        found[key] = place
    return found


def _both(
    key: tuple[object, ...],
    places: Sequence[dict[tuple[object, ...], int]],
    cases: Sequence[Cases],
    names: Sequence[str],
) -> list[Example]:
    examples = [each.example(place[key]) for each, place in zip(cases, places, strict=True)]
    return [each._replace(title=f"{each.title} — {name}") for each, name in zip(examples, names, strict=True)]


def require_two(runs: Sequence[str]) -> tuple[str, str]:
    """Return the two runs that are compared.

    Raises:
        UserError: another number of runs.
    """
    if len(runs) != 2:
        raise UserError(f"--runs: {len(runs)} runs ({', '.join(runs)}); a comparison has two: --runs A B")
    return runs[0], runs[1]
