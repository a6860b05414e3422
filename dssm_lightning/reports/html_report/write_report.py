"""The report of one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dssm_lightning import __version__, api
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.reports.html_report.advice import give_advice
from dssm_lightning.reports.html_report.embedding_map import colour_column, embeddings_section, measure_geometry
from dssm_lightning.reports.html_report.evidence import Evidence
from dssm_lightning.reports.html_report.example_cases import Cases, examples_section
from dssm_lightning.reports.html_report.metric_figures import Verdict, metrics_section, verdict
from dssm_lightning.reports.html_report.page import Page
from dssm_lightning.reports.html_report.page_parts import Section, number, short_name, signed, span
from dssm_lightning.reports.html_report.projector_files import write_projector
from dssm_lightning.reports.html_report.ranked_sample import RankedSample, best_ranks, rank_sample
from dssm_lightning.reports.html_report.ranking_figures import CUT, ranking_section
from dssm_lightning.reports.html_report.run_facts import facts_section
from dssm_lightning.reports.html_report.run_record import RunRecord
from dssm_lightning.reports.html_report.training_figures import training_section


class OpenedRun(NamedTuple):
    """The model of a run over its data, and what it does with a sample of held-out queries."""

    model: TwoTowerModel
    data: RetrievalData
    sample: RankedSample | None  # None: the split holds out no row


def open_run(record: RunRecord, trust: Sequence[str] = ()) -> OpenedRun | None:
    """Read the checkpoint of a run and rank a sample; None without a checkpoint.

    Raises:
        UserError: as for :func:`dssm_lightning.api.load_run`.
    """
    if record.checkpoint is None:
        return None
    model, data = api.load_run(record.checkpoint, trust)
    model.eval()
    return OpenedRun(model, data, rank_sample(model, data))


def make_page(record: RunRecord, opened: OpenedRun | None, colour_by: str | None = None) -> Page:
    """Return the page of one run.

    Args:
        record: the files of the run.
        opened: its model; None = only what the files tell.
        colour_by: a column of the candidates that colours the map.

    Raises:
        UserError: ``colour_by`` is no column of the candidates.
    """
    evidence = Evidence(record, candidate_id=None if opened is None else opened.data.candidates.columns[0])
    sections: list[Section] = []
    if opened is not None and opened.sample is not None:
        colour_column(opened.data.candidates, colour_by)
        evidence, sections = _with_model(evidence, opened.model, opened.data, opened.sample, colour_by)
    model, data = (None, None) if opened is None else (opened.model, opened.data)
    training = training_section([record], [record.name])
    facts = facts_section(record, model, data)
    found = verdict(record)
    return Page(
        title=f"Report: {record.name}",
        headline=headline(record, found),
        tiles=_tiles(record, found, evidence),
        notes=record.notes,
        advice=give_advice(evidence),
        sections=[facts, metrics_section(record), training, *sections],
        made=f"Made by dssm-lightning {__version__} from {record.folder}. This page loads nothing from anywhere.",
    )


def _with_model(
    evidence: Evidence, model: TwoTowerModel, data: RetrievalData, sample: RankedSample, colour_by: str | None
) -> tuple[Evidence, list[Section]]:
    """Return the sections that need the model, and the evidence with what they show."""
    popularity = data.popularity if sample.ranked is None else data.popularity[sample.ranked]
    cases, widths = Cases(sample, data), model.direction_widths()
    titles = [cases.query_title(place) for place in range(len(sample.queries))]
    ranks = best_ranks(sample)
    near = float(((ranks >= CUT) & (ranks < 100)).float().mean())
    found = float((ranks < CUT).float().mean())
    geometry = measure_geometry(sample, widths)
    sections = [
        ranking_section(sample, popularity),
        embeddings_section(sample, geometry, widths, data.candidates, data.data.display, titles, colour_by),
        examples_section(cases),
    ]
    return evidence._replace(geometry=geometry, near_misses=near, found=found), sections


def headline(record: RunRecord, found: Verdict | None) -> str:
    """Say in a sentence or two whether the model is better than the best baseline."""
    if record.model is None:
        return "The model was not tested, so nothing says how good it is on new rows."
    value, name = record.model.metrics.get(record.primary), record.primary
    if found is None:
        return f"{name} is {number(value)} on the test rows. No baseline was measured on the same rows."
    each = found.difference
    difference = f"{signed(each.difference)} ({span(each.low, each.high)})"
    if not found.beyond_chance:
        return (
            f"{name} is {number(value)}; the best baseline, {short_name(found.baseline)}, has {number(each.a)}. The "
            "difference, "
            f"{difference}, may be chance: more queries or a better model would have to show it."
        )
    better = "better" if each.difference > 0 else "worse"
    return (
        f"{name} is {number(value)}: {better} than the best baseline, {short_name(found.baseline)} "
        f"({number(each.a)}), by "
        f"{difference}, which is beyond chance (p {'<' if each.p < 0.005 else '='} {max(each.p, 0.005):.3f})."
    )


def _tiles(record: RunRecord, found: Verdict | None, evidence: Evidence) -> list[tuple[str, str, str]]:
    tiles = []
    if record.model is not None:
        names = dict.fromkeys([record.primary, "hit_rate@10", "recall@100"])
        for name in [each for each in names if each in record.model.metrics]:
            low, high = record.intervals.get(name, (None, None))
            below = "" if low is None else f"95 %: {number(low)} – {number(high)}"
            tiles.append((name, number(record.model.metrics[name]), below))
    if found is not None:
        tiles.append(
            (
                f"{record.primary}, beside {short_name(found.baseline)}",
                signed(found.difference.difference),
                span(found.difference.low, found.difference.high),
            )
        )
    if evidence.geometry:
        bad = [each.side for each in evidence.geometry if each.collapsed]
        rank = min(evidence.geometry, key=lambda each: each.rank)
        below = f"effective rank of the {rank.side}: {rank.rank:.1f}"
        tiles.append(("embeddings", f"{' and '.join(bad)} collapsed" if bad else "no collapse", below))
    return tiles


def write_points(folder: Path, opened: OpenedRun) -> int:
    """Write the embeddings of the whole corpus for TensorBoard's projector; return their number."""
    sample = opened.sample
    if sample is not None and sample.ranked is None:
        return write_projector(folder, sample.corpus, opened.data.candidates)
    batches = opened.data.corpus_batches()
    from torch import inference_mode

    with inference_mode():
        corpus = opened.model.embed_corpus(batches, len(batches.numbers))
    return write_projector(folder, corpus, opened.data.candidates)
