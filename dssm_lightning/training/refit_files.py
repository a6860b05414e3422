"""The settings that a final model adds to its config, as a file in its run folder: ``refit.yaml``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dssm_lightning.training.run_folders import run_of

REFIT = "refit.yaml"


def with_refit(configs: Sequence[str], checkpoint: Path | None) -> list[str]:
    """Return configs, followed by the settings that the run of a checkpoint adds to them if it is a final model.

    A final model was trained on validation rows as well, which the config that its runs are named after holds out.

    Args:
        configs: the files that describe the run; none = its own config, to which nothing is to add.
        checkpoint: a file in a run folder; None = there is none.

    Example:
        >>> with_refit(["shop.yaml"], Path("runs/shop/version_0/checkpoints/best.ckpt"))
        ['shop.yaml']
    """
    run = None if checkpoint is None or not configs else run_of(checkpoint)
    added = None if run is None else run / REFIT
    if added is None or not added.is_file() or any(added.parent.samefile(Path(each).parent) for each in configs):
        return list(configs)
    return [*configs, str(added)]
