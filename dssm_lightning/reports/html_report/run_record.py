"""What the files of a run folder tell, without its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from dssm_lightning.evaluation.result_files import INTERVALS, PER_QUERY, per_query_of
from dssm_lightning.reports.training_curves import Points, read_curves, run_folder
from dssm_lightning.training.run_folders import checkpoint_path
from dssm_lightning.training.run_status import not_finished, read_status
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.text_files import parse_json, read_utf8
from dssm_lightning.utils.yaml_files import read_sections

HYBRID = "hybrid with BM25"
PRIMARY = "mrr"
"""The metric that is compared if the run chose its checkpoint by one that the test does not have."""
TOLERANCE = 1e-3
"""How far a mean of ``per_query`` may lie from ``baselines.json``."""


class Measured(NamedTuple):
    """The test of one model or baseline."""

    name: str
    metrics: dict[str, float]  # by their names without test/
    rows: pl.DataFrame | None  # its per_query table


class Note(NamedTuple):
    """Something that the report cannot show, and the command that changes this."""

    text: str
    command: str = ""


class RunRecord(NamedTuple):
    """The files of a run."""

    folder: Path
    config: dict[str, Any]
    checkpoint: Path | None
    curves: dict[str, Points]  # by logged names
    model: Measured | None  # None = not tested
    intervals: dict[str, tuple[float, float]]  # by names without test/
    baselines: list[Measured]  # the best first, by the primary metric
    hybrid: Measured | None
    notes: list[Note]

    @property
    def name(self) -> str:
        """The name of the run's config, and the run's number."""
        folder = self.folder.resolve()
        return f"{folder.parent.name}/{folder.name}"

    @property
    def monitor(self) -> str | None:
        """The logged metric that chose ``best.ckpt``."""
        found = (self.config.get("checkpoint") or {}).get("monitor")
        return found if isinstance(found, str) else None

    @property
    def primary(self) -> str:
        """The metric of the test that the report compares by."""
        return primary_metric(self.monitor, {} if self.model is None else self.model.metrics)

    @property
    def validated(self) -> bool:
        """Whether a validation has logged metrics."""
        return any(name.startswith("val/") for name in self.curves)


def primary_metric(monitor: str | None, metrics: dict[str, float]) -> str:
    """Return the metric that chose the checkpoint, if the test has it.

    Example:
        >>> primary_metric("val/ndcg@10", {"ndcg@10": 0.2, "mrr": 0.1}), primary_metric("train/loss", {"mrr": 0.1})
        ('ndcg@10', 'mrr')
    """
    name = (monitor or "").removeprefix("val/")
    return name if name in metrics else PRIMARY


def read_run(run: str, which: str = "best") -> RunRecord:
    """Read the files of a run.

    Args:
        run: a run folder, or a checkpoint in a run folder.
        which: the checkpoint, ``best`` or ``last``, if a folder is given.

    Raises:
        UserError: no run folder; a folder in which nothing was trained; a damaged file.
    """
    folder = run_folder(run)
    if not (folder / "config.yaml").is_file():
        raise UserError(f"--run {run}: no run folder, which has a config.yaml (runs/<name>/version_<N>)")
    checkpoint = Path(run) if Path(run).suffix == ".ckpt" else _checkpoint(folder, which)
    if checkpoint is not None and not checkpoint.is_file():
        raise UserError(f"--run {run}: no such file")
    curves = read_curves(folder)
    if checkpoint is None and not curves and not (folder / PER_QUERY).is_file():
        raise UserError(f"--run {run}: nothing was trained in it: it has no checkpoint, no metrics.csv and no test")
    metrics = _numbers(folder / "metrics.json")
    model = _measured("this model", folder / PER_QUERY, _named(metrics, "test/"))
    record = RunRecord(
        folder=folder,
        config=read_sections(folder / "config.yaml"),
        checkpoint=checkpoint,
        curves=curves,
        model=model,
        intervals=_intervals(folder / INTERVALS),
        baselines=[],
        hybrid=_measured(HYBRID, folder / per_query_of("hybrid"), _named(metrics, "test/hybrid/")),
        notes=[],
    )
    baselines, doubtful = _baselines(folder, record.primary)
    return record._replace(baselines=baselines, notes=[*_missing(record, which, bool(baselines)), *doubtful])


def baseline_command(folder: Path) -> str:
    """Return the command that measures the baselines of a run."""
    name = folder.resolve().parent.name
    config = next((each for each in (Path("configs") / f"{name}.yaml", Path(f"{name}.yaml")) if each.is_file()), None)
    return f"python -m dssm_lightning baseline --config {config or f'{name}.yaml'}"


def run_command(record: RunRecord, verb: str) -> str:
    """Return the command that tests or validates a run's checkpoint."""
    checkpoint = record.checkpoint or checkpoint_path(record.folder, "best")
    return f"python -m dssm_lightning {verb} --ckpt_path {checkpoint}"


def _checkpoint(folder: Path, which: str) -> Path | None:
    other = "last" if which == "best" else "best"
    return next((path for each in (which, other) if (path := checkpoint_path(folder, each)).is_file()), None)


def _missing(record: RunRecord, which: str, has_baselines: bool) -> list[Note]:
    """Say what the run lacks, with the command that makes it."""
    notes = []
    unfinished = not_finished(record.folder)
    resume = f"python -m dssm_lightning fit --ckpt_path {checkpoint_path(record.folder, 'last')}"
    if unfinished is not None:
        notes.append(
            Note(f"The run is not finished: {unfinished.partition(': ')[2]}. Numbers may still change.", resume)
        )
    elif read_status(record.folder) is None:
        notes.append(Note("The run has no status.json: an earlier release made it, or it never began to train."))
    if record.checkpoint is None:
        notes.append(Note("There is no checkpoint: rankings, scores, examples and the map of embeddings are left out."))
    elif record.checkpoint.stem != which:
        notes.append(Note(f"There is no {which}.ckpt: rankings and embeddings are those of {record.checkpoint.name}."))
    if not record.validated:
        text = "No validation was logged: there is no curve of quality, and best.ckpt is the last epoch."
        notes.append(Note(text, "fit … --data.split.init_args.validation 0.1"))
    if record.model is None:
        notes.append(Note("The model was not tested.", run_command(record, "test")))
    elif _is_older(record.folder / PER_QUERY, record.checkpoint):
        notes.append(Note("The checkpoint is newer than its test: test again.", run_command(record, "test")))
    if not has_baselines:
        text = "No baseline was measured, so nothing says what a model without training reaches."
        notes.append(Note(text, baseline_command(record.folder)))
    return notes


def _is_older(results: Path, checkpoint: Path | None) -> bool:
    newer_by = (
        0.0 if checkpoint is None or not results.is_file() else checkpoint.stat().st_mtime - results.stat().st_mtime
    )
    return newer_by > 2  # seconds: copied folders have nearly equal times


def _baselines(folder: Path, primary: str) -> tuple[list[Measured], list[Note]]:
    """Return the baselines of the test rows, and notes about those of other rows."""
    found, notes = [], []
    for name, metrics in _objects(folder / "baselines.json").items():
        measured = _measured(name, folder / per_query_of(name), metrics)
        if measured is None:
            continue
        rows = measured.rows
        mean = None if rows is None or primary not in rows.columns else rows[primary].mean()
        if isinstance(mean, float) and abs(mean - metrics.get(primary, mean)) > TOLERANCE:
            text = f"{name} is left out: baselines.json was measured on other rows than its test (--fold validation?)."
            notes.append(Note(text, baseline_command(folder)))
        else:
            found.append(measured)
    return sorted(found, key=lambda each: -each.metrics.get(primary, -1.0)), notes


def _measured(name: str, path: Path, metrics: dict[str, float]) -> Measured | None:
    rows = None
    if path.is_file():
        try:
            rows = pl.read_parquet(path)
        except pl.exceptions.PolarsError as error:
            raise UserError(f"{path} is not a Parquet file: {error}; remove it, and test again") from error
    return None if rows is None and not metrics else Measured(name, metrics, rows)


def _named(metrics: dict[str, float], prefix: str) -> dict[str, float]:
    found = {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
    return {name: value for name, value in found.items() if not name.startswith("hybrid/")}


def _objects(path: Path) -> dict[str, dict[str, float]]:
    found = parse_json(read_utf8(path), str(path)) if path.is_file() else {}
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise UserError(f"{path}: no JSON object of metrics by baseline; measure the baselines again")
    return {name: _only_numbers(each) for name, each in found.items()}


def _numbers(path: Path) -> dict[str, float]:
    found = parse_json(read_utf8(path), str(path)) if path.is_file() else {}
    if not isinstance(found, dict):
        raise UserError(f"{path}: no JSON object of metrics; test again")
    return _only_numbers(found)


def _only_numbers(values: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float) and value == value}


def _intervals(path: Path) -> dict[str, tuple[float, float]]:
    found = parse_json(read_utf8(path), str(path)) if path.is_file() else {}
    if not isinstance(found, dict):
        raise UserError(f"{path}: no JSON object of intervals; test again")
    return {name.removeprefix("test/"): (float(low), float(high)) for name, (low, high) in found.items()}
