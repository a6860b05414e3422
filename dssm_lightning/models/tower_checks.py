"""Two towers as one model: tables that they share, and what each must find in the other."""

from __future__ import annotations

from torch import nn

from dssm_lightning.features import History
from dssm_lightning.features.schema import Schemas
from dssm_lightning.models.tower import Tower
from dssm_lightning.utils.errors import UserError


def check_bypass(towers: dict[str, Tower]) -> None:
    """What stands apart on one side must meet its like on the other.

    Raises:
        ValueError: the sides' encodings apart differ in number or width.
    """
    found = {side: dict(zip(tower.bypass, tower.bypass_dims, strict=True)) for side, tower in towers.items()}
    if len({tuple(widths.values()) for widths in found.values()}) > 1:
        both = " · ".join(f"{side} {widths}" for side, widths in found.items())
        raise UserError(f"bypass: both towers must append as many encodings of the same widths, found {both}")


def check_batch_statistics(towers: dict[str, Tower], reason: str) -> None:
    """Refuse normalisation over a batch where batches are cut up.

    Raises:
        ValueError: a tower has a BatchNorm layer that trains.
    """
    for side, tower in towers.items():
        for name, layer in tower.named_modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.affine:
                raise UserError(
                    f"{side} tower: {name} normalises over the batch, which is not possible with {reason}; "
                    "use norm: layer (or GroupNorm)"
                )


def check_equal_features(schemas: Schemas) -> None:
    """One tower for both sides must find the same features on both.

    Raises:
        ValueError: it does not.
    """
    sides = [[{**f.to_dict(), "column": None} for f in side] for side in (schemas.query, schemas.candidate)]
    if sides[0] != sides[1]:
        raise UserError(
            "candidate_tower: null shares one tower, so both sides must declare equal features (names, kinds, options "
            f"and what was fitted; columns may differ): query {schemas.query.names}, "
            f"candidate {schemas.candidate.names}"
        )


def check_histories(schemas: Schemas, towers: dict[str, Tower]) -> None:
    """What the candidate tower gives must be what encoders of whole candidates take.

    Raises:
        ValueError: it is not.
    """
    for feature in schemas.query:
        if isinstance(feature, History) and feature.of_candidates:
            found, width = towers["query"].encoders[feature.name].output_dim, towers["candidate"].output_dim
            biases = [side for side, tower in towers.items() if tower.bias is not None]
            if found != width or biases:
                raise UserError(
                    f"query feature {feature.name!r} is a history of candidates, which the candidate tower embeds in "
                    f"{width} dimensions; its encoder's output_dim is {found}, which must be the same, and towers with "
                    f"bias ({', '.join(biases) or 'none'}) go without"
                )
