"""Trace the towers and the scorer, write them as ONNX programs, and compare the programs with torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx_ir
import onnxruntime
import torch
from torch import Tensor, nn

from dssm_lightning.export.flat_columns import unflatten
from dssm_lightning.export.obstacles import tower_obstacle
from dssm_lightning.export.shared_weights import refer_to_weights, save_weights
from dssm_lightning.export.tracing import TraceError, trace
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.retrieval.bundle.programs import ExportedTowers, Program, ProgramInput, flatten
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Features, num_rows, take_features

TOLERANCE = 1e-4  # largest difference to torch, relative to numbers above 1
Calls = Iterable[dict[str, Tensor]]


def write_programs(model: TwoTowerModel, folder: Path, query: Features, candidate: Features) -> ExportedTowers:
    """Write the programs of a model into an empty folder, beside their weights.

    Args:
        model: a built model in evaluation mode, on the CPU and in float32.
        folder: an existing folder.
        query: encoded columns of queries, at least two rows.
        candidate: encoded columns of candidates, at least two rows.

    Raises:
        UserError: ONNX cannot hold a part of the model.
    """
    queries, candidates = model.encode_query(query), model.encode_candidate(candidate)
    weights = folder / "model.safetensors"
    save_weights(model, weights)  # after the first call, which reads the weights of a backbone
    return ExportedTowers(
        write_tower(model, "query", query, weights),
        write_tower(model, "candidate", candidate, weights),
        _write_scorer(model, queries, candidates, weights),
        _write_vectors(model, queries, weights),
        indexable=model.scorer.indexable,
    )


def write_tower(model: TwoTowerModel, side: str, example: Features, weights: Path) -> Program:
    """Write the program of one side beside the file of the weights.

    Args:
        model: a built model in evaluation mode, on the CPU and in float32.
        side: "query" or "candidate".
        example: encoded columns of this side, at least two rows.
        weights: the file that :func:`~dssm_lightning.export.shared_weights.save_weights` wrote.

    Raises:
        UserError: ONNX cannot hold a part of the tower, or the example has too few rows.
    """
    encode = model.encode_query if side == "query" else model.encode_candidate
    if num_rows(example) < 2:
        raise UserError(f"export: the {side} example has {num_rows(example)} rows; it must have at least 2")
    module = FlatModule(model, lambda *tensors: encode(unflatten(example, tensors)))
    inputs = flatten(example)
    try:
        program = trace(module, inputs, "embedding", {name: [0] for name in inputs})
    except TraceError as error:
        raise tower_obstacle(model, side, example, error) from error
    rows = torch.arange(num_rows(example))
    choices = (rows[:1], rows[1:2], rows, torch.cat([rows.flip(0), rows]))
    calls = [flatten(take_features(example, chosen)) for chosen in choices]
    steps = 1.01 if side == "candidate" and model.candidate_tower.vectors is not None else 0.0
    return _write(program, f"{side}.onnx", module, calls, weights, f"the {side} tower", steps)


def _write_scorer(model: TwoTowerModel, queries: Tensor, candidates: Tensor, weights: Path) -> Program:
    scorer = model.scorer
    module = FlatModule(scorer, scorer.pairs)
    columns = torch.arange(len(candidates)).expand(len(queries), -1).contiguous()
    inputs = {"query": queries, "candidate": candidates, "columns": columns}
    label = f"the scorer {type(scorer).__name__}"
    try:
        program = trace(module, inputs, "logits", {"query": [0], "candidate": [0], "columns": [0, 1]})
    except TraceError as error:
        raise UserError(f"export: {label} cannot become an ONNX program ({error}); use another scorer") from error
    few = {"query": queries[:1], "candidate": candidates[:1], "columns": torch.zeros(1, 1, dtype=torch.int64)}
    return _write(program, "scorer.onnx", module, [inputs, few], weights, label)


def _write_vectors(model: TwoTowerModel, embedding: Tensor, weights: Path) -> Program | None:
    scorer = model.scorer
    if not scorer.indexable or torch.equal(scorer.vectors(embedding), embedding[None]):
        return None
    module = FlatModule(scorer, scorer.vectors)
    label = f"the vectors of the scorer {type(scorer).__name__}"
    try:
        program = trace(module, {"embedding": embedding}, "vectors", {"embedding": [0]})
    except TraceError as error:
        raise UserError(f"export: {label} cannot become an ONNX program ({error}); use another scorer") from error
    return _write(program, "vectors.onnx", module, [{"embedding": embedding[:1]}], weights, label)


class FlatModule(nn.Module):
    """A function of tensors, with the module whose weights it uses.

    Example:
        >>> layer = nn.Identity()
        >>> FlatModule(layer, lambda a, b: layer(a) + b)([torch.ones(1), torch.ones(1)])
        tensor([2.])
    """

    def __init__(self, owner: nn.Module, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.owner, self.function = owner, function

    def forward(self, tensors: list[Tensor]) -> Tensor:
        """List of tensors -> one tensor."""
        return self.function(*tensors)


def _write(
    program: onnx_ir.Model,
    name: str,
    module: FlatModule,
    calls: Calls,
    weights: Path,
    label: str,
    steps: float = 0.0,
) -> Program:
    path = weights.with_name(name)
    refer_to_weights(program, weights)
    onnx_ir.save(program, path)
    difference = _difference(path, module, calls, label, steps)
    output = program.graph.outputs[0]
    return Program(
        name,
        tuple(ProgramInput(str(v.name), _dtype(v), _shape(v)) for v in program.graph.inputs),
        str(output.name),
        _shape(output),
        difference,
    )


def _dtype(value: onnx_ir.Value) -> str:
    assert value.dtype is not None
    return str(value.dtype.numpy().name)


def _shape(value: onnx_ir.Value) -> tuple[int | None, ...]:
    assert value.shape is not None
    return tuple(size if isinstance(size, int) else None for size in value.shape)


def _difference(path: Path, module: FlatModule, calls: Calls, label: str, steps: float) -> float:
    """Return the largest difference between a written program and torch; refuse a large one.

    Numbers that are rounded to int8 may differ by this many steps, since kernels round differently just before.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors are raised, too
    worst = 0.0
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_inputs()]
        for inputs in calls:
            wanted = module(list(inputs.values())).numpy()
            found = session.run(None, {name: inputs[name].numpy() for name in names})[0]
            if found.shape != wanted.shape:
                raise UserError(f"export: the program of {label} gives {found.shape}, torch gives {wanted.shape}")
            step = np.abs(wanted).max(-1, keepdims=True, initial=0) / 127
            beyond = (np.abs(found - wanted) - steps * step).clip(min=0)
            worst = max(worst, float((beyond / np.abs(wanted).clip(min=1)).max(initial=0)))
    except UserError:
        raise
    except Exception as error:  # onnxruntime derives its exceptions from Exception
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"export: onnxruntime cannot run the program of {label}: {reason}") from error
    if not worst <= TOLERANCE:
        raise UserError(
            f"export: the program of {label} differs from torch by {worst:.2g}; a part of it must be deciding by the "
            "values or the number of the rows, which a program cannot"
        )
    return worst
