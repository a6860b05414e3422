"""The recurrent layers of ``models/encoders/recurrent_layers.py`` in the operators of ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from onnxscript import opset18

from dssm_lightning.models.encoders import recurrent_layers

op: Any = opset18  # its types do not know that a translation passes symbolic values
INT32 = 6  # TensorProto.INT32, the type of sequence_lens


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return the translation of each operation, as ``torch.onnx.export(custom_translation_table=…)`` takes it.

    Example:
        >>> len(translations())
        2
    """
    assert recurrent_layers.__name__, "importing the module registers the operations"
    operations = torch.ops.dssm_lightning
    return {operations.lstm_both_ways.default: _lstm_both_ways, operations.gru.default: _gru}


def _lstm_both_ways(
    inputs: Any,
    lengths: Any,
    input_weight: Any,
    state_weight: Any,
    input_bias: Any,
    state_bias: Any,
    back_input_weight: Any,
    back_state_weight: Any,
    back_input_bias: Any,
    back_state_bias: Any,
    hidden_dim: int,
) -> Any:
    """(B, L, d), (B,) and the weights of both directions -> (B, L, 2 · hidden)."""
    order = (0, 3, 1, 2)  # torch has the gates input, forget, cell, output; ONNX has input, output, forget, cell
    both = [
        _directions([forward, backward], order)
        for forward, backward in ((input_weight, back_input_weight), (state_weight, back_state_weight))
    ]
    biases = [[input_bias, state_bias], [back_input_bias, back_state_bias]]
    bias = op.Concat(*(op.Unsqueeze(_biases(each, order), _ints(0)) for each in biases), axis=0)  # (2, 8 · hidden)
    steps_first = op.Transpose(inputs, perm=[1, 0, 2])
    counts = op.Cast(lengths, to=INT32)
    states, _, _ = op.LSTM(steps_first, *both, bias, counts, hidden_size=hidden_dim, direction="bidirectional")
    return op.Reshape(op.Transpose(states, perm=[2, 0, 1, 3]), _ints(0, 0, 2 * hidden_dim))  # from (L, 2, B, hidden)


def _gru(
    inputs: Any,
    start: Any,
    input_weight: Any,
    state_weight: Any,
    input_bias: Any,
    state_bias: Any,
    hidden_dim: int,
) -> Any:
    """(B, L, d), (B, D) and the weights -> (B, L, D)."""
    order = (1, 0, 2)  # torch has the gates reset, update, new; ONNX has update, reset, new
    weights = [_directions([weight], order) for weight in (input_weight, state_weight)]
    bias = op.Unsqueeze(_biases([input_bias, state_bias], order), _ints(0))
    states, _ = op.GRU(
        op.Transpose(inputs, perm=[1, 0, 2]),
        *weights,
        bias,
        None,
        op.Unsqueeze(start, _ints(0)),
        hidden_size=hidden_dim,
        linear_before_reset=1,  # the order of operations in torch
    )
    return op.Transpose(op.Squeeze(states, _ints(1)), perm=[1, 0, 2])  # from (L, 1, B, D)


def _gates(weight: Any, order: tuple[int, ...]) -> Any:
    parts = op.Split(weight, num_outputs=len(order), axis=0)
    return op.Concat(*(parts[place] for place in order), axis=0)


def _directions(weights: list[Any], order: tuple[int, ...]) -> Any:
    """One weight (gates · hidden, d) for each direction -> (directions, gates · hidden, d)."""
    parts = [op.Unsqueeze(_gates(weight, order), _ints(0)) for weight in weights]
    return parts[0] if len(parts) == 1 else op.Concat(*parts, axis=0)


def _biases(biases: list[Any], order: tuple[int, ...]) -> Any:
    return op.Concat(*(_gates(bias, order) for bias in biases), axis=0)


def _ints(*values: int) -> Any:
    return op.Constant(value_ints=list(values))
