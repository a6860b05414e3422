"""The settings of a run, written beside its checkpoints."""

from __future__ import annotations

from pathlib import Path

from jsonargparse import Namespace
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback


class RunConfig(SaveConfigCallback):
    """Writes ``config.yaml`` once; a resumed run adds ``config.resume-1.yaml`` and so on."""

    def __init__(self, parser: LightningArgumentParser, config: Namespace) -> None:
        super().__init__(parser, config, save_to_log_dir=False)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Agree on the folder, which is a collective, and let the first rank write."""
        self.folder = trainer.log_dir
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the settings of a ``fit`` beside what it yields."""
        if stage != "fit" or self.folder is None:
            return
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        path, number = folder / "config.yaml", 0
        while path.exists():
            number += 1
            path = folder / f"config.resume-{number}.yaml"
        self.parser.save(self.config, path, skip_none=False, multifile=False)
