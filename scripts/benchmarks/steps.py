"""Steps as ``bench.py`` looks into them: what Lightning adds, and where the time goes."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.deep_retrieval import CONFIG, StepTurns, film_data, fit_by_turns
from benchmarks.report import Row, Section, rates
from benchmarks.training import Training
from dssm_lightning.api import load_untrained


def lightning_step(epochs: int = 9, num_ratings: int | None = None, batch_size: int = 2048) -> Section:
    """Steps of Lightning's `fit`, with two loggers, against a bare loop over the same batches with the same model.

    The model and the data are those of `deep_retrieval`, whose steps are short; the sides take turns of an epoch. Both
    assemble the batch, go forward and backward and step the optimizer. What Lightning adds is hooks, logging and
    bookkeeping, the same for every step.
    """
    with TemporaryDirectory() as folder:
        data = film_data(Path(folder), num_ratings, batch_size)
        model, twin = load_untrained([CONFIG]), load_untrained([CONFIG])
        for each in (model, twin):
            each.build(data.schemas)
        steps = len(data.assembler.rows) // batch_size
        turns = StepTurns(Training(twin, data, batch_size, steps))
        ours, theirs = fit_by_turns(model, data, turns, epochs, Path(folder))
    over = [1e3 * (a - b) / steps for a, b in zip(ours, theirs, strict=True)]
    note = (
        f"A bare step takes {1e3 * median(theirs) / steps:.2f} ms, Lightning adds {median(over):.2f} ms "
        f"({min(over):.2f} – {max(over):.2f}) to it."
    )
    row = Row(
        f"batches of {batch_size:,}",
        "rows/s",
        *(rates(steps * batch_size, each) for each in (ours, theirs)),
        limit="the bare loop: 1",
    )
    return Section("Lightning's share of a step", [row], [note])
