"""LightningCLI for two towers: run folders, checkpoints, and the tables at the end of each verb."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from dssm_lightning.cli import baseline_report, refitting
from dssm_lightning.cli.checkpoint_arguments import first_config, option
from dssm_lightning.cli.hybrid_choice import choose_hybrid
from dssm_lightning.cli.lightning_parser import Parser, add_options, check_options
from dssm_lightning.cli.measured_test import MeasuredTest
from dssm_lightning.cli.run_results import show_fit, write_metrics
from dssm_lightning.cli.trainer_settings import has_progress_bar, trainer_errors, useful_line
from dssm_lightning.cli.trainer_verbs import ABOUT
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.preparation.prepare import check_declared
from dssm_lightning.training import run_folders
from dssm_lightning.training.atomic_checkpoint_io import trainer_plugins
from dssm_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from dssm_lightning.training.callbacks.embedding_writer import EmbeddingWriter
from dssm_lightning.training.callbacks.last_checkpoint import LastCheckpoint
from dssm_lightning.training.callbacks.progress_lines import ProgressLines
from dssm_lightning.training.callbacks.run_config import RunConfig
from dssm_lightning.training.callbacks.status_writer import StatusWriter
from dssm_lightning.training.callbacks.stop_at_non_finite import StopAtNonFinite
from dssm_lightning.training.callbacks.stop_between_batches import StopBetweenBatches
from dssm_lightning.training.checkpoint_files import read_checkpoint, read_schemas
from dssm_lightning.training.checkpoint_model import check_sizes
from dssm_lightning.training.module import TwoTower
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import is_first_process, warn
from dssm_lightning.utils.trusted_classes import trusted_imports
from dssm_lightning.utils.yaml_files import read_sections


class TwoTowerCLI(LightningCLI):
    """LightningCLI with run folders, atomic checkpoints, and a warning of settings that a checkpoint overrides.

    Args:
        args: the words of the command line.
        verbose: show every metric at the end of a fit.
        found_config: the config lies beside the checkpoint and was not given by the user: its classes must be trusted.
        baselines: end with a table of baselines; None = the usual.
        refits: a fit of the final model follows.
        refit_of: the run whose final model is trained; None = an ordinary fit.
    """

    def __init__(
        self,
        args: list[str],
        verbose: bool = False,
        found_config: bool = False,
        *,
        baselines: bool | None = None,
        refits: bool = False,
        refit_of: Path | None = None,
    ) -> None:
        self.verbose, self.found_config = verbose, found_config
        self.baselines, self.refits, self.refit_of = baselines, refits, refit_of
        self.run: Path | None = None
        self.parsers: list[Parser] = []
        path = option(args, "ckpt_path")
        found = path is not None and path not in ("best", "last")  # such words are left with --print_config
        self.trained = read_schemas(Path(str(path))) if found else None  # for clearer errors than Lightning's
        self.first_config = first_config(args)
        self.name = run_folders.run_name(self.first_config) if refit_of is None else refit_of.parent.name
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
        add_options(parser := super().init_parser(**kwargs), verb)
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
        """Parse, and remember the requested settings: Lightning lays those of a checkpoint over them.

        Raises:
            UserError: a config that was found names a class that is not trusted, or asks to unpickle anything.
        """
        words = cast("list[str]", args)
        config = first_config(words) if self.found_config else None
        if config is not None:  # parse it by itself, with nothing but trusted names
            with trusted_imports(read_sections(Path(config)), config):
                found = parser.parse_args([words[0], f"--config={config}"])
            if found[words[0]].get("weights_only") is False:
                raise UserError(f"{config} asks for weights_only: false, which a config that was found may not")
        self.config = parser.parse_args(words)
        self.requested = self.config.clone()
        check_options(self.config[self.config.subcommand])

    def _parse_ckpt_path(self) -> None:
        """Lay the model settings of a checkpoint over the requested ones, as Lightning does, if they are trusted.

        Raises:
            UserError: the checkpoint names a class that is not trusted, or has weights for another model than its
                settings describe.
        """
        if self.checkpoint is None or not self.checkpoint.is_file():
            return
        content, source = read_checkpoint(self.checkpoint, mmap=True), str(self.checkpoint)
        with trusted_imports(content["hyper_parameters"], source, self.config.as_dict()):
            super()._parse_ckpt_path()
            used = self.config[self.config.subcommand].model.as_dict()
            check_sizes({**content, "hyper_parameters": used}, source)

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
        path = self.config[self.config.subcommand].get("ckpt_path")
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
        own_bar = settings.enable_progress_bar is None and has_progress_bar(settings.callbacks)
        if settings.enable_progress_bar is None and not sys.stdout.isatty() and not own_bar:
            kwargs["enable_progress_bar"] = False  # ProgressLines shows progress instead
        with trainer_errors(settings):
            return super().instantiate_trainer(**kwargs)

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
            raise UserError(f"settings: {useful_line(str(error))}") from error

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
        self.measured = MeasuredTest(self.config_init[self.subcommand], self.baselines, self._measured_run())
        self._add_callbacks(self.measured.callbacks(self.model.ks, self.trainer))

    def before_fit(self) -> None:
        """Let Ctrl-C and SIGTERM wait for the end of a batch, stop at a loss that is not finite, and show progress."""
        self.started = time.monotonic()
        if self.trained is not None:
            check_declared(self.datamodule.recipe, self.trained)
        refitting.before_fit(self)
        self._add_callbacks([StopBetweenBatches(), StopAtNonFinite()], first=True)
        if self.run is not None:
            self._add_callbacks([StatusWriter(self.run)])
        if self.trainer.progress_bar_callback is None and self.config_init.fit.trainer.enable_progress_bar is not False:
            self._add_callbacks([ProgressLines()])

    def _add_callbacks(self, callbacks: list[Callback], first: bool = False) -> None:
        found: list[Callback] = cast(Any, self.trainer).callbacks
        place = 0 if first else len(found)
        found[place:place] = callbacks

    def after_fit(self) -> None:
        """Show the best metrics, the place of the checkpoint and the baselines; choose a blend with BM25."""
        show_fit(self.trainer, self.verbose)
        choose_hybrid(self.trainer, self.datamodule, self.run)
        if baseline_report.wanted(self.baselines, self.trainer):
            facts = self.first_config, time.monotonic() - self.started
            baseline_report.report_fit(self.trainer, self.model, self.datamodule, *facts)

    def after_validate(self) -> None:
        """Write the metrics into the folder of the measured run."""
        write_metrics(self.trainer, self._measured_run())

    def after_test(self) -> None:
        """Write the metrics of all queries, and those of each query; show the baselines beside the model."""
        self.after_validate()
        self.measured.finish(self.trainer, self.model, self.datamodule)

    def _measured_run(self) -> Path | None:
        return None if self.checkpoint is None else run_folders.run_of(self.checkpoint)
