"""The table that a fit and a test end with: the model beside baselines on the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

from dssm_lightning.cli import trainer_verbs
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.interactions import FOLDS, TEST, VALIDATION
from dssm_lightning.evaluation.baseline_table import BaselineTable, beside_baselines, show_baselines, table_metrics
from dssm_lightning.evaluation.measured_baselines import measured_baselines
from dssm_lightning.evaluation.metrics import RowValues
from dssm_lightning.evaluation.model_rows import rank_by_model
from dssm_lightning.reports.next_steps import FitFacts, next_steps
from dssm_lightning.training.best_weights import weights_of
from dssm_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from dssm_lightning.training.checkpoint_files import read_checkpoint
from dssm_lightning.training.module import TwoTower
from dssm_lightning.utils import distributed
from dssm_lightning.utils.console import show

LEAST_SECONDS, SHARE_OF_FIT = 60.0, 0.1
"""What baselines may take: a minute, or this share of the fit's own time if that is more."""


def ends_with_table(asked: bool | None, trainer: Any) -> bool:
    """Return whether a fit or a test ends with the table: not for a dry run.

    Args:
        asked: the value of ``--baselines``; None = it is not given.
        trainer: of the fit or test.
    """
    return (trainer_verbs.ENDS_WITH_BASELINES if asked is None else asked) and not trainer.fast_dev_run


def wanted(asked: bool | None, trainer: Any) -> bool:
    """Return whether this process shows the table now; of several processes the first one.

    The processes part here, so that the first one measures alone.
    """
    if not ends_with_table(asked, trainer) or trainer.interrupted:
        return False
    distributed.part()
    return bool(trainer.is_global_zero)


def report_fit(
    trainer: Trainer, model: TwoTower, data: RetrievalDataModule, config: str | None, seconds: float
) -> BaselineTable | None:
    """Show the model of the best checkpoint beside baselines on the validation rows, and what to try.

    Args:
        trainer: of the finished fit.
        model: of the fit.
        data: of the fit.
        config: the config of the run, for the commands that are named.
        seconds: how long the fit took.
    """
    [best] = [each for each in trainer.checkpoint_callbacks if isinstance(each, BestCheckpoint)]
    checkpoint = Path(best.best_model_path)
    if best.monitor is None or not checkpoint.is_file() or model.schemas is None:
        return None
    with _alone(data):
        if len(data.evaluation_batches(VALIDATION)) == 0:
            return None
        device = trainer.strategy.root_device
        with weights_of(model, checkpoint, device), trainer.precision_plugin.forward_context():
            _, rows = rank_by_model(model, data, VALIDATION, model.ks)
        limit = max(LEAST_SECONDS, SHARE_OF_FIT * seconds)
        table = _table(rows, {}, data, VALIDATION, best.monitor, model.ks, limit)
        if table is None:
            return None
        _show(table, VALIDATION)
        if table.verdict != "ahead":
            epoch = read_checkpoint(checkpoint, mmap=True)["epoch"] + 1
            facts = FitFacts(config, _learning_rate(model), epoch, trainer.current_epoch)
            show(*(f"  to try: {line}" for line in next_steps(model, data, table.best.name, facts)))
    return table


def report_test(
    rows: RowValues, blends: Mapping[str, RowValues], data: RetrievalDataModule, ks: list[int] | None
) -> BaselineTable | None:
    """Show a tested model beside baselines on the test rows.

    Args:
        rows: the model's metrics of each query or event.
        blends: those of its blends with BM25, by name.
        data: of the test.
        ks: cut-offs of the model's metrics; None = the usual ones.
    """
    with _alone(data):
        table = _table(rows, blends, data, TEST, None, ks, LEAST_SECONDS)
        if table is not None:
            _show(table, TEST)
    return table


def _table(
    rows: RowValues,
    blends: Mapping[str, RowValues],
    data: RetrievalDataModule,
    fold: int,
    monitor: str | None,
    ks: list[int] | None,
    limit: float,
) -> BaselineTable | None:
    """Return the table; None if no baseline is measured, or no query counts."""
    metrics = table_metrics([name for name in rows.names if "/" not in name], monitor)
    if not len(rows.values):
        return None
    others = measured_baselines(data, fold, rows, metrics, ks, limit)
    return beside_baselines(rows, {**blends, **others}, metrics) if others else None


def _show(table: BaselineTable, fold: int) -> None:
    show_baselines(table, f"{FOLDS[fold]} rows")
    name, metric = table.best.name.replace("()", ""), table.metrics[0]
    show(
        {
            "ahead": f"The model is ahead of every baseline beyond chance; the best one is {name} ({metric}).",
            "level": f"The model is not ahead of {name} beyond chance ({metric}).",
            "behind": f"The model is behind {name}, which needs no training ({metric}).",
        }[table.verdict]
    )


def _learning_rate(model: TwoTower) -> float | None:
    """Return the learning rate of the settings; None if they do not name one."""
    found: Any = model.hparams.get("optimizer")
    for key in ("init_args", "lr"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, float | int) else None


@contextmanager
def _alone(data: RetrievalDataModule) -> Iterator[None]:
    """Give this process all rows of the data, whatever the trainer's number of processes."""
    trainer, data.trainer = data.trainer, None
    try:
        yield
    finally:
        data.trainer = trainer
