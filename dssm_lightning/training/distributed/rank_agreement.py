"""Check that all processes have the same settings, data and checkpoint, and name what differs.

A process with another setting would not fail by itself. It would wait forever, or train another model with the same
weights.
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
from dssm_lightning.data.preparation.grouped_files import GROUPED
from dssm_lightning.models.factories import plain_settings
from dssm_lightning.utils import distributed
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.seeding import run_seed

SHOWN = 5
"""Differences in one message."""
_BLOCK, _BLOCKS = 4096, 64  # bytes of a block, and number of evenly spaced blocks of a file that a digest reads
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
    """Refuse an unsupported strategy, or processes that differ, before training or evaluation.

    Args:
        settings: the hyperparameters of the model.
        data: the data module, set up.
        trainer: the trainer of the run.

    Raises:
        UserError: the strategy is not supported; the processes differ.
    """
    check_strategy(trainer.strategy)
    if distributed.world_size() > 1:
        check_ranks_agree(run_signature(settings, data, trainer))


def check_strategy(strategy: Strategy) -> None:
    """Refuse a strategy that would fail in the first evaluation.

    Raises:
        UserError: FSDP, which has complete weights only within a step.
    """
    if isinstance(strategy, FSDPStrategy):
        raise UserError(
            "--trainer.strategy fsdp: the corpus is embedded between steps, where FSDP has only a part of the weights; "
            "use ddp, or configs/sharded.yaml for tables that are larger than one device"
        )


def check_ranks_agree(signature: dict[str, Any]) -> None:
    """Compare the signatures of all processes, in one collective.

    Args:
        signature: plain values by name, as :func:`run_signature` returns them.

    Raises:
        UserError: in every process, if the signature of one process differs.
    """
    every = distributed.gather_objects(signature)
    names = dict.fromkeys(name for each in every for name in each)
    found = [line for name in names for line in _difference(name, [each.get(name, "missing") for each in every])]
    if found:
        more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise UserError(f"the processes differ and cannot work together: {'; '.join(found[:SHOWN])}{more}")


def _difference(name: str, values: list[Any]) -> Iterator[str]:
    for process, value in enumerate(values):
        if value != values[0]:
            yield f"{name} is {values[0]} in process 0, but {value} in process {process}"
            return


def run_signature(settings: dict[str, Any], data: RetrievalDataModule, trainer: Trainer) -> dict[str, Any]:
    """Return the versions, settings, seed and checkpoint of this process, and digests of its encoded data.

    There are no paths, because each node may have its own cache and copy of the data.
    """
    recipe = data.recipe
    parts: dict[str, list[Any]] = {
        "split": [recipe.split],
        "negatives": [] if data.negatives is None else list(data.negatives.parts),
        "frequency": [] if data.frequency is None else [data.frequency],
    }
    described = {key: [(type(part).__name__, _plain(part)) for part in found] for key, found in parts.items()}
    declared = {side: [feature.to_dict() for feature in getattr(recipe, side)] for side in ("query", "candidate")}
    return {
        "the version of dssm_lightning": dssm_lightning.__version__,
        "the version of torch": torch.__version__,
        "the command": str(trainer.state.fn),
        "seed_everything": run_seed(),
        "the checkpoint": _checkpoint(trainer),
        **dict(_flat("model", plain_settings(settings))),
        **dict(_flat("data", _plain(data) | described | declared)),
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
    """Yield every plain value with its dotted name."""
    if isinstance(value, dict | list) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _flat(f"{name}.{key}", item)
    else:
        yield name, value


def digests(folder: Path) -> dict[str, str]:
    """Return a digest of each file of encoded data by its name. A digest covers the size and some of the bytes.

    Features of frozen backbones have no digest: a process computes them when it needs them. Nor have groupings, which
    follow from the interactions, and which the cache of an earlier version lacks.
    """
    files = [*folder.glob("*.npy"), folder / "schema.json"]
    left_out = {path for path in files if "#frozen-" in path.name or path.name.startswith(GROUPED)}
    return {path.stem: _digest(path) for path in sorted({*files} - left_out)}


def _digest(path: Path) -> str:
    size = path.stat().st_size
    found = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for number in range(_BLOCKS):
            file.seek(max(0, (size - _BLOCK) * number // (_BLOCKS - 1)))
            found.update(file.read(_BLOCK))
    return found.hexdigest()[:12]
