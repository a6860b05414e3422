"""Embedding tables that several features share."""

from __future__ import annotations

from torch import nn

from dssm_lightning.models.encoders import Dense
from dssm_lightning.models.tower import Tower
from dssm_lightning.utils.errors import UserError


def share_tables(towers: dict[str, Tower], tied: dict[str, str]) -> None:
    """Let features share a table: ``{"history": "movie_id"}`` gives ``history`` the table of ``movie_id``.

    Raises:
        UserError: a feature is unknown or has no table, or the tables differ in shape.
    """
    encoders = {
        name: encoder.encoder if isinstance(encoder, Dense) else encoder
        for tower in towers.values()
        for name, encoder in tower.encoders.items()
    }
    for name, owner in tied.items():
        for feature in (name, owner):
            if feature not in encoders or not isinstance(getattr(encoders[feature], "table", None), nn.Embedding):
                raise UserError(
                    f"tied_embeddings: {feature!r} is not a feature with a table; the features are {sorted(encoders)}"
                )
        own, shared = encoders[name].table, encoders[owner].table
        assert isinstance(own, nn.Embedding)
        assert isinstance(shared, nn.Embedding)
        if own.weight.shape != shared.weight.shape:
            raise UserError(
                f"tied_embeddings: the table of {name!r} has shape {tuple(own.weight.shape)}, the table of {owner!r} "
                f"has shape {tuple(shared.weight.shape)}; the shapes must be equal (rows × output_dim)"
            )
        encoders[name].table = shared
