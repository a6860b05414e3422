"""What all ranks must have alike before they work together: said by each, compared once, and named where it differs.

A rank with another setting would not fail. It would wait for ever, or train another model into the same weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import FSDPStrategy, Strategy

import dssm_lightning
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.models.factories import plain_settings
from dssm_lightning.utils import distributed
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.seeding import run_seed

SHOWN = 5
"""Differences in one message."""
_BLOCK, _BLOCKS = 4096, 64  # bytes of a file that are looked at, at evenly spaced places
_OF_TRAINER = (
    "max_epochs",
    "max_steps",
    "precision",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "limit_train_batches",
    "limit_val_batches",
    "limit_test_batches",
)


def check_run(settings: dict[str, Any], data: RetrievalDataModule, trainer: Trainer) -> None:
    """Refuse a run that could not go well, before anything is computed.

    Args:
        settings: of the model.
        data: set up.
        trainer: that runs.

    Raises:
        ValueError: a strategy that this package does not go with; ranks that differ.
    """
    check_strategy(trainer.strategy)
    if distributed.world_size() > 1:
        check_ranks_agree(run_signature(settings, data, trainer))


def check_strategy(strategy: Strategy) -> None:
    """Refuse what would fail in the first evaluation.

    Raises:
        ValueError: FSDP, which has whole weights within a step only.
    """
    if isinstance(strategy, FSDPStrategy):
        raise UserError(
            "--trainer.strategy fsdp: the corpus is embedded between steps, where FSDP holds pieces of the weights; "
            "take ddp, and for tables that are larger than one device configs/sharded.yaml"
        )


def check_ranks_agree(said: dict[str, Any]) -> None:
    """Compare what each rank says, in one collective.

    Args:
        said: plain values by name.

    Raises:
        ValueError: on every rank, if one of them says something else.
    """
    every = distributed.gather_objects(said)
    names = dict.fromkeys(name for each in every for name in each)
    found = [line for name in names for line in _difference(name, [each.get(name, "not there") for each in every])]
    if found:
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise UserError(f"the processes differ and cannot work together: {'; '.join(found[:SHOWN])}{more}")


def _difference(name: str, values: list[Any]) -> Iterator[str]:
    for rank, value in enumerate(values):
        if value != values[0]:
            yield f"{name} is {values[0]} on rank 0, but {value} on rank {rank}"
            return


def run_signature(settings: dict[str, Any], data: RetrievalDataModule, trainer: Trainer) -> dict[str, Any]:
    """What this rank says: its versions, settings, seed and checkpoint, and the data as they are encoded.

    A path is not among it, as each node may have a cache and a copy of the data of its own.
    """
    recipe = data.recipe
    parts: dict[str, list[Any]] = {
        "split": [recipe.split],
        "negatives": [] if data.negatives is None else list(data.negatives.parts),
        "frequency": [] if data.frequency is None else [data.frequency],
    }
    drawn = {key: [(type(part).__name__, _plain(part)) for part in found] for key, found in parts.items()}
    declared = {side: [feature.to_dict() for feature in getattr(recipe, side)] for side in ("query", "candidate")}
    return {
        "the version of dssm_lightning": dssm_lightning.__version__,
        "the version of torch": torch.__version__,
        "the command": str(trainer.state.fn),
        "seed_everything": run_seed(),
        "the checkpoint": _checkpoint(trainer),
        **dict(_flat("model", plain_settings(settings))),
        **dict(_flat("data", _plain(data) | drawn | declared)),
        **{f"trainer.{name}": getattr(trainer, name) for name in _OF_TRAINER},
        **{f"the digest of {name} in the cache": digest for name, digest in digests(data.folder).items()},
    }


def _checkpoint(trainer: Trainer) -> str:
    path = None if trainer.ckpt_path is None else Path(str(trainer.ckpt_path))
    if path is None or not path.is_file():
        return "none" if path is None else path.name
    return f"{path.name} of {path.stat().st_size:,} bytes"


def _plain(part: object) -> dict[str, Any]:
    return {name: value for name, value in plain_settings(vars(part)).items() if not name.startswith("_")}


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every plain value with its dotted name."""
    if isinstance(value, dict | list) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _flat(f"{name}.{key}", item)
    else:
        yield name, value


def digests(folder: Path) -> dict[str, str]:
    """A digest of each file of encoded data, by its name: size and some of its bytes, wherever the folder lies."""
    files = [*folder.glob("*.npy"), folder / "schema.json"]
    return {
        path.stem: _digest(path) for path in sorted(files) if "#frozen-" not in path.name
    }  # made where there are none yet


def _digest(path: Path) -> str:
    size = path.stat().st_size
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for number in range(_BLOCKS):
            file.seek(max(0, (size - _BLOCK) * number // (_BLOCKS - 1)))
            found.update(file.read(_BLOCK))
    return found.hexdigest()[:12]
