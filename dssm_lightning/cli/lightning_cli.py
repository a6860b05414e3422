"""LightningCLI for two towers: run folders, checkpoints, and the tables at the end of each verb."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from dssm_lightning.cli.checkpoint_arguments import first_config, option
from dssm_lightning.cli.lightning_parser import Parser, add_options
from dssm_lightning.cli.trainer_verbs import ABOUT
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.preparation.prepare import check_declared
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
from dssm_lightning.evaluation.trec_files import TrecFiles
from dssm_lightning.training import run_folders
from dssm_lightning.training.atomic_checkpoint_io import trainer_plugins
from dssm_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from dssm_lightning.training.callbacks.embedding_writer import EmbeddingWriter
from dssm_lightning.training.callbacks.last_checkpoint import LastCheckpoint
from dssm_lightning.training.callbacks.progress_lines import ProgressLines
from dssm_lightning.training.callbacks.run_config import RunConfig
from dssm_lightning.training.callbacks.stop_at_non_finite import StopAtNonFinite
from dssm_lightning.training.callbacks.stop_between_batches import StopBetweenBatches
from dssm_lightning.training.checkpoint_files import read_schemas
from dssm_lightning.training.module import TwoTower
from dssm_lightning.utils.console import show_text
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import is_first_process, log_info, warn


class TwoTowerCLI(LightningCLI):
    """LightningCLI with run folders, atomic checkpoints, and a warning of settings that a checkpoint overrides.

    Args:
        args: the words of the command line.
        verbose: show every metric at the end of a fit.
    """

    def __init__(self, args: list[str], verbose: bool = False) -> None:
        self.verbose = verbose
        self.run: Path | None = None
        self.hybrid: HybridTest | None = None
        self.parsers: list[Parser] = []
        path = option(args, "ckpt_path")
        self.trained = None if path is None else read_schemas(Path(path))  # for clearer errors than Lightning's
        self.name = Path(first_config(args) or "default").stem
        with ExitStack() as self.locks:  # released at the end of the command
            super().__init__(
                TwoTower,
                RetrievalDataModule,
                args=args,
                save_config_callback=RunConfig,
                auto_configure_optimizers=False,
                seed_everything_default=0,
                trainer_defaults={"num_sanity_val_steps": 0, "use_distributed_sampler": False},
                parser_class=Parser,
                parser_kwargs={
                    "prog": "dssm-lightning",
                    **{verb: {"description": about, "verb": verb} for verb, about in ABOUT.items()},
                },
            )

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for the processes of ``ddp_spawn``, without the lock on the run folder."""
        return {**self.__dict__, "locks": None}

    def init_parser(self, verb: str = "", **kwargs: Any) -> LightningArgumentParser:
        """Return a parser that knows the options of the others, and adds those that Lightning does not have."""
        parser = super().init_parser(**kwargs)
        add_options(parser, verb)
        assert isinstance(parser, Parser)
        parser.related = self.parsers
        self.parsers.append(parser)
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the options of the callbacks that every run has."""
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(LastCheckpoint, "last")
        parser.add_lightning_class_args(EmbeddingWriter, "embeddings")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and remember the requested settings: Lightning lays those of a checkpoint over them."""
        self.config = parser.parse_args(cast("list[str]", args))
        self.requested = self.config.clone()

    def before_instantiate_classes(self) -> None:
        """Warn of requested settings that a checkpoint overrides."""
        requested, used = (
            dict(config[self.subcommand].model.as_flat().__dict__) for config in (self.requested, self.config)
        )
        changed = [key for key in sorted(used) if requested.get(key) != used[key]]
        ignored = [f"{key} {requested.get(key)} (it has {used[key]})" for key in changed]
        if ignored:
            warn(f"the checkpoint's own model settings win over the requested ones; ignored: {', '.join(ignored)}")

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint that this command starts from; None without one."""
        path = self.config[self.subcommand].get("ckpt_path")
        return None if path is None else Path(path)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make a trainer; a fit writes into its run folder, the other verbs into the run that they measure."""
        settings = self.config_init[self.subcommand].trainer
        if not settings.plugins:
            kwargs["plugins"] = trainer_plugins(settings.strategy)
        if self.subcommand != "fit":
            kwargs["logger"] = False
        elif settings.logger in (None, True):
            self.run = self._run_folder()
            save_dir, name, version = self.run.parent.parent, self.run.parent.name, run_folders.version(self.run)
            kwargs["logger"] = [CSVLogger(save_dir, name, version), TensorBoardLogger(save_dir, name, version)]
            kwargs["default_root_dir"] = self.run  # under SLURM Lightning takes up any hpc_ckpt that lies there
        if settings.enable_progress_bar is None and not sys.stdout.isatty():
            kwargs["enable_progress_bar"] = False  # ProgressLines shows progress instead
        try:
            return super().instantiate_trainer(**kwargs)
        except (MisconfigurationException, ValueError) as error:
            requested = ", ".join(f"{name} {settings[name]}" for name in ("accelerator", "devices", "strategy"))
            has = f"this machine has {torch.cuda.device_count()} GPUs and {os.cpu_count()} CPU cores"
            raise UserError(f"the trainer refuses its settings: {error} (requested: {requested}; {has})") from error

    def _run_folder(self) -> Path:
        """Return the folder of the continued or new run; the first process decides, and locks it."""
        run = run_folders.run_of(self.checkpoint) if self.checkpoint else None
        if not is_first_process():
            return run or run_folders.new_run(self.name)
        found = run is not None
        run = self.locks.enter_context(run_folders.lock_run(run or run_folders.begin(self.name)))
        if found:
            run_folders.keep_metrics(run)
        return run

    def instantiate_classes(self) -> None:
        """Make data, model and trainer of the settings.

        Raises:
            UserError: a class refuses its settings, such as a learning rate of −1.
        """
        try:
            super().instantiate_classes()
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"settings: {error}") from error

    def before_validate(self) -> None:
        """Encode with the checkpoint's schemas: only fit fits."""
        self.datamodule.encode_with(self.trained)

    def before_predict(self) -> None:
        """Encode as for validate; embeddings are written to a file, not returned, so that memory need not hold them."""
        self.before_validate()
        self.config_init.predict.return_predictions = False

    def before_test(self) -> None:
        """Encode as for validate, and add the callbacks of the requested files and fusions."""
        self.before_validate()
        requested = self.config_init[self.subcommand]
        callbacks: list[Callback] = []
        if requested.trec is not None:
            callbacks.append(TrecFiles(requested.trec, requested.trec_depth))
        if requested.hybrid:
            self.hybrid = HybridTest(self.model.ks, requested.hybrid_weight)
            callbacks.append(self.hybrid)
        self._add_callbacks(callbacks)

    def before_fit(self) -> None:
        """Let Ctrl-C and SIGTERM wait for the end of a batch, stop at a loss that is not finite, and show progress."""
        if self.trained is not None:
            check_declared(self.datamodule.recipe, self.trained)
        self._add_callbacks([StopBetweenBatches(), StopAtNonFinite()], first=True)
        if self.trainer.progress_bar_callback is None and self.config_init.fit.trainer.enable_progress_bar is not False:
            self._add_callbacks([ProgressLines()])

    def _add_callbacks(self, callbacks: list[Callback], first: bool = False) -> None:
        found: list[Callback] = cast(Any, self.trainer).callbacks
        place = 0 if first else len(found)
        found[place:place] = callbacks

    def after_fit(self) -> None:
        """Show the best metrics and the place of the checkpoint."""
        [best] = [each for each in self.trainer.checkpoint_callbacks if isinstance(each, BestCheckpoint)]
        if self.trainer.is_global_zero and best.best_model_path:
            best.restore_from_last_checkpoint()
            end, value = "metrics at the end of training", best.best_model_score
            title = end if best.monitor is None else f"best {best.monitor}: {value:.4f}"
            show_best(best.best_metrics, title, best.monitor, verbose=self.verbose)
            show_text(f"checkpoint: {Path(best.best_model_path)}")

    def after_validate(self) -> None:
        """Write the metrics into the folder of the measured run."""
        run = None if self.checkpoint is None else run_folders.run_of(self.checkpoint)
        if run is not None and self.trainer.is_global_zero:
            merge_metrics(run / "metrics.json", self.trainer.callback_metrics)
            log_info(f"metrics are in {run / 'metrics.json'}")

    def after_test(self) -> None:
        """Write the metrics of all queries, and those of each query; show the fusion with BM25 beside the model."""
        self.after_validate()
        metrics = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        if self.model.row_values is None:
            warn("ddp_spawn leaves the metrics of each query in its processes: per_query.parquet is not written")
        elif self.trainer.is_global_zero:
            run = None if self.checkpoint is None else run_folders.run_of(self.checkpoint)
            if run is not None:
                write_parquet(run / PER_QUERY, per_query(self.model.row_values, self.datamodule.data))
                write_json(run / INTERVALS, self.model.intervals)
            if self.hybrid is not None:
                self._after_hybrid(self.hybrid, metrics, run)

    def _after_hybrid(self, hybrid: HybridTest, metrics: dict[str, float], run: Path | None) -> None:
        model = {name.removeprefix("test/"): value for name, value in metrics.items()}
        show_comparison({"the model": model, "hybrid with BM25": hybrid.metrics})
        if run is not None and hybrid.rows is not None:
            merge_metrics(run / "metrics.json", hybrid.named)
            write_parquet(run / per_query_of("hybrid"), per_query(hybrid.rows, self.datamodule.data))
