"""The parameters of a model in the groups that its optimizer takes."""

from __future__ import annotations

from torch import nn

from dssm_lightning.training.frozen_backbones import backbones
from dssm_lightning.training.optimizers import sparse_tables


def parameter_groups(model: nn.Module) -> list[nn.Parameter] | list[dict[str, object]]:
    """Return all trained parameters; in groups if backbones have their own learning rate or tables are sparse.

    The group of the sparse tables is the last. It has the key ``sparse: True``, for
    :class:`~dssm_lightning.training.optimizers.SparseAndDense`.
    """
    rates = {p: each.learning_rate for each in backbones(model) for p in each.backbone.parameters()}
    tables = dict.fromkeys(sparse_tables(model).values())
    trained = [p for p in model.parameters() if p.requires_grad and p not in tables]
    own = [rate for rate in dict.fromkeys(rates.values()) if rate is not None]
    if not own and not tables:
        return trained
    groups: list[dict[str, object]] = [{"params": [p for p in trained if rates.get(p) is None]}]
    groups += [{"params": [p for p in trained if rates.get(p) == rate], "lr": rate} for rate in own]
    return groups + ([{"params": list(tables), "sparse": True}] if tables else [])
