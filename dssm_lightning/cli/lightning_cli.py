"""Lightning's own command line for two towers: run folders, checkpoints, and what is shown at the end of each verb."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, Strategy
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only, rank_zero_warn
from rich.console import Console

from dssm_lightning.cli.checkpoint_arguments import first_config, option
from dssm_lightning.cli.lightning_parser import Parser, add_test_options
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.preparation.prepare import check_declared
from dssm_lightning.evaluation.hybrid_test import HybridTest
from dssm_lightning.evaluation.result_files import (
    INTERVALS,
    PER_QUERY,
    intervals,
    merge_metrics,
    per_query,
    per_query_of,
    write_json,
    write_parquet,
)
from dssm_lightning.evaluation.trec_files import TrecFiles
from dssm_lightning.reports.metric_tables import print_best, print_metrics, print_results
from dssm_lightning.training import run_folders
from dssm_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from dssm_lightning.training.callbacks.embedding_writer import EmbeddingWriter
from dssm_lightning.training.callbacks.last_checkpoint import LastCheckpoint
from dssm_lightning.training.callbacks.run_config import RunConfig
from dssm_lightning.training.callbacks.stop_at_non_finite import StopAtNonFinite
from dssm_lightning.training.callbacks.stop_between_batches import StopBetweenBatches
from dssm_lightning.training.checkpoint_files import AtomicCheckpointIO, read_schemas
from dssm_lightning.training.module import TwoTower
from dssm_lightning.utils.errors import UserError

TRAINER_VERBS = {
    "fit": "Train a model: a run folder with its settings, metrics and checkpoints.",
    "validate": "Measure a checkpoint on the validation rows.",
    "test": "Measure a checkpoint on the test rows.",
    "predict": "Write the embeddings of the corpus or of the queries as Parquet.",
}


class TwoTowerCLI(LightningCLI):
    """LightningCLI with run folders, and with checkpoints that say what they override."""

    def __init__(self, args: list[str]) -> None:
        self.run: Path | None = None
        self.hybrid: HybridTest | None = None
        self.parsers: list[Parser] = []
        path = option(args, "ckpt_path")
        self.trained = None if path is None else read_schemas(Path(path))  # before Lightning reads it, with less to say
        self.name = Path(first_config(args) or "default").stem
        with ExitStack() as self.held:  # what is given back at the end of the command: the run's folder
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
                    **{verb: {"description": about, "tests": verb == "test"} for verb, about in TRAINER_VERBS.items()},
                },
            )

    def __getstate__(self) -> dict[str, Any]:
        """What ``ddp_spawn`` takes along, through the parser's instantiators: the run's folder is held here."""
        return {**self.__dict__, "held": None}

    def init_parser(self, tests: bool = False, **kwargs: Any) -> LightningArgumentParser:
        """A parser that knows the options of the others; that of ``test`` has some of its own."""
        parser = super().init_parser(**kwargs)
        if tests:
            add_test_options(parser)
        assert isinstance(parser, Parser)
        parser.related = self.parsers
        self.parsers.append(parser)
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The callbacks that every run has."""
        parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(LastCheckpoint, "last")
        parser.add_lightning_class_args(EmbeddingWriter, "embeddings")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, and remember what was asked for: a checkpoint's settings will be laid over it."""
        self.config = parser.parse_args(cast("list[str]", args))
        self.requested = self.config.clone()

    def before_instantiate_classes(self) -> None:
        """Tell which settings a checkpoint overrides."""
        asked, got = (
            dict(config[self.subcommand].model.as_flat().__dict__) for config in (self.requested, self.config)
        )
        ignored = [f"{key} {asked.get(key)} (it has {got[key]})" for key in sorted(got) if asked.get(key) != got[key]]
        if ignored:
            rank_zero_warn(
                f"the checkpoint's own model settings win over those asked for; ignored: {', '.join(ignored)}"
            )

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint that this command starts from."""
        path = self.config[self.subcommand].get("ckpt_path")
        return None if path is None else Path(path)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Put a fit into its run folder; other verbs write into the run that they measure."""
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
        try:
            return super().instantiate_trainer(**kwargs)
        except (MisconfigurationException, ValueError) as error:
            asked = ", ".join(f"{name} {settings[name]}" for name in ("accelerator", "devices", "strategy"))
            has = f"this machine has {torch.cuda.device_count()} GPUs and {os.cpu_count()} CPU cores"
            raise UserError(f"no trainer can be made of these settings: {error} (asked for: {asked}; {has})") from error

    def _run_folder(self) -> Path:
        """The folder of the run that goes on or begins; the first rank's counts, and holds it."""
        run = run_folders.run_of(self.checkpoint) if self.checkpoint else None
        if rank_zero_only.rank != 0:  # type: ignore[attr-defined]  # Lightning sets it
            return run or run_folders.new_run(self.name)
        found = run is not None
        run = self.held.enter_context(run_folders.lock_run(run or run_folders.begin(self.name)))
        if found:
            run_folders.keep_metrics(run)
        return run

    def before_validate(self) -> None:
        """Encode with the checkpoint's schema: only fit fits."""
        self.datamodule.fitted = self.trained

    def before_predict(self) -> None:
        """As before validate; embeddings are written, and not returned, for which memory would have to hold them."""
        self.before_validate()
        self.config_init.predict.return_predictions = False

    def before_test(self) -> None:
        """Encode with the checkpoint's schema, and let :meth:`after_test` show what was found."""
        self.before_validate()
        asked = self.config_init[self.subcommand]
        asked.verbose = False
        callbacks: list[Callback] = []
        if asked.trec is not None:
            callbacks.append(TrecFiles(asked.trec, asked.trec_depth))
        if asked.hybrid:
            self.hybrid = HybridTest(asked.hybrid_weight)
            callbacks.append(self.hybrid)
        self.trainer.callbacks.extend(callbacks)  # type: ignore[attr-defined]  # untyped: a list

    def before_fit(self) -> None:
        """Let Ctrl-C and SIGTERM wait for the end of a batch, and stop at a loss that is not finite."""
        if self.trained is not None:
            check_declared(self.datamodule.recipe, self.trained)
        self.trainer.callbacks[:0] = [StopBetweenBatches(), StopAtNonFinite()]  # type: ignore[attr-defined]  # untyped: a list

    def after_fit(self) -> None:
        """Say how it went and where the checkpoint lies."""
        [best] = [each for each in self.trainer.checkpoint_callbacks if isinstance(each, BestCheckpoint)]
        if self.trainer.is_global_zero and best.best_model_path:
            best.restore_from_last_checkpoint()
            title = "the last epoch" if best.monitor is None else f"best {best.monitor}: {best.best_model_score:.4f}"
            print_best(best.best_metrics, title)
            Console().print(f"checkpoint: {Path(best.best_model_path)}", highlight=False, soft_wrap=True)

    def after_validate(self) -> None:
        """Write the metrics beside the run that was measured."""
        run = None if self.checkpoint is None else run_folders.run_of(self.checkpoint)
        if run is not None and self.trainer.is_global_zero:
            merge_metrics(run / "metrics.json", self.trainer.callback_metrics)
            rank_zero_info(f"metrics are in {run / 'metrics.json'}")

    def after_test(self) -> None:
        """Write and show what was found for all queries, and for each."""
        self.after_validate()
        metrics = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        if self.model.row_values is None:
            rank_zero_warn("ddp_spawn leaves the value of each query in its processes: metrics alone, no intervals")
            print_metrics({"the model": _without_stage(metrics)})
        elif self.trainer.is_global_zero:
            run = None if self.checkpoint is None else run_folders.run_of(self.checkpoint)
            found = intervals(self.model.row_values)
            if run is not None:
                write_parquet(run / PER_QUERY, per_query(self.model.row_values, self.datamodule.data))
                write_json(run / INTERVALS, found)
            print_results(metrics, found)
            if self.hybrid is not None:
                print_metrics({"the model": _without_stage(metrics), "hybrid with BM25": self.hybrid.metrics})
                if run is not None:
                    merge_metrics(run / "metrics.json", self.hybrid.named)
                    write_parquet(run / per_query_of("hybrid"), per_query(self.hybrid.rows, self.datamodule.data))


def trainer_plugins(strategy: str | Strategy) -> list[Any]:
    """How checkpoints are written; and under SLURM, that not Lightning but ``--ckpt_path last`` resumes."""
    plugins: list[Any] = []
    if strategy.startswith(("auto", "ddp")) if isinstance(strategy, str) else isinstance(strategy, DDPStrategy):
        plugins.append(AtomicCheckpointIO(go_on=True))  # sharded strategies write their own way
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return plugins


def _without_stage(metrics: dict[str, float]) -> dict[str, float]:
    return {name.removeprefix("test/"): value for name, value in metrics.items()}
