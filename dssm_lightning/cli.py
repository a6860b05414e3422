"""The command line: Lightning's fit, validate, test and predict, and plain functions beside them."""

from __future__ import annotations

import os
import sys
import warnings
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
from rich.table import Table
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dssm_lightning import commands, runs
from dssm_lightning.arguments import first_config, option, resolve_checkpoint
from dssm_lightning.averaging import AveragedWeights
from dssm_lightning.callbacks import BestCheckpoint, RunConfig
from dssm_lightning.checkpoints import AtomicCheckpointIO, read_schemas
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.frequency import Frequency
from dssm_lightning.data.negatives import NegativeSampler
from dssm_lightning.data.prepare import check_declared
from dssm_lightning.data.sources import Source
from dssm_lightning.data.splits import Split
from dssm_lightning.embeddings import EmbeddingWriter
from dssm_lightning.encoders import Encoder
from dssm_lightning.features import Feature
from dssm_lightning.finite import StopAtNonFinite
from dssm_lightning.fusion import Fusion
from dssm_lightning.interrupts import LastCheckpoint, StopBetweenBatches
from dssm_lightning.losses import Loss
from dssm_lightning.measure import HybridTest
from dssm_lightning.module import TwoTower
from dssm_lightning.results import (
    INTERVALS,
    PER_QUERY,
    by_cut,
    intervals,
    merge_metrics,
    per_query,
    per_query_of,
    print_results,
    write_json,
    write_parquet,
)
from dssm_lightning.scorers import Scorer
from dssm_lightning.spelling import SpellingParser, nearest
from dssm_lightning.towers import Tower
from dssm_lightning.trec import TrecFiles

TRAINER_VERBS = {
    "fit": "Train a model: a run folder with its settings, metrics and checkpoints.",
    "validate": "Measure a checkpoint on the validation rows.",
    "test": "Measure a checkpoint on the test rows.",
    "predict": "Write the embeddings of the corpus or of the queries as Parquet.",
}


class Parser(SpellingParser, LightningArgumentParser):
    """Knows the names of everything swappable."""

    families = (
        Feature,
        Encoder,
        Fusion,
        Tower,
        Scorer,
        Loss,
        Source,
        Split,
        NegativeSampler,
        Frequency,
        Callback,
        AveragedWeights,
        Optimizer,
        LRScheduler,
    )


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
            _add_test_options(parser)
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
            save_dir, name, version = self.run.parent.parent, self.run.parent.name, runs.version(self.run)
            kwargs["logger"] = [CSVLogger(save_dir, name, version), TensorBoardLogger(save_dir, name, version)]
            kwargs["default_root_dir"] = self.run  # under SLURM Lightning takes up any hpc_ckpt that lies there
        try:
            return super().instantiate_trainer(**kwargs)
        except (MisconfigurationException, ValueError) as error:
            asked = ", ".join(f"{name} {settings[name]}" for name in ("accelerator", "devices", "strategy"))
            has = f"this machine has {torch.cuda.device_count()} GPUs and {os.cpu_count()} CPU cores"
            raise ValueError(
                f"no trainer can be made of these settings: {error} (asked for: {asked}; {has})"
            ) from error

    def _run_folder(self) -> Path:
        """The folder of the run that goes on or begins; the first rank's counts, and holds it."""
        run = runs.run_of(self.checkpoint) if self.checkpoint else None
        if rank_zero_only.rank != 0:  # type: ignore[attr-defined]  # Lightning sets it
            return run or runs.new_run(self.name)
        found = run is not None
        run = self.held.enter_context(runs.held(run or runs.begin(self.name)))
        if found:
            runs.keep_metrics(run)
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
            best.recall()
            title = "the last epoch" if best.monitor is None else f"best {best.monitor}: {best.best_model_score:.4f}"
            _show(best.best_metrics, title)
            Console().print(f"checkpoint: {Path(best.best_model_path)}", highlight=False, soft_wrap=True)

    def after_validate(self) -> None:
        """Write the metrics beside the run that was measured."""
        run = None if self.checkpoint is None else runs.run_of(self.checkpoint)
        if run is not None and self.trainer.is_global_zero:
            merge_metrics(run / "metrics.json", self.trainer.callback_metrics)
            rank_zero_info(f"metrics are in {run / 'metrics.json'}")

    def after_test(self) -> None:
        """Write and show what was found for all queries, and for each."""
        self.after_validate()
        metrics = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        if self.model.row_values is None:
            rank_zero_warn("ddp_spawn leaves the value of each query in its processes: metrics alone, no intervals")
            commands.print_metrics({"the model": _without_stage(metrics)})
        elif self.trainer.is_global_zero:
            run = None if self.checkpoint is None else runs.run_of(self.checkpoint)
            found = intervals(self.model.row_values)
            if run is not None:
                write_parquet(run / PER_QUERY, per_query(self.model.row_values, self.datamodule.data))
                write_json(run / INTERVALS, found)
            print_results(metrics, found)
            if self.hybrid is not None:
                commands.print_metrics({"the model": _without_stage(metrics), "hybrid with BM25": self.hybrid.metrics})
                if run is not None:
                    merge_metrics(run / "metrics.json", self.hybrid.named)
                    write_parquet(run / per_query_of("hybrid"), per_query(self.hybrid.rows, self.datamodule.data))


def main(args: list[str] | None = None) -> LightningCLI | Any:
    """Run a command.

    Args:
        args: what would stand on the command line; None = what stands there.

    Returns:
        the finished CLI for Lightning's verbs, what the function returns for the others.

    Raises:
        ValueError: no such command, or whatever the command has to say of its arguments or data.
    """
    arguments = sys.argv[1:] if args is None else list(args)
    verb = next(iter(arguments), "--help")
    if verb in ("-h", "--help"):
        _show_commands()
        sys.exit(0)
    if verb not in (known := [*TRAINER_VERBS, *commands.COMMANDS]):
        raise ValueError(f"{verb!r} is no command; there are {', '.join(known)}{nearest(verb, known)}")
    torch.set_float32_matmul_precision("high")
    with warnings.catch_warnings():
        _ignore_expected_warnings()
        if verb in commands.COMMANDS:
            return commands.run(arguments)
        return TwoTowerCLI(resolve_checkpoint(arguments))


def trainer_plugins(strategy: str | Strategy) -> list[Any]:
    """How checkpoints are written; and under SLURM, that not Lightning but ``--ckpt_path last`` resumes."""
    plugins: list[Any] = []
    if strategy.startswith(("auto", "ddp")) if isinstance(strategy, str) else isinstance(strategy, DDPStrategy):
        plugins.append(AtomicCheckpointIO(go_on=True))  # sharded strategies write their own way
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return plugins


def _show_commands() -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for verb, about in TRAINER_VERBS.items():
        table.add_row(verb, about)
    for verb, command in commands.COMMANDS.items():
        table.add_row(verb, (command.__doc__ or "").partition("\n")[0])
    Console().print(
        "usage: dssm-lightning COMMAND [options], and dssm-lightning COMMAND --help\n",
        table,
        highlight=False,
        markup=False,  # [options] is none
    )


def _ignore_expected_warnings() -> None:
    # Lightning 2.6 calls what torch 2.14 and jsonargparse 4 still have: pyproject.toml bounds the versions
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    warnings.filterwarnings("ignore", message=r"\s+(By default only one Jsonargparse|.*was deprecated in v4)")
    # our loader restarts in mid-epoch through the data module's state, which Lightning cannot see
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch ended")
    # batches are assembled from memory-mapped tensors: worker processes would make them slower
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # small data have fewer batches than the logging interval; metrics are logged at each epoch's end all the same
    warnings.filterwarnings("ignore", message="The number of training batches .* is smaller than the logging interval")
    # a split may keep no validation rows: all that is not tested then trains
    warnings.filterwarnings("ignore", message="Total length of `Slices` across ranks is zero")
    # an epoch that is cut short has no new validation; that the monitored metric exists was checked at the start
    warnings.filterwarnings("ignore", message=".*could not find the monitored key in the returned metrics")
    # torch's own sparse optimizers, and gloo, make sparse tensors without saying whether they are to be checked
    warnings.filterwarnings("ignore", message="Sparse invariant checks are implicitly disabled")
    # a resumed run goes on in its folder
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*Experiment logs directory .* exists and is not empty.*")


def _without_stage(metrics: dict[str, float]) -> dict[str, float]:
    return {name.removeprefix("test/"): value for name, value in metrics.items()}


def _show(metrics: dict[str, float], title: str) -> None:
    table = Table("metric", "value", title=title, title_justify="left")
    for name, value in sorted(metrics.items(), key=lambda metric: by_cut(metric[0])):
        table.add_row(name, f"{value:.4f}")
    Console().print(table)


def _add_test_options(parser: LightningArgumentParser) -> None:
    """The options of ``test`` alone."""
    trec = "a new folder for run.trec and qrels.trec, which trec_eval, ir_measures and ranx read"
    parser.add_argument("--trec", type=str | None, default=None, help=trec)
    parser.add_argument("--trec_depth", type=int, default=1000, help="candidates of each query in run.trec")
    hybrid = "also measure the reciprocal rank fusion of the model with BM25"
    parser.add_argument("--hybrid", action="store_true", help=hybrid)
    parser.add_argument("--hybrid_weight", type=float, default=1.0, help="weight of BM25's list in the fusion")
