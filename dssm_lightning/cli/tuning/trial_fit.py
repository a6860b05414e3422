"""A fit as the command line has it, which leaves nothing behind: no run folder, no checkpoint, no log."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dssm_lightning.cli.lightning_cli import TwoTowerCLI
from dssm_lightning.utils.errors import UserError, is_whole
from dssm_lightning.utils.logger import LOGGER

LOUD = (LOGGER.name, "lightning.pytorch", "lightning.fabric")
"""The loggers that tell of each fit what one line about the trial tells."""


class _SettingsError(Exception):
    """Ends a command line whose settings are known; they are no mistake."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings


class _ReadSettings(TwoTowerCLI):
    """Parses the words of a fit, and ends."""

    def before_instantiate_classes(self) -> None:
        """End here."""
        raise _SettingsError(self.config.as_dict()["fit"])


class NoCheckpoints(TorchCheckpointIO):
    """Writes no checkpoint: a trial is measured and forgotten.

    Example:
        >>> NoCheckpoints().save_checkpoint({"epoch": 3}, "no/such/folder/best.ckpt")
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write nothing."""

    def remove_checkpoint(self, path: Any) -> None:
        """Remove nothing."""


class TrialFit(TwoTowerCLI):
    """The fit of a trial.

    Args:
        args: the words of ``fit``.
        callbacks: what listens to it.
    """

    def __init__(self, args: list[str], callbacks: list[Callback]) -> None:
        self.listeners = callbacks
        super().__init__(args)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make a trainer that writes no checkpoint."""
        trainer = super().instantiate_trainer(**kwargs)
        trainer.strategy.checkpoint_io = NoCheckpoints()
        return trainer

    def before_fit(self) -> None:
        """Listen to the fit."""
        super().before_fit()
        self._add_callbacks(self.listeners)

    def after_fit(self) -> None:
        """Show nothing."""


def read_settings(configs: Sequence[str]) -> dict[str, Any]:
    """Return the sections of the configs as a fit parses them, with the defaults of all classes.

    Raises:
        UserError: a config that does not exist or is no YAML.
        SystemExit: a setting that the parser refuses; its message is shown.
    """
    try:
        with quiet():
            _ReadSettings(_words(configs))
    except _SettingsError as found:
        return found.settings
    raise AssertionError("a command line that only reads its settings has run")


def fit_trial(
    configs: Sequence[str], settings: Sequence[str], callbacks: list[Callback], overlay: Path | None = None
) -> TrialFit:
    """Fit once.

    Args:
        configs: of the user.
        settings: further words, which win over the configs.
        callbacks: what listens to the fit.
        overlay: a config with the settings of the trial; None = the user's own.
    """
    torch.set_float32_matmul_precision("high")
    with TemporaryDirectory(prefix="dssm-tune-") as folder, quiet():
        words = [
            *_words([*configs, *([] if overlay is None else [str(overlay)])]),
            *("--trainer.logger=false", f"--trainer.default_root_dir={folder}"),
            *("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", *settings),
        ]
        return TrialFit(words, callbacks)


def require_one_process(settings: dict[str, Any]) -> list[str]:
    """Return the words that keep a trial in one process on one device.

    Raises:
        UserError: the config asks for several devices, or for a strategy of several processes.
    """
    trainer = settings["trainer"]
    devices, strategy = trainer.get("devices"), trainer.get("strategy")
    many = (is_whole(devices) and devices > 1) or (is_whole(trainer.get("num_nodes")) and trainer["num_nodes"] > 1)
    if many or not str(strategy).startswith(("auto", "single")):
        raise UserError(
            f"tune fits on one device at a time, and the config has trainer.devices {devices} with strategy "
            f"{strategy}: set both to auto, and let several fits run by --jobs"
        )
    return [] if is_whole(devices) else ["--trainer.devices=1"]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what a fit tells about itself; warnings stay."""
    before = {name: logging.getLogger(name).level for name in LOUD}
    try:
        for name in LOUD:
            logging.getLogger(name).setLevel(logging.WARNING)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def _words(configs: Sequence[str]) -> list[str]:
    return ["fit", *(f"--config={config}" for config in configs)]
