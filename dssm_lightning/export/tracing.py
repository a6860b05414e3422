"""From a torch module over flat named tensors to an ONNX program with dynamic sizes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx_ir
import torch
import torch.fx.experimental._config
from torch import Tensor, nn

from dssm_lightning.export.recurrent_operators import translations

SWITCHES: Any = torch.fx.experimental._config  # private: tests/export/test_tracing.py notices if a switch goes


class TraceError(Exception):
    """A module that ``torch.export`` or ONNX cannot hold, with the reason in one line."""


def trace(module: nn.Module, inputs: dict[str, Tensor], output: str, dynamic: dict[str, list[int]]) -> onnx_ir.Model:
    """Translate a module that takes a list of tensors.

    Args:
        module: list of tensors -> one tensor, in evaluation mode.
        inputs: example values, by the names that the program's inputs get.
        output: name of the program's output.
        dynamic: the dimensions of each input whose size may differ in each call.

    Raises:
        TraceError: the module has an operation, or a decision on data, that cannot be translated.
    """
    exported, tensors = export_program(module, inputs, dynamic), list(inputs.values())
    try:
        with _exporting():
            program = torch.onnx.export(
                exported, (tensors,), dynamo=True, verbose=False, custom_translation_table=translations()
            )
    except Exception as error:  # the exporter raises whatever it meets
        raise TraceError(_reason(error)) from error
    assert program is not None
    model = program.model
    _name_ends(model, list(inputs), output)
    _forget_origin(model)
    for value in list(model.graph.inputs):
        if not value.uses() and not value.is_graph_output():  # such as the ages of a history that is only averaged
            model.graph.inputs.remove(value)
    return model


def export_program(
    module: nn.Module, inputs: dict[str, Tensor], dynamic: dict[str, list[int]]
) -> torch.export.ExportedProgram:
    """Trace a module that takes a list of tensors. Arguments and errors as for :func:`trace`."""
    sizes = [dict.fromkeys(dynamic[name], torch.export.Dim.DYNAMIC) for name in inputs]
    try:
        with _exporting():
            return torch.export.export(module, (list(inputs.values()),), dynamic_shapes=(sizes,), strict=False)
    except Exception as error:  # it raises whatever it meets, also errors of the user's own modules
        raise TraceError(_reason(error)) from error


@contextmanager
def _exporting() -> Iterator[None]:
    """Export quietly, and without special cases for sizes of 1: a program traced with 3 rows would refuse one row."""
    with _quiet(), torch.no_grad(), SWITCHES.patch(backed_size_oblivious=True):
        yield


def _name_ends(model: onnx_ir.Model, inputs: list[str], output: str) -> None:
    """Give the program's inputs and its output their names, after all other values that have these names."""
    ends = dict(zip(model.graph.inputs, inputs, strict=True)) | {model.graph.outputs[0]: output}
    inner = [value for node in model.graph for value in node.outputs] + list(model.graph.initializers.values())
    for number, value in enumerate(inner):
        if value not in ends and value.name in ends.values():
            value.name = f"{value.name}.{number}"
    for value, name in ends.items():
        value.name = name


def _forget_origin(model: onnx_ir.Model) -> None:
    """Remove what the exporter notes of its origin: stack traces have paths of this machine, and differ each time."""
    graphs: list[Any] = [model.graph, *model.functions.values()]
    for graph in graphs:
        nodes = list(graph.all_nodes())
        values = [*graph.inputs, *(value for node in nodes for value in node.outputs)]
        for part in (graph, *nodes, *values):
            part.metadata_props.clear()
            part.doc_string = None
    for value in model.graph.initializers.values():
        value.metadata_props.clear()
    model.metadata_props.clear()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' own warnings and records from the user, who can do nothing about them."""
    before = logging.root.manager.disable
    try:
        logging.disable(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _reason(error: BaseException) -> str:
    """Return the first line of the innermost error that says something."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
