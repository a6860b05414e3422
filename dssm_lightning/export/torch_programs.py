"""Both towers as ``torch.export`` programs, for those who stay in torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from dssm_lightning.export.flat_columns import unflatten
from dssm_lightning.export.tracing import TraceError, export_program
from dssm_lightning.export.writing import FlatModule
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.retrieval.bundle.programs import flatten
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Features


def write_torch_programs(model: TwoTowerModel, folder: Path, query: Features, candidate: Features) -> None:
    """Write ``query.pt2`` and ``candidate.pt2``, which take a list of the inputs in the order of ``flatten``.

    Args:
        model: a built model in evaluation mode, on the CPU and in float32.
        folder: an existing folder.
        query: encoded columns of queries, at least two rows.
        candidate: encoded columns of candidates, at least two rows.

    Raises:
        UserError: ``torch.export`` cannot hold a tower.
    """
    with torch.no_grad():
        _write(model.encode_query, model.embed_histories(query), folder / "query.pt2")
        _write(model.encode_candidate, candidate, folder / "candidate.pt2")


def _write(encode: Callable[[Features], Tensor], example: Features, path: Path) -> None:
    owner = getattr(encode, "__self__", None)
    assert isinstance(owner, TwoTowerModel)
    module = FlatModule(owner, lambda *tensors: encode(unflatten(example, tensors)))
    inputs = flatten(example)
    try:
        program = export_program(module, inputs, {name: [0] for name in inputs})
    except TraceError as error:
        side = path.stem
        raise UserError(f"export: the {side} tower cannot become {path.name} ({error}); leave out --pt2") from error
    torch.export.save(program, path)
