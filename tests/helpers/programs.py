"""Models with any encoder, fusion or scorer; columns of random values; and programs run by onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from dssm_lightning import Tower
from dssm_lightning.export import Program, example_columns, flatten
from dssm_lightning.export.shared_weights import save_weights
from dssm_lightning.export.writing import write_tower
from dssm_lightning.features import Feature, WordTrigrams
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.models.fusion import Concat
from dssm_lightning.models.scorers import Dot, Scorer
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.utils.ragged import Column, Features, Ragged

TOWER = partial(Tower, fusion=Concat, output_dim=6)
SIZES = {
    "one row": (4,),
    "one empty row": (0,),
    "two rows": (1, 5),
    "three rows, all empty": (0, 0, 0),
    "an empty row at each end": (0, 2, 0, 7, 0),
    "many rows": tuple((7 * place) % 9 for place in range(50)),
}


def build(
    query: list[Feature],
    candidate: list[Feature],
    query_tower: Callable[..., Tower] = TOWER,
    candidate_tower: Callable[..., Tower] | None = TOWER,
    scorer: Scorer | None = None,
    **options: Any,
) -> TwoTowerModel:
    """A built model in evaluation mode; all its parameters are random, also those that start as zeros."""
    torch.manual_seed(0)
    model = TwoTowerModel(query_tower, candidate_tower, scorer or Dot(), **options)
    model.build(Schemas(Schema(tuple(query)), Schema(tuple(candidate))))
    with torch.no_grad():
        for tensor in (*model.parameters(), *(b for b in model.buffers() if b.is_floating_point() and b.ndim == 1)):
            tensor += 0.1 * torch.randn_like(tensor).abs()
    return model.eval()


def columns(model: TwoTowerModel, side: str, lengths: tuple[int, ...]) -> Features:
    """Columns of random values, with rows of these lengths where a column is ragged."""
    assert model.schemas is not None
    schema = model.schemas.query if side == "query" else model.schemas.candidate
    found = example_columns(schema, model.schemas.candidate, lengths)
    return {feature.name: _random(feature, found[feature.name], model) for feature in schema}


def _random(feature: Feature, column: Column, model: TwoTowerModel) -> Column:
    if isinstance(column, torch.Tensor):
        if column.is_floating_point():
            return torch.randn_like(column)
        limit = getattr(feature, "cardinality", 256)
        random = torch.randint(0, limit, column.shape).to(column.dtype)
        if column.ndim == 4:
            random[:1, -1] = 0  # a row without a picture
        return random
    assert isinstance(column, Ragged)
    if isinstance(column.items, dict):
        column = column._replace(items=columns(model, "candidate", (2, 0, 3, 1)))
        limit = 4
    else:
        limit = feature.cardinality  # type: ignore[attr-defined]
    values = torch.randint(0, limit, column.values.shape).to(column.values.dtype)
    if isinstance(feature, WordTrigrams):
        values[column.offsets[1:][column.lengths > 0] - 1] = 0  # a 0 ends each word
    age = None if column.age is None else 5 * torch.rand_like(column.age)
    return column._replace(values=values, age=age)


def run(folder: Path, program: Program, inputs: dict[str, torch.Tensor]) -> np.ndarray[Any, Any]:
    """Run a program on the inputs that it has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / program.file, options, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == [each.name for each in program.inputs]
    found: np.ndarray[Any, Any] = session.run(None, {each.name: inputs[each.name].numpy() for each in program.inputs})[
        0
    ]
    return found


def largest_difference(model: TwoTowerModel, side: str, folder: Path, program: Program) -> float:
    """Over all sizes: the largest difference between a tower's program and torch."""
    worst = 0.0
    encode = model.encode_query if side == "query" else model.encode_candidate
    for lengths in SIZES.values():
        features = columns(model, side, lengths)
        found = run(folder, program, flatten(features))
        with torch.no_grad():
            wanted = encode(features).numpy()
        assert found.shape == wanted.shape == (len(lengths), program.shape[1])
        worst = max(worst, float(np.abs(found - wanted).max()))
    return worst


def query_difference(model: TwoTowerModel, folder: Path) -> float:
    """Write the query tower alone, and return its largest difference to torch."""
    assert model.schemas is not None
    example = example_columns(model.schemas.query, model.schemas.candidate)
    with torch.no_grad():
        model.encode_query(example)
        save_weights(model, folder / "model.safetensors")
        return largest_difference(
            model, "query", folder, write_tower(model, "query", example, folder / "model.safetensors")
        )
