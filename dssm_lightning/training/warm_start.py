"""Warm start: weights of an earlier run for a model that is built for new data."""

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

_COUNTED = ("text_counts", "num_texts", "mean_length")
_FITTED = ("vocabulary", "num_embeddings", "mean", "std", "boundaries", *_COUNTED)
"""Settings that the data fill in. They may differ between the runs: rows and weights keep their meaning."""


def warm_start(path: Path, model: nn.Module, towers: dict[str, Tower], schemas: Schemas) -> list[str]:
    """Copy the weights of an earlier run's checkpoint into a built model.

    - A feature of both runs keeps its encoder. The rows of a table are matched by the *value* they stand for (of a
      vocabulary; a hash bucket stands for itself): values of both runs keep their row, new values keep their initial
      row, and values that are gone are dropped.
    - A new feature keeps its initial weights. So does a layer whose shape has changed.
    - All other weights are copied. The optimizer, the epoch and the step are not.

    Args:
        path: the checkpoint.
        model: the model with the towers; changed in place.
        towers: its towers by side.
        schemas: the schemas of the new data, for which the towers are built.

    Returns:
        one line for each part that does not come from the checkpoint.

    Raises:
        UserError: no such file, or no checkpoint; a feature of both runs has another declaration or encoder.
    """
    if not path.is_file():
        raise UserError(f"warm_start {path}: no such file")
    content = read_checkpoint(path)
    saved, weights = Schemas.from_json(content["schemas"]), content["state_dict"]
    _check_declarations(path, saved, schemas)
    news: list[str] = []
    in_encoders: set[str] = set()  # the weights of encoders, which are copied first
    for side, tower in towers.items():
        before, now = getattr(saved, side), getattr(schemas, side)
        for name, encoder in tower.encoders.items():
            prefix = f"{side}_tower.encoders.{name}."
            in_encoders |= {prefix + key for key in encoder.state_dict()}
            if name not in before.names:
                news.append(f"{side} feature {name!r} is new")
                continue
            old = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
            news += _copy_encoder(f"warm_start {path}: {side} feature {name!r}", encoder, old, before[name], now[name])
        news += [f"{side} feature {name!r} is gone" for name in before.names if name not in now.names]
    return news + _copy_rest(model, weights, in_encoders)


def _copy_rest(model: nn.Module, weights: dict[str, Tensor], done: set[str]) -> list[str]:
    """Copy all weights of the same name and shape, except those that are done. Returns a line for each other weight."""
    news: list[str] = []
    with torch.no_grad():
        for key, value in model.state_dict().items():  # shares its memory with the model
            if key in done:
                continue
            if key in weights and weights[key].shape == value.shape:
                value.copy_(weights[key])
            else:
                news.append(f"{key} {tuple(value.shape)} starts with new weights")
    return news


def _check_declarations(path: Path, saved: Schemas, schemas: Schemas) -> None:
    lines = []
    for side in ("query", "candidate"):
        before, now = getattr(saved, side), getattr(schemas, side)
        for name in (name for name in now.names if name in before.names):
            found = changes(_declared(before[name]), _declared(now[name]))
            lines += [f"{side} feature {name!r}: {text}" for text in found]
    if lines:
        raise UserError(
            f"warm_start {path}: features of the same name must have the same declaration (rename a feature that "
            f"shall start with new weights); the checkpoint's against the data's: {'; '.join(lines)}"
        )


def _declared(feature: Feature) -> dict[str, Any]:
    def without(values: dict[str, Any]) -> dict[str, Any]:
        plain = {key: value for key, value in values.items() if key not in _FITTED}
        return {key: without(value) if isinstance(value, dict) else value for key, value in plain.items()}

    return without(feature.to_dict())


def _copy_encoder(label: str, encoder: nn.Module, old: dict[str, Tensor], before: Feature, now: Feature) -> list[str]:
    """Copy an encoder's weights from the earlier run. Returns the number of new rows of each table that has any."""
    current = encoder.state_dict()
    if set(current) != set(old):
        raise UserError(f"{label} has another encoder: weights {sorted(old)} against {sorted(current)}")
    news: list[str] = []
    with torch.no_grad():
        for key, value in current.items():
            is_table = key.removeprefix("encoder.") == "table.weight"  # a Dense encoder has its table in `encoder`
            if is_table and old[key].shape[1:] == value.shape[1:]:
                kept_before, kept_now = _kept_rows(label, before, now, len(old[key]), len(value))
                value[kept_now] = old[key][kept_before].to(value)
                if len(kept_now) < len(value):
                    news.append(
                        f"{label.partition(': ')[2]}: {len(value) - len(kept_now):,} of {len(value):,} rows are new"
                    )
            elif old[key].shape == value.shape:
                value.copy_(old[key])
            else:
                shapes = f"{key} {tuple(old[key].shape)} against {tuple(value.shape)}"
                raise UserError(f"{label} has an encoder of another width or size: {shapes}")
    return news


def _kept_rows(label: str, before: Feature, now: Feature, rows_before: int, rows_now: int) -> tuple[Tensor, Tensor]:
    """Return the rows (n,) of the earlier and of the new table that stand for the same value, row 0 (unknown) first."""
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
    """Return the values of a table's rows 1, 2, …; None if the rows are hash buckets, ranges or tokens."""
    found = getattr(getattr(feature, "item", None) or feature, "vocabulary", None)
    return found if isinstance(found, tuple) else None
