"""The command that shows the layers of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dssm_lightning.utils.console import show_text
from dssm_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from dssm_lightning.reports.model_summary import ModelSummary


def summary(
    config: list[str] | None = None, ckpt_path: str | None = None, plot: str | None = None, depth: int = 2
) -> ModelSummary:
    """Show the output shape and the parameters of every branch and layer of a model.

    Args:
        config: configs of an untrained model; a later one overrides settings of earlier ones. The data determine the
            sizes of the tables.
        ckpt_path: in place of a config, a checkpoint file, or best or last: the checkpoint of the newest run.
        plot: an SVG file for a drawing of the two towers.
        depth: number of levels of a branch's own layers that are shown.

    Returns:
        the described model.
    """
    from dssm_lightning import api
    from dssm_lightning.cli.checkpoint_arguments import require_checkpoint
    from dssm_lightning.reports.model_summary import describe, show_summary
    from dssm_lightning.reports.network_diagram import draw_network, require_svg
    from dssm_lightning.training.checkpoint_files import read_checkpoint

    if (config is None) == (ckpt_path is None):
        raise UserError("summary needs either --config, for an untrained model, or --ckpt_path, for a trained one")
    if plot is not None:
        require_svg(Path(plot))
    if config is not None:
        untrained, data = api.load_untrained(config), api.load_data(config)
        untrained.build(data.schemas)
        described = describe(untrained, untrained.loss, data)
    else:
        path = require_checkpoint(ckpt_path or "best")
        content = read_checkpoint(path)
        model = api.model_of(content)
        described = describe(model, api.loss_of(content), api.data_of(path, model.schemas))
    show_summary(described, depth)
    if plot is not None:
        draw_network(described, Path(plot))
        show_text(f"the two towers: {plot}")
    return described
