"""Weights of an earlier run on other data, carried over to a model that is built for new data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dssm_lightning.features import Feature
from dssm_lightning.features.schema import Schemas, changes
from dssm_lightning.models.tower import Tower
from dssm_lightning.training.checkpoint_files import read_checkpoint
from dssm_lightning.utils.errors import UserError

_TAUGHT = ("vocabulary", "num_embeddings", "mean", "std", "boundaries")
"""What the data fill in: it may differ between the runs, and rows and weights keep their meaning."""


def warm_start(path: Path, model: nn.Module, towers: dict[str, Tower], schemas: Schemas) -> list[str]:
    """Start a built model from the checkpoint of an earlier run.

    - A feature of both runs keeps its encoder. Rows of a table go by the *value* that they stand for (of a vocabulary;
      a hash bucket stands for itself): values of both runs keep theirs, new ones start as they are, those that are gone
      are dropped.
    - A feature that is new starts as it is, and so does a layer whose shape has changed, since other widths meet there.
    - Everything else is copied. Optimizer, epoch and step are not taken.

    Args:
        path: the checkpoint.
        model: what holds the towers; changed in place.
        towers: its towers by side.
        schemas: the new data's, for which they are built.

    Returns:
        what did not come from the checkpoint, line by line.

    Raises:
        ValueError: no such file, or no checkpoint; a feature of both runs is declared or encoded otherwise.
    """
    if not path.is_file():
        raise UserError(f"warm_start {path}: no such file")
    content = read_checkpoint(path)
    saved, weights = Schemas.from_json(content["schemas"]), content["state_dict"]
    _check_declarations(path, saved, schemas)
    told: list[str] = []
    taken: set[str] = set()  # what belongs to encoders, which have been seen to
    for side, tower in towers.items():
        before, now = getattr(saved, side), getattr(schemas, side)
        for name, encoder in tower.encoders.items():
            prefix = f"{side}_tower.encoders.{name}."
            taken |= {prefix + key for key in encoder.state_dict()}
            if name not in before.names:
                told.append(f"{side} feature {name!r} is new")
                continue
            old = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
            told += _copy_encoder(f"warm_start {path}: {side} feature {name!r}", encoder, old, before[name], now[name])
        told += [f"{side} feature {name!r} is gone" for name in before.names if name not in now.names]
    with torch.no_grad():
        for key, value in model.state_dict().items():  # shares its memory with the model
            if key in taken:
                continue
            if key in weights and weights[key].shape == value.shape:
                value.copy_(weights[key])
            else:
                told.append(f"{key} {tuple(value.shape)} starts afresh")
    return told


def _check_declarations(path: Path, saved: Schemas, schemas: Schemas) -> None:
    lines = []
    for side in ("query", "candidate"):
        before, now = getattr(saved, side), getattr(schemas, side)
        for name in (name for name in now.names if name in before.names):
            found = changes(_declared(before[name]), _declared(now[name]))
            lines += [f"{side} feature {name!r}: {text}" for text in found]
    if lines:
        raise UserError(
            f"warm_start {path}: features of the same name must be declared alike (rename one that is meant to start "
            f"afresh); the checkpoint's against the data's: {'; '.join(lines)}"
        )


def _declared(feature: Feature) -> dict[str, Any]:
    def without(values: dict[str, Any]) -> dict[str, Any]:
        plain = {key: value for key, value in values.items() if key not in _TAUGHT}
        return {key: without(value) if isinstance(value, dict) else value for key, value in plain.items()}

    return without(feature.to_dict())


def _copy_encoder(label: str, encoder: nn.Module, old: dict[str, Tensor], before: Feature, now: Feature) -> list[str]:
    """Fill an encoder's weights from those of the earlier run; how many rows are new, where any are."""
    current = encoder.state_dict()
    if set(current) != set(old):
        raise UserError(f"{label} has another encoder: weights {sorted(old)} against {sorted(current)}")
    told: list[str] = []
    with torch.no_grad():
        for key, value in current.items():
            is_table = key.removeprefix("encoder.") == "table.weight"  # a Dense encoder's lies in the inner one
            if is_table and old[key].shape[1:] == value.shape[1:]:
                kept_before, kept_now = _kept_rows(label, before, now, len(old[key]), len(value))
                value[kept_now] = old[key][kept_before].to(value)
                if len(kept_now) < len(value):
                    told.append(
                        f"{label.partition(': ')[2]}: {len(value) - len(kept_now):,} of {len(value):,} rows new"
                    )
            elif old[key].shape == value.shape:
                value.copy_(old[key])
            else:
                shapes = f"{key} {tuple(old[key].shape)} against {tuple(value.shape)}"
                raise UserError(f"{label} has an encoder of another width or size: {shapes}")
    return told


def _kept_rows(label: str, before: Feature, now: Feature, rows_before: int, rows_now: int) -> tuple[Tensor, Tensor]:
    """(n,) rows in the earlier table and in the new one that stand for the same value; row 0, the unknown, included."""
    known, wanted = _vocabulary(before), _vocabulary(now)
    if known is None or wanted is None:
        if rows_before != rows_now:
            raise UserError(f"{label} has no vocabulary by which to match {rows_before:,} with {rows_now:,} rows")
        return torch.arange(rows_now), torch.arange(rows_now)
    place = {value: row for row, value in enumerate(known, 1)}
    pairs = [(0, 0), *((place[value], row) for row, value in enumerate(wanted, 1) if value in place)]
    earlier, new = torch.tensor(pairs).T
    return earlier, new


def _vocabulary(feature: Feature) -> tuple[str, ...] | None:
    """The values of a table's rows 1, 2, …; None where rows stand for hash buckets, ranges or tokens."""
    found = getattr(getattr(feature, "item", None) or feature, "vocabulary", None)
    return found if isinstance(found, tuple) else None
