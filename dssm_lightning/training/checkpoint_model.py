"""The model and the loss that a checkpoint describes, built from its settings and filled with its weights."""

from __future__ import annotations

import warnings
from argparse import ArgumentError
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_module_registration_hook as on_each_module
from torch.nn.modules.module import register_module_parameter_registration_hook as on_each_parameter

from dssm_lightning.features.schema import Schemas
from dssm_lightning.losses import Loss
from dssm_lightning.models.factories import make
from dssm_lightning.models.scorers import Scorer
from dssm_lightning.models.tower import TowerFactory
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.training.checkpoint_files import content_of, fetched, name_of, renewed_file
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.trusted_classes import trusted_imports

PARTS = ("query_tower", "candidate_tower", "scorer")
"""Settings of a checkpoint that describe the parts of its model."""


def model_of(content: Mapping[str, Any], source: str = "the checkpoint") -> TwoTowerModel:
    """Return the trained model of a checkpoint's content, in evaluation mode.

    Args:
        content: as :func:`~dssm_lightning.training.checkpoint_files.read_checkpoint` returns it.
        source: the file, for messages.

    Raises:
        UserError: the settings name a class that is not trusted; a part was given as a Python callable, which a
            checkpoint cannot hold; the weights belong to another model than the settings describe.
    """
    build = _builder(content, source)
    weights = content["state_dict"]
    _check_shapes(build, weights, source)
    model = build()
    own = model.state_dict().keys()
    model.load_state_dict({name: value for name, value in weights.items() if name in own})
    return model.eval()


def loss_of(content: Mapping[str, Any], widths: tuple[int, int], source: str = "the checkpoint") -> Loss:
    """Return the loss of a checkpoint's content, with what it has learned, for embeddings of these widths.

    Raises:
        UserError: it is of a class that is not trusted, or was given as a Python callable.
    """
    settings = _setting(content, "loss")
    with trusted_imports(settings, source):
        loss: Loss = make(Callable[[], Loss], settings)()
    loss.build(widths)
    prefix = "loss."
    loss.load_state_dict({k.removeprefix(prefix): v for k, v in content["state_dict"].items() if k.startswith(prefix)})
    return loss


@contextmanager
def checked(checkpoint: Any, changes: Mapping[str, Any], strict: bool = True) -> Iterator[Any]:
    """Yield a checkpoint for Lightning to load within the block, once its classes and sizes have been checked.

    Args:
        checkpoint: a path, a URL or an open file.
        changes: further arguments of ``load_from_checkpoint``, which override settings.
        strict: as for :func:`check_sizes`.

    Raises:
        UserError: as for :func:`model_of`; whatever Lightning and its parser refuse.
    """
    source, checkpoint = name_of(checkpoint), fetched(checkpoint)
    content = content_of(checkpoint)
    settings = content["hyper_parameters"]
    with warnings.catch_warnings(), trusted_imports(settings, source, changes):
        # Lightning 2.6 calls functions that jsonargparse 4 still has
        warnings.filterwarnings("ignore", message=r"\s+(By default only one Jsonargparse|.*was deprecated in v4)")
        check_sizes({**content, "hyper_parameters": {**settings, **changes}}, source, strict)
        try:
            yield renewed_file(checkpoint, content)
        except (ValueError, TypeError, ArgumentError) as error:
            raise error if isinstance(error, UserError) else UserError(f"{source}: {error}") from error


def check_sizes(content: Mapping[str, Any], source: str, strict: bool = True) -> None:
    """Refuse a checkpoint whose settings describe another, perhaps a huge model than it has weights for.

    A checkpoint without the settings of a part, which was given as a Python callable, is not checked.

    Args:
        content: as for :func:`model_of`.
        source: the file, for messages.
        strict: whether every weight of the model must be in the file.

    Raises:
        UserError: as for :func:`model_of`.
    """
    settings = content.get("hyper_parameters", {})
    if all(part in settings for part in PARTS):
        _check_shapes(_builder(content, source), content["state_dict"], source, strict)
    size, memory = settings.get("memory_size"), content["state_dict"].get("memory.embedding")
    rows = 0 if memory is None else len(memory)
    if size is not None and rows != size and (strict or rows):
        raise UserError(f"{source}: memory_size is {size}, but its memory has {rows:,} rows")


def _builder(content: Mapping[str, Any], source: str) -> Callable[[], TwoTowerModel]:
    settings = content.get("hyper_parameters", {})
    parts = {name: _setting(content, name) for name in PARTS}
    with trusted_imports(parts, source):
        make_query_tower = make(TowerFactory, parts["query_tower"])
        make_candidate_tower = make(TowerFactory | None, parts["candidate_tower"])
        make_scorer = make(Callable[[], Scorer], parts["scorer"])
    schemas = Schemas.from_json(content["schemas"])

    def build() -> TwoTowerModel:
        tied, chunk = settings.get("tied_embeddings"), settings.get("encode_chunk_size")
        model = TwoTowerModel(make_query_tower, make_candidate_tower, make_scorer(), tied, chunk)
        model.build(schemas)
        return model

    return build


def _setting(content: Mapping[str, Any], name: str) -> Any:
    settings = content.get("hyper_parameters", {})
    if name not in settings:
        raise UserError(
            f"{name} of this checkpoint was given as a Python callable, which is not saved: use "
            f"TwoTower.load_from_checkpoint(path, {name}=…) and make_retriever(model, data)"
        )
    return settings[name]


def _check_shapes(
    build: Callable[[], TwoTowerModel], weights: Mapping[str, Tensor], source: str, strict: bool = True
) -> None:
    """Build the model without memory for its weights, and compare the shapes with the given weights."""
    try:
        with torch.device("meta"), _at_most(20 * len(weights) + 1000, source):
            own = build().state_dict()
    except (NotImplementedError, RuntimeError):  # an encoder of the user's own that computes while it is built
        return
    for name, value in own.items():
        if name not in weights and strict:
            raise UserError(f"{source}: its settings describe the weight {name}, which it does not hold")
        if name in weights and weights[name].shape != value.shape:
            found = f"{tuple(value.shape)} by its settings, and {tuple(weights[name].shape)} in the file"
            raise UserError(f"{source}: the weight {name} is {found}")


@contextmanager
def _at_most(most: int, source: str) -> Iterator[None]:
    """Refuse to build more modules and parameters than ``most``."""
    count = 0

    def check(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > most:
            raise UserError(f"{source}: its settings describe many more layers than it has weights for")

    handles = [on_each_module(check), on_each_parameter(check)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
