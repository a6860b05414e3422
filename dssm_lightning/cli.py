"""The command line: Lightning's fit, validate, test and predict, and plain functions beside them."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any, cast

import torch
from jsonargparse import set_parsing_settings
from lightning.pytorch import Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only, rank_zero_warn
from rich.console import Console
from rich.table import Table

from dssm_lightning import commands, runs
from dssm_lightning import data as data_classes  # noqa: F401  short class names are those of imported classes
from dssm_lightning.arguments import resolve_checkpoint
from dssm_lightning.callbacks import BestCheckpoint, EmbeddingWriter, LastCheckpoint, RunConfig
from dssm_lightning.checkpoints import read_schemas
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.features import Feature
from dssm_lightning.module import TwoTower

set_parsing_settings(subclasses_enabled=[Feature])  # features are dataclasses, and lists of them are swappable

TRAINER_VERBS = ("fit", "validate", "test", "predict")


class TwoTowerCLI(LightningCLI):
    """LightningCLI with run folders, and with checkpoints that say what they override."""

    def __init__(self, args: list[str]) -> None:
        self.run: Path | None = None
        self.name = _config_name(args)
        super().__init__(
            TwoTower,
            RetrievalDataModule,
            args=args,
            save_config_callback=RunConfig,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            trainer_defaults={"num_sanity_val_steps": 0, "use_distributed_sampler": False},
            parser_kwargs={"prog": "dssm-lightning"},
        )

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
        asked, got = (dict(config[self.subcommand].model.as_flat().__dict__) for config in (self.requested, self.config))
        ignored = sorted(key for key in got if asked.get(key) != got[key])
        if ignored:
            rank_zero_warn(f"the checkpoint's own model settings win over those asked for; ignored: {', '.join(ignored)}")

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint that this command starts from."""
        path = self.config[self.subcommand].get("ckpt_path")
        return None if path is None else Path(path)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Put a fit into its run folder; other verbs write into the run that they measure."""
        settings = self.config_init[self.subcommand].trainer
        if self.subcommand != "fit":
            kwargs["logger"] = False
        elif settings.logger in (None, True):
            self.run = (runs.run_of(self.checkpoint) if self.checkpoint else None) or runs.new_run(self.name)
            _keep_metrics(self.run)
            place = {"save_dir": self.run.parent.parent, "name": self.run.parent.name, "version": self.run.name}
            kwargs["logger"] = [CSVLogger(**place), TensorBoardLogger(**place)]
        return super().instantiate_trainer(**kwargs)

    def before_validate(self) -> None:
        """Encode with the checkpoint's schema: only fit fits."""
        if self.checkpoint is not None:
            self.datamodule.fitted = read_schemas(self.checkpoint)

    before_test = before_validate
    before_predict = before_validate

    def after_fit(self) -> None:
        """Say how it went and where the checkpoint lies."""
        best = self.trainer.checkpoint_callbacks[0]
        assert isinstance(best, BestCheckpoint)
        if rank_zero_only.rank == 0 and best.best_model_path:
            title = "the last epoch" if best.monitor is None else f"best {best.monitor}: {best.best_model_score:.4f}"
            _show(self.trainer.callback_metrics, f"{title} · {Path(best.best_model_path)}")

    def after_validate(self) -> None:
        """Write the metrics beside the run that was measured."""
        run = None if self.checkpoint is None else runs.run_of(self.checkpoint)
        if run is not None and rank_zero_only.rank == 0:
            _merge_metrics(run / "metrics.json", self.trainer.callback_metrics)
            rank_zero_info(f"metrics are in {run / 'metrics.json'}")

    after_test = after_validate


def main(args: list[str] | None = None) -> LightningCLI | Any:
    """Run a command.

    Args:
        args: what would stand on the command line; None = what stands there.

    Returns:
        the finished CLI for Lightning's verbs, what the function returns for the others.
    """
    arguments = sys.argv[1:] if args is None else list(args)
    torch.set_float32_matmul_precision("high")
    with warnings.catch_warnings():
        _ignore_expected_warnings()
        if arguments and arguments[0] in commands.COMMANDS:
            return commands.run(arguments)
        if arguments and arguments[0] in TRAINER_VERBS:
            arguments = resolve_checkpoint(arguments)
        return TwoTowerCLI(arguments)


def _ignore_expected_warnings() -> None:
    # our loader restarts in mid-epoch through the data module's state, which Lightning cannot see
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before the epoch ended")
    # batches are assembled from memory-mapped tensors: worker processes would make them slower
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # small data have fewer batches than the logging interval; metrics are logged at each epoch's end all the same
    warnings.filterwarnings("ignore", message="The number of training batches .* is smaller than the logging interval")
    # a resumed run goes on in its folder
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*Experiment logs directory .* exists and is not empty.*")


def _config_name(arguments: list[str]) -> str:
    for place, argument in enumerate(arguments):
        if argument in ("--config", "-c") and place + 1 < len(arguments):
            return Path(arguments[place + 1]).stem
        if argument.startswith("--config="):
            return Path(argument.partition("=")[2]).stem
    return "default"


def _keep_metrics(run: Path) -> None:
    """A resumed run's logger starts its file anew: what was there keeps its place under another name."""
    path, number = run / "metrics.csv", 1
    if path.is_file():
        while (run / f"metrics.before-resume-{number}.csv").exists():
            number += 1
        path.rename(run / f"metrics.before-resume-{number}.csv")


def _merge_metrics(path: Path, metrics: dict[str, torch.Tensor]) -> None:
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known.update({name: float(value) for name, value in metrics.items()})
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _show(metrics: dict[str, torch.Tensor], title: str) -> None:
    table = Table("metric", "value", title=title, title_justify="left")
    for name, value in sorted(metrics.items()):
        table.add_row(name, f"{float(value):.4f}")
    Console().print(table)
