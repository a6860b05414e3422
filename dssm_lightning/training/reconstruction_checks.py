"""Whether a model is the linear autoencoder that a loss of all likes (``ELSA``) takes it for."""

from __future__ import annotations

from typing import Any

from torch import nn

from dssm_lightning.features.history import History
from dssm_lightning.losses import Loss
from dssm_lightning.models.encoders import Embedding, EmbeddingBag, Encoder
from dssm_lightning.models.fusion import Concat
from dssm_lightning.models.tower import Tower
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.utils.errors import UserError


def check_reconstruction(loss: Loss, model: TwoTowerModel) -> None:
    """Refuse a model whose queries are not the plain sums of liked candidates, for a loss of all likes.

    Each score of a like holds this candidate's own squared length, which the loss subtracts. With layers, weights of
    entries or entries left out, something else would be in it, and the loss would be wrong without a word.

    Args:
        loss: any; only one with ``uses_likes`` is checked.
        model: built for the data's schemas.

    Raises:
        UserError: layers, dropout, lengths or rounding in a tower; other features beside the history and the
            candidate's id; another pooling, table or length of vectors; a history that leaves out likes.
    """
    if not loss.uses_likes:
        return
    assert model.schemas is not None
    found: dict[str, tuple[str, Encoder]] = {}
    for side, tower in model.towers.items():
        _check_tower(f"{side}_tower", tower)
        found[side] = _only_encoder(f"{side}_tower", tower)
    (name, bag), (owner, item) = found["query"], found["candidate"]
    _check_encoders(name, bag, owner, item)
    for feature in model.schemas.query:
        if feature.name == name:
            _check_history(feature, owner)


def _check_tower(label: str, tower: Tower) -> None:
    layers = [*tower.hidden, *tower.output]
    kept = [layer for layer in layers if not isinstance(layer, nn.Dropout)]
    dropped = max(layer.p for layer in layers if isinstance(layer, nn.Dropout))  # a tower without layers has one
    if kept:
        _refuse(
            f"a layer of {label}", type(kept[0]).__name__, "leave out hidden_dims, output_dim and output_activation"
        )
    for setting, value, possible in (
        ("dropout", dropped, 0.0),
        ("feature_dropout", tower.feature_dropout, 0.0),
        ("normalize", tower.normalize, False),
        ("vectors", tower.vectors, None),
    ):
        if value != possible:
            _refuse(f"{label}: {setting}", value, f"it must be {possible}".replace("None", "left out"))


def _only_encoder(label: str, tower: Tower) -> tuple[str, Encoder]:
    fused = {name: encoder for name, encoder in tower.encoders.items() if name not in tower.bypass}
    if len(fused) > 1:
        _refuse(f"{label}: encoders", list(fused), "all but one must be bypass features")
    if not isinstance(tower.fusion, Concat):
        _refuse(f"{label}: fusion", type(tower.fusion).__name__, "it must be Concat")
    [(name, encoder)] = fused.items()
    assert isinstance(encoder, Encoder)
    return name, encoder


def _check_encoders(name: str, bag: Encoder, owner: str, item: Encoder) -> None:
    if not isinstance(bag, EmbeddingBag) or bag.pooling != "sum":
        found = f"{type(bag).__name__}({getattr(bag, 'pooling', None)})"
        _refuse(f"the encoder of {name!r}", found, "it must be an EmbeddingBag with pooling: sum")
    if not isinstance(item, Embedding):
        _refuse(f"the encoder of {owner!r}", type(item).__name__, "it must be an Embedding of the candidate's id")
    if item.id_dropout:
        _refuse(f"id_dropout of the encoder of {owner!r}", item.id_dropout, "leave it out")
    if bag.table is not item.table:
        _refuse("tied_embeddings", f"without {name}", f"let {name!r} share the table: {{{name}: {owner}}}")
    if bag.normalize != item.normalize:
        _refuse(
            f"normalize of the encoder of {name!r}", bag.normalize, f"it must be that of {owner!r}, {item.normalize}"
        )


def _check_history(feature: Any, owner: str) -> None:
    if not isinstance(feature, History):
        _refuse(f"query feature {feature.name!r}", type(feature).__name__, f"it must be a History of {owner!r}")
    for setting, possible in (
        ("of", owner),
        ("events", "liked"),
        ("order", "leave_one_out"),
        ("max_length", None),
        ("dropout", 0.0),
    ):
        value = getattr(feature, setting)
        if value != possible:
            hint = "leave it out" if possible is None else f"it must be {possible}"
            _refuse(f"History {feature.name!r}: {setting}", value, hint)


def _refuse(setting: str, value: Any, possible: str) -> None:
    raise UserError(
        "model.loss: a loss of all likes (ELSA) needs a model whose query is the sum of the candidates that it liked; "
        f"{setting} is {value}: {possible}"
    )
