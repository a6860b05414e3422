"""What the trainer's verbs show and write at their end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch import Trainer

from dssm_lightning.data.preparation.cache import Prepared
from dssm_lightning.evaluation.hybrid_test import HybridTest
from dssm_lightning.evaluation.metric_tables import show_best, show_comparison
from dssm_lightning.evaluation.result_files import (
    INTERVALS,
    PER_QUERY,
    merge_metrics,
    per_query,
    per_query_of,
    write_json,
    write_parquet,
)
from dssm_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from dssm_lightning.training.module import TwoTower
from dssm_lightning.utils.logger import log_file, warn

METRICS = "metrics.json"


def show_fit(trainer: Trainer, verbose: bool) -> None:
    """Show the best metrics of a fit and the place of the checkpoint, or warn that there is none.

    Args:
        trainer: of the fit.
        verbose: show every metric.
    """
    [best] = [each for each in trainer.checkpoint_callbacks if isinstance(each, BestCheckpoint)]
    if not trainer.is_global_zero or _is_dry_run(trainer):
        return
    if not best.best_model_path:
        warn(_why_no_best(best, trainer))
        return
    best.restore_from_last_checkpoint()
    end, value = "metrics at the end of training", best.best_model_score
    title = end if best.monitor is None else f"best {best.monitor}: {value:.4f}"
    show_best(best.best_metrics, title, best.monitor, verbose=verbose)
    log_file("checkpoint", Path(best.best_model_path))


def write_metrics(trainer: Trainer, run: Path | None) -> None:
    """Write the metrics into the folder of the measured run."""
    if run is not None and trainer.is_global_zero:
        merge_metrics(run / METRICS, trainer.callback_metrics)
        log_file("metrics", run / METRICS)


def write_rows(trainer: Trainer, model: TwoTower, data: Prepared, run: Path | None) -> None:
    """Write the metrics of each query, and their intervals, into the folder of the measured run."""
    if model.row_values is None:
        warn("ddp_spawn leaves the metrics of each query in its processes: per_query.parquet is not written")
    elif trainer.is_global_zero and run is not None:
        write_parquet(run / PER_QUERY, per_query(model.row_values, data))
        write_json(run / INTERVALS, model.intervals)


def show_hybrid(hybrid: HybridTest, metrics: Mapping[str, float], data: Prepared, run: Path | None) -> None:
    """Show the fusion with BM25 beside the model, and write its metrics into the folder of the measured run."""
    model = {name.removeprefix("test/"): value for name, value in metrics.items()}
    show_comparison({"the model": model, "hybrid with BM25": hybrid.metrics})
    if run is not None and hybrid.rows is not None:
        merge_metrics(run / METRICS, hybrid.named)
        write_parquet(run / per_query_of("hybrid"), per_query(hybrid.rows, data))


def _is_dry_run(trainer: object) -> bool:
    """Return whether nothing is saved. Lightning sets ``fast_dev_run`` without a type."""
    return bool(getattr(trainer, "fast_dev_run", False))


def _why_no_best(best: BestCheckpoint, trainer: Trainer) -> str:
    last = None if best.dirpath is None else Path(best.dirpath) / "last.ckpt"
    if last is None or not last.is_file():
        return "nothing was trained: there is neither best.ckpt nor last.ckpt (trainer.max_epochs, max_steps, max_time)"
    return (
        f"best.ckpt needs {best.monitor}, and no validation ran (trainer.limit_val_batches, check_val_every_n_epoch, "
        f"max_time): there is only {last}; the other commands take it with --ckpt_path last"
    )
