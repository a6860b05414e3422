"""``fit --refit``: train the final model on training and validation rows, in a run folder of its own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from lightning.pytorch.callbacks import EarlyStopping

from dssm_lightning.cli.checkpoint_arguments import first_config, option, without
from dssm_lightning.data.interactions import VALIDATION
from dssm_lightning.retrieval.blend import HYBRID
from dssm_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from dssm_lightning.training.checkpoint_files import read_checkpoint
from dssm_lightning.training.refit_files import REFIT, with_refit
from dssm_lightning.training.run_folders import run_of
from dssm_lightning.utils.atomic_files import atomic_write
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_info, warn

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from dssm_lightning.cli.lightning_cli import TwoTowerCLI
    from dssm_lightning.data.datamodule import RetrievalDataModule

SETTINGS = "refit-settings.yaml"
"""The same settings in the folder of the run that chose them."""
ABOUT = """\
# The final model of {run}: it trains on the training and the validation rows.
# max_epochs is the number of epochs after which that run was best.
# These settings are laid over those of its config whenever this run is chosen.
"""


def lay_over(words: list[str]) -> list[str]:
    """Return the words of a trainer's verb with the settings of the final model whose checkpoint they name.

    Args:
        words: with a checkpoint file, if there is one.
    """
    checkpoint, config = option(words, "ckpt_path"), first_config(words)
    configs = [] if config is None else [config]
    added = with_refit(configs, None if checkpoint is None else Path(checkpoint))[len(configs) :]
    return [*words, *(f"--config={each}" for each in added)]


def is_refit(words: list[str]) -> bool:
    """Return whether a fit continues the run of a final model."""
    checkpoint = option(words, "ckpt_path")
    run = None if checkpoint is None else run_of(Path(checkpoint))
    return run is not None and (run / REFIT).is_file()


def before_fit(cli: TwoTowerCLI) -> None:
    """Check whether a final model can follow, or take over its settings from the run that chose them.

    Raises:
        UserError: as for :func:`check_refit`.
    """
    if cli.refits:
        check_refit(cli.trainer, cli.datamodule, cli.run, _scheduled_by(cli))
    if cli.refit_of is not None and cli.run is not None:
        shutil.copyfile(cli.refit_of / SETTINGS, cli.run / REFIT)
        if (cli.refit_of / HYBRID).is_file():
            shutil.copyfile(cli.refit_of / HYBRID, cli.run / HYBRID)


def check_refit(trainer: Trainer, data: RetrievalDataModule, run: Path | None, scheduled_by: str | None = None) -> None:
    """Refuse ``--refit`` before training where no final model could follow.

    Args:
        trainer: of the fit that chooses the number of epochs.
        data: of this fit.
        run: its folder.
        scheduled_by: the metric that the learning-rate schedule waits for.

    Raises:
        UserError: no number of epochs is chosen, a metric of validation steers the training, or more than one process
            trains; the reason is named.
    """
    [best] = [each for each in trainer.checkpoint_callbacks if isinstance(each, BestCheckpoint)]
    reason = None
    if getattr(trainer, "fast_dev_run", False):
        reason = "trainer.fast_dev_run saves nothing"
    elif trainer.world_size > 1:
        reason = f"{trainer.world_size} processes train; it needs one (trainer.devices)"
    elif best.monitor is None or not best.monitor.startswith("val/"):
        reason = f"checkpoint.monitor is {best.monitor}; a metric of the validation rows chooses the number of epochs"
    elif scheduled_by is not None and scheduled_by.startswith("val/"):
        reason = f"model.lr_scheduler waits for {scheduled_by}, which the final model, without validation, has not"
    elif best.patience is None and (stopper := _stopper(trainer)) is not None:
        reason = f"trainer.callbacks has an EarlyStopping by {stopper}; set checkpoint.patience in its place"
    elif run is None:
        reason = "trainer.logger writes elsewhere, and the final model needs a run folder beside that of this fit"
    elif not len(data.data.interactions.rows(VALIDATION)):
        reason = "the split keeps no validation rows, so that nothing is left to add and no number of epochs is chosen"
    if reason is not None:
        raise UserError(f"--refit: {reason}")


def refit_words(cli: TwoTowerCLI, words: list[str]) -> list[str] | None:
    """Write the settings of the final model, and return the words of its fit; None if there is no best checkpoint.

    Args:
        cli: the finished fit.
        words: of its command line.
    """
    [best] = [each for each in cli.trainer.checkpoint_callbacks if isinstance(each, BestCheckpoint)]
    checkpoint = Path(best.best_model_path)
    if cli.run is None or not checkpoint.is_file():
        warn("--refit: there is no best.ckpt, so that no number of epochs is chosen and no final model follows")
        return None
    epochs = int(read_checkpoint(checkpoint, mmap=True)["epoch"]) + 1
    path = cli.run / SETTINGS
    settings: dict[str, Any] = {
        "data": {"split": {"class_path": "WithValidation", "init_args": {"split": _split(cli)}}},
        "trainer": {"max_epochs": epochs, "min_epochs": None},
        "checkpoint": {"monitor": None, "patience": None},
    }
    with atomic_write(path) as temporary:
        text = ABOUT.format(run=cli.run) + yaml.safe_dump(settings, sort_keys=False)
        temporary.write_text(text, encoding="utf-8")
    log_info(f"refit: the final model trains on training and validation rows, {epochs} epochs")
    return [*without(words, "ckpt_path"), f"--config={path}"]


def _split(cli: TwoTowerCLI) -> dict[str, Any]:
    found = cli.config[cli.subcommand].data.split
    settings: dict[str, Any] = found.as_dict() if hasattr(found, "as_dict") else dict(found)
    return settings


def _scheduled_by(cli: TwoTowerCLI) -> str | None:
    """Return the metric by which the learning-rate schedule of a fit changes the rate."""
    schedule: Any = cli.config[cli.subcommand].model.get("lr_scheduler")
    arguments = None if schedule is None else schedule.get("init_args")
    return None if arguments is None else arguments.get("monitor")


def _stopper(trainer: Trainer) -> str | None:
    """Return the metric of the validation rows by which a callback ends the training."""
    monitors = [each.monitor for each in trainer.early_stopping_callbacks if isinstance(each, EarlyStopping)]
    return next((monitor for monitor in monitors if monitor.startswith("val/")), None)
