"""The command that describes a model, layer by layer."""

from __future__ import annotations

from pathlib import Path

from dssm_lightning.cli.checkpoint_arguments import _checkpoint
from dssm_lightning.reports.model_summary import ModelSummary
from dssm_lightning.utils.errors import UserError


def summary(
    config: list[str] | None = None, ckpt_path: str | None = None, plot: str | None = None, depth: int = 2
) -> ModelSummary:
    """Print output shape and parameters of every branch and layer of a model.

    Args:
        config: configs, later ones over earlier ones, whose data say how large the tables are.
        ckpt_path: a checkpoint of a run, or best, or last (of the newest run), instead of a config.
        plot: an SVG file for a drawing of the two towers.
        depth: how deep into a branch's own layers to go.

    Returns:
        what was printed.
    """
    from dssm_lightning.api import load_data, load_run, load_untrained
    from dssm_lightning.reports.model_summary import describe, print_summary
    from dssm_lightning.reports.network_diagram import draw_network, require_svg

    if (config is None) == (ckpt_path is None):
        raise UserError("summary needs either --config, for an untrained model, or --ckpt_path, for a trained one")
    if plot is not None:
        require_svg(Path(plot))
    if ckpt_path is not None:
        model, data = load_run(_checkpoint(ckpt_path))
    else:
        assert config is not None
        model, data = load_untrained(config), load_data(config)
        model.build(data.schemas)
    described = describe(model, data)
    print_summary(described, depth)
    if plot is not None:
        draw_network(described, Path(plot))
        print(f"the two towers: {plot}")
    return described
