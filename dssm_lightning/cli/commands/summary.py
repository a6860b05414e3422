"""The command that shows the layers of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_file

if TYPE_CHECKING:
    from dssm_lightning.reports.model_summary import ModelSummary


def summary(
    config: list[str] | None = None, ckpt_path: str | None = None, plot: str | None = None, depth: int = 2
) -> ModelSummary:
    """Show the output shape and the parameters of every branch and layer of a model.

    Args:
        config: configs; a later one overrides settings of earlier ones. Without a checkpoint their untrained model is
            shown, and their data determine the sizes of the tables; with one, the newest run of the first is chosen.
        ckpt_path: a checkpoint file, or best or last: the checkpoint of the newest run (of the config).
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
    from dssm_lightning.training.checkpoint_model import loss_of, model_of
    from dssm_lightning.training.refit_files import with_refit

    if config is None and ckpt_path is None:
        raise UserError("summary needs --config, for an untrained model, or --ckpt_path, for a trained one")
    if plot is not None:
        require_svg(Path(plot))
    if config is not None and ckpt_path is None:
        untrained, data = api.load_untrained(config), api.load_data(config)
        untrained.build(data.schemas)
        described = describe(untrained, untrained.loss, data)
    else:
        path = require_checkpoint(ckpt_path or "best", config[0] if config else None)
        content = read_checkpoint(path)
        model = model_of(content, str(path))
        data = api.data_of(path, model.schemas) if not config else api.load_data(with_refit(config, path))
        data.encode_with(model.schemas)
        described = describe(model, loss_of(content, model.widths, str(path)), data)
    show_summary(described, depth)
    if plot is not None:
        draw_network(described, Path(plot))
        log_file("the two towers", plot)
    return described
