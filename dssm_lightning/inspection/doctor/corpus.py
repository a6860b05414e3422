"""The corpus: candidates that only the test knows, the same text under several ids, and lists to choose from."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import polars as pl
import torch

from dssm_lightning.data.interactions import TEST, TRAIN, VALIDATION
from dssm_lightning.features import Categorical
from dssm_lightning.inspection.doctor.findings import Finding, Level, percent, yaml_line
from dssm_lightning.inspection.doctor.settings import source_line, split_line
from dssm_lightning.inspection.doctor.subject import SIDES, IntArray, Subject

DOZENS = 24
"""Liked candidates of one query text from which most candidates of a batch may be right."""


def check_corpus(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the candidates, and with the texts of both sides."""
    yield from _only_in_test(subject)
    yield from _ranked(subject)
    yield from _small(subject)
    yield from _same_texts(subject)
    yield from _many_positives(subject)
    yield from _ids(subject)


def _only_in_test(subject: Subject) -> Iterator[Finding]:
    """Held-out rows whose candidate no training row likes."""
    rows = subject.held_out
    if not len(rows):
        return
    trained = np.zeros(len(subject.prepared.candidates), bool)
    trained[subject.candidate[subject.rows[TRAIN]]] = True
    share = float((~trained[subject.candidate[rows]]).mean())
    if share < 0.1:
        return
    key = subject.tables.keys.candidate_id
    found = f"{percent(share)} of the {subject.held_out_name} rows like a candidate that no training row likes"
    described = [f for f in subject.features("candidate") if not _is_id(f, key)]
    if described or subject.assembled("candidate"):
        yield Finding("note", "test-only-candidates", "data.candidate", f"{found}: only its features can find it")
        return
    columns = [name for name, kind in subject.prepared.candidates.schema.items() if kind == pl.String and name != key]
    if columns:
        text = {"class_path": "HashedTrigrams", "init_args": {"name": columns[0]}}
        change = yaml_line("data.candidate", [text], "one more entry")
    else:
        change = split_line("PerQuery", test=0.1, validation=0.1)
    yield Finding("warning", "test-only-candidates", "data.candidate", f"{found}: an id alone cannot find it", change)


def _is_id(feature: object, key: str) -> bool:
    return isinstance(feature, Categorical) and feature.source_column == key


def _ranked(subject: Subject) -> Iterator[Finding]:
    """A ranking among the held-out candidates alone, where the split does not hold out whole candidates."""
    if subject.data.rank == "held_out" and subject.split != "ColdCandidates" and len(subject.held_out):
        ranked = len(np.unique(subject.candidate[subject.held_out]))
        found = f"only {ranked:,} of {len(subject.prepared.candidates):,} candidates are ranked, those of the fold: a "
        found += f"metric that is too good, since {subject.split} holds out no whole candidates"
        yield Finding("warning", "rank-held-out", "data.rank", found, yaml_line("data.rank", "corpus"))


def _small(subject: Subject) -> Iterator[Finding]:
    """A monitored cut-off that covers much of what is ranked."""
    monitor = str(subject.setting("checkpoint.monitor", ""))
    cut_off = re.search(r"@(\d+)$", monitor)
    total = len(subject.prepared.candidates)
    if cut_off is None or subject.data.evaluate == "listed" or subject.data.rank == "held_out":
        return
    if int(cut_off[1]) > 0.2 * total:
        found = f"{monitor} looks at {cut_off[1]} of only {total:,} candidates, where chance finds much"
        change = yaml_line("checkpoint.monitor", f"{monitor[: cut_off.start()]}@1" if total < 50 else "val/mrr")
        yield Finding("warning", "small-corpus", "checkpoint.monitor", found, change)


def _same_texts(subject: Subject) -> Iterator[Finding]:
    """Texts under several ids, whose candidates are each other's negatives."""
    if subject.data.mask_duplicates:
        return
    change = yaml_line("data.mask_duplicates", True)
    both = set(subject.texts) == set(SIDES)  # what mask_duplicates needs
    if (text := subject.texts.get("candidate")) is not None:
        repeated = np.bincount(text)[text] > 1
        share = float(repeated.mean())
        if share > 0.005:
            found = (
                f"{int(repeated.sum()):,} of {len(text):,} candidates ({percent(share)}) have the text of another one, "
            )
            found += "as whose negatives they train"
            line = change if both else source_line("candidates", "…", "with one row for each text")
            yield Finding("warning" if share > 0.1 else "note", "same-candidates", "data.candidate", found, line)
    if (text := subject.texts.get("query")) is not None and both:
        yield from _same_queries(subject, text, change)


def _same_queries(subject: Subject, text: IntArray, change: str) -> Iterator[Finding]:
    rows = subject.rows[TRAIN]
    frame = pl.DataFrame({"text": text[subject.query[rows]], "query": subject.query[rows]})
    frame = frame.with_columns(candidate=pl.Series(subject.candidate[rows]))
    groups = frame.with_columns(
        queries=pl.col("query").n_unique().over("text"), candidates=pl.col("candidate").n_unique().over("text")
    )
    share = int(((groups["queries"] > 1) & (groups["candidates"] > 1)).sum()) / max(len(rows), 1)
    if share > 0.01:
        found = f"{percent(share)} of {len(rows):,} training rows have a query text that likes other candidates under "
        found += "another id: they train as negatives"
        yield Finding("warning" if share > 0.25 else "note", "same-queries", "data.query", found, change)


def _many_positives(subject: Subject) -> Iterator[Finding]:
    """Query texts that lead to dozens of candidates."""
    text = subject.texts.get("query")
    if text is None:
        return
    rows = np.concatenate([subject.rows[fold] for fold in (TRAIN, VALIDATION, TEST)])
    frame = pl.DataFrame({"text": text[subject.query[rows]], "candidate": subject.candidate[rows]})
    counts = frame.group_by("text").agg(pl.col("candidate").n_unique())["candidate"].to_numpy()
    share = float(counts[counts >= DOZENS].sum() / max(counts.sum(), 1))
    if share > 0.05:
        found = f"{int((counts >= DOZENS).sum()):,} query texts lead to {DOZENS} candidates and more (at most "
        found += f"{int(counts.max()):,}), {percent(share)} of the pairs: such a text cannot tell them apart"
        change = yaml_line("model.loss", {"class_path": "SampledSoftmax", "init_args": {"repeats": "inclusion"}})
        if not subject.data.mask_known:
            change = yaml_line("data.mask_known", True)
        level: Level = "warning" if share > 0.5 or not subject.data.mask_known else "note"
        yield Finding(level, "many-positives", "data.query", found, change)


def _ids(subject: Subject) -> Iterator[Finding]:
    """Ids that differ by blanks at their ends."""
    keys = subject.tables.keys
    for side, key in (("queries", keys.query_id), ("candidates", keys.candidate_id)):
        ids = getattr(subject.tables, side)[key]
        if ids.dtype != pl.String:
            continue
        repeated = len(ids) - ids.str.strip_chars().n_unique()
        if repeated:
            found = f"{repeated:,} ids of {key!r} differ from another one only by blanks"
            change = source_line("interactions", subject.setting("data.source.init_args.interactions", "…"), "cleaned")
            yield Finding("warning", "id-variants", f"data.source.{key}", found, change)


def check_lists(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the lists that queries rank, if each ranks its own."""
    if subject.data.evaluate != "listed":
        return
    label = subject.interactions.label
    for fold, name in ((VALIDATION, "validation"), (TEST, "test")):
        rows = subject.interactions.rows(fold)
        if label is None or not len(rows):
            continue
        query = torch.unique(subject.interactions.query[rows], return_inverse=True)[1]
        liked = torch.bincount(query, weights=label[rows].double()).numpy()
        sizes = torch.bincount(query).numpy()
        without, alone = float((liked == 0).mean()), float(((liked == sizes) & (liked > 0)).mean())
        if max(without, alone) > 0.5:
            kind = "no liked candidate" if without > alone else "nothing but liked candidates"
            found = f"{percent(max(without, alone))} of {len(sizes):,} {name} lists have {kind}, and measure nothing"
            change = yaml_line("data.evaluate", "query")
            yield Finding("warning", "lists", "data.evaluate", found, change)
            return
