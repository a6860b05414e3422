"""The settings of a run, as a file in its folder."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback


class RunConfig(SaveConfigCallback):
    """Write the settings of a fit to ``config.yaml``; a resumed fit adds ``config.resume-1.yaml`` and so on.

    Example:
        >>> from lightning.pytorch.cli import LightningArgumentParser
        >>> from dssm_lightning.training.callbacks import RunConfig
        >>> parser = LightningArgumentParser()
        >>> _ = parser.add_argument("--data.batch_size", default=64)
        >>> RunConfig(parser, parser.get_defaults()).config.data.batch_size
        64
    """

    def __init__(self, parser: LightningArgumentParser, config: Namespace) -> None:
        super().__init__(parser, config, save_to_log_dir=False)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Agree on the folder with all processes (a collective), and write in process 0."""
        self.folder = trainer.log_dir
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the settings of a fit to the run folder."""
        if stage != "fit" or self.folder is None:
            return
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        path, number = folder / "config.yaml", 0
        while path.exists():
            number += 1
            path = folder / f"config.resume-{number}.yaml"
        self.parser.save(self.config, path, skip_none=False, multifile=False)
