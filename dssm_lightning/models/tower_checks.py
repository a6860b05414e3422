"""Check that two towers fit together."""

from __future__ import annotations

from typing import Any

from torch import nn

from dssm_lightning.features import History
from dssm_lightning.features.schema import Schemas
from dssm_lightning.models.tower import Tower
from dssm_lightning.utils.errors import UserError


def check_bypass(towers: dict[str, Tower]) -> None:
    """Check that the ``bypass`` features of both sides match.

    Raises:
        UserError: the sides differ in the number or the widths of these features.
    """
    found = {side: dict(zip(tower.bypass, tower.bypass_dims, strict=True)) for side, tower in towers.items()}
    if len({tuple(widths.values()) for widths in found.values()}) > 1:
        both = " and ".join(f"{side} {widths}" for side, widths in found.items())
        raise UserError(f"bypass: both towers must append equally many encodings, of equal widths; found {both}")


def check_batch_statistics(towers: dict[str, Tower], reason: str) -> None:
    """Refuse batch normalisation if batches are split into chunks or over processes.

    Args:
        towers: both towers by side.
        reason: the setting that splits batches; the message names it.

    Raises:
        UserError: a tower has a BatchNorm layer that trains.
    """
    for side, tower in towers.items():
        for name, layer in tower.named_modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.affine:
                raise UserError(
                    f"{side} tower: {name} normalises over the batch, which is not possible with {reason}; "
                    "use norm: layer (or GroupNorm)"
                )


def check_equal_features(schemas: Schemas) -> None:
    """Check that both sides have equal features, so that they can share one tower.

    Raises:
        UserError: the features differ.
    """
    sides = [[_without_place(f.to_dict()) for f in side] for side in (schemas.query, schemas.candidate)]
    if sides[0] != sides[1]:
        raise UserError(
            "candidate_tower is null, so both sides share one tower and must declare equal features (names, kinds, "
            f"options and fitted values; columns and roots may differ); found query {schemas.query.names} and "
            f"candidate {schemas.candidate.names}"
        )


def _without_place(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a feature's settings without those that say where its values lie."""
    return {name: value for name, value in settings.items() if name not in ("column", "root")}


def check_histories(schemas: Schemas, towers: dict[str, Tower]) -> None:
    """Check that encoders of histories of whole candidates fit the candidate tower's embeddings.

    Raises:
        UserError: an encoder's ``output_dim`` is not the width of the embeddings, or a tower has a bias.
    """
    for feature in schemas.query:
        if isinstance(feature, History) and feature.of_candidates:
            found, width = towers["query"].encoders[feature.name].output_dim, towers["candidate"].output_dim
            biases = [side for side, tower in towers.items() if tower.bias is not None]
            if found != width or biases:
                raise UserError(
                    f"query feature {feature.name!r} is a history of whole candidates; its encoder's output_dim is "
                    f"{found} and the candidate tower's embeddings have width {width}, which must be equal; towers "
                    f"with bias: {', '.join(biases) or 'none'}, and neither tower may have a bias"
                )
