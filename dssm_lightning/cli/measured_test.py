"""What a test measures beside the model, and what it shows and writes at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from dssm_lightning.cli import baseline_report
from dssm_lightning.cli.run_results import show_hybrid, write_rows
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.evaluation.hybrid_test import HybridTest
from dssm_lightning.evaluation.trec_files import TrecFiles
from dssm_lightning.retrieval.blend import Blend, chosen_blend
from dssm_lightning.training.module import TwoTower


class MeasuredTest:
    """A test by the command line: files in TREC's format, the blend with BM25, and the table of baselines.

    Args:
        requested: the settings of the verb.
        baselines: the value of ``--baselines``; None = it is not given.
        run: the folder of the measured run; None = the checkpoint lies in none.

    Example:
        >>> from jsonargparse import Namespace
        >>> nothing = Namespace(trec=None, hybrid=False)
        >>> MeasuredTest(nothing, False, None).callbacks(ks=None, trainer=None)
        []
    """

    def __init__(self, requested: Any, baselines: bool | None, run: Path | None) -> None:
        self.requested, self.run = requested, run
        self.baselines = False if requested.get("verbose") is False else baselines  # nothing is shown
        self.hybrid: HybridTest | None = None
        """The blend with BM25."""

    def callbacks(self, ks: list[int] | None, trainer: Any) -> list[Callback]:
        """Return the callbacks of the requested files and blends.

        Args:
            ks: cut-offs of the model's metrics.
            trainer: of the test.
        """
        requested, found = self.requested, list[Callback]()
        if requested.trec is not None:
            found.append(TrecFiles(requested.trec, 1000 if requested.trec_depth is None else requested.trec_depth))
        if requested.hybrid:
            weight = requested.hybrid_weight
            blend = Blend("ranks", weight) if weight is not None else chosen_blend(self.run)
            self.hybrid = HybridTest(ks, blend or Blend())
        elif baseline_report.ends_with_table(self.baselines, trainer):
            chosen = chosen_blend(self.run)  # which the fit has found quickly
            self.hybrid = None if chosen is None else HybridTest(ks, chosen)
        return [*found, *([] if self.hybrid is None else [self.hybrid])]

    def finish(self, trainer: Trainer, model: TwoTower, data: RetrievalDataModule) -> None:
        """Write the metrics of each query, and show the blend and the baselines beside the model."""
        write_rows(trainer, model, data.data, self.run)
        rows, hybrid = model.row_values, self.hybrid
        if rows is None:
            return
        if hybrid is not None and self.requested.hybrid and trainer.is_global_zero:
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            show_hybrid(hybrid, metrics, data.data, self.run)
        if baseline_report.wanted(self.baselines, trainer):
            blends = {} if hybrid is None or hybrid.rows is None else {"hybrid with BM25": hybrid.rows}
            baseline_report.report_test(rows, blends, data, model.ks)
