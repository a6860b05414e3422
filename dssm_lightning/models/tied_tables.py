"""Tables that several features share."""

from __future__ import annotations

from torch import nn

from dssm_lightning.models.encoders import Dense
from dssm_lightning.models.tower import Tower
from dssm_lightning.utils.errors import UserError


def share_tables(towers: dict[str, Tower], tied: dict[str, str]) -> None:
    """Let features share one table: ``{history: movie_id}`` gives ``history`` the table of ``movie_id``.

    Raises:
        ValueError: no such feature, one without a table, or tables of different shapes.
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
                    f"tied_embeddings: {feature!r} is no feature with a table; there are {sorted(encoders)}"
                )
        mine, theirs = encoders[name].table, encoders[owner].table
        assert isinstance(mine, nn.Embedding)
        assert isinstance(theirs, nn.Embedding)
        if mine.weight.shape != theirs.weight.shape:
            raise UserError(
                f"tied_embeddings: {name!r} has a table of {tuple(mine.weight.shape)}, {owner!r} one of "
                f"{tuple(theirs.weight.shape)}; they must be equal (rows × output_dim)"
            )
        encoders[name].table = theirs
