"""One recurrent layer as one operation, for programs that leave torch.

``torch.export`` cannot trace ``nn.LSTM`` and ``nn.GRU`` over a length that is data: it would unroll the steps. While a
model is exported, ``BiLSTM`` and ``GRU`` call these operations instead, one for each layer. ONNX has operators for both
(``dssm_lightning/export/recurrent_operators.py``); in torch they compute the same as the modules.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


@torch.library.custom_op("dssm_lightning::lstm_both_ways", mutates_args=())
def _lstm_both_ways(
    inputs: Tensor,
    lengths: Tensor,
    input_weight: Tensor,
    state_weight: Tensor,
    input_bias: Tensor,
    state_bias: Tensor,
    back_input_weight: Tensor,
    back_state_weight: Tensor,
    back_input_bias: Tensor,
    back_state_bias: Tensor,
    hidden_dim: int,
) -> Tensor:
    weights = [input_weight, state_weight, input_bias, state_bias]
    weights += [back_input_weight, back_state_weight, back_input_bias, back_state_bias]
    packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
    start = inputs.new_zeros(2, inputs.shape[0], hidden_dim)
    states = torch.lstm(packed.data, packed.batch_sizes, (start, start), weights, True, 1, 0.0, False, True)[0]
    result = PackedSequence(states, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
    return pad_packed_sequence(result, batch_first=True, total_length=inputs.shape[1])[0].clone()


@_lstm_both_ways.register_fake
def _(inputs: Tensor, lengths: Tensor, *others: Tensor | int) -> Tensor:
    hidden_dim = others[-1]
    assert isinstance(hidden_dim, int)
    return inputs.new_empty(inputs.shape[0], inputs.shape[1], 2 * hidden_dim)


@torch.library.custom_op("dssm_lightning::gru", mutates_args=())
def _gru(
    inputs: Tensor,
    start: Tensor,
    input_weight: Tensor,
    state_weight: Tensor,
    input_bias: Tensor,
    state_bias: Tensor,
    hidden_dim: int,
) -> Tensor:
    weights = [input_weight, state_weight, input_bias, state_bias]
    states: Tensor = torch.gru(inputs, start[None].contiguous(), weights, True, 1, 0.0, False, False, True)[0]
    return states.clone()


@_gru.register_fake
def _(inputs: Tensor, start: Tensor, *others: Tensor | int) -> Tensor:
    return inputs.new_empty(inputs.shape[0], inputs.shape[1], start.shape[1])


def lstm_states(lstm: nn.LSTM, inputs: Tensor, lengths: Tensor) -> Tensor:
    """Run a bidirectional LSTM over rows of different lengths, without dropout.

    Args:
        lstm: the module; ``batch_first`` and bidirectional.
        inputs: (B, L, d).
        lengths: (B,) number of steps of each row, at least 1.

    Returns:
        (B, L, 2 · hidden) states of the last layer, with zeros after a row's end.

    Example:
        >>> lstm = nn.LSTM(2, 3, num_layers=2, batch_first=True, bidirectional=True)
        >>> lstm_states(lstm, torch.zeros(4, 5, 2), torch.tensor([5, 1, 3, 2])).shape
        torch.Size([4, 5, 6])
    """
    for layer in range(lstm.num_layers):
        weights = [*_weights(lstm, f"l{layer}"), *_weights(lstm, f"l{layer}_reverse")]
        inputs = _lstm_both_ways(inputs, lengths, *weights, lstm.hidden_size)
    return inputs


def gru_states(gru: nn.GRU, inputs: Tensor, start: Tensor) -> Tensor:
    """Run a GRU of one direction, without dropout: (B, L, d), (layers, B, D) initial states -> (B, L, D).

    Example:
        >>> gru = nn.GRU(2, 3, num_layers=2, batch_first=True)
        >>> gru_states(gru, torch.zeros(4, 5, 2), torch.zeros(2, 4, 3)).shape
        torch.Size([4, 5, 3])
    """
    for layer in range(gru.num_layers):
        inputs = _gru(inputs, start[layer], *_weights(gru, f"l{layer}"), gru.hidden_size)
    return inputs


def _weights(module: nn.RNNBase, suffix: str) -> list[Tensor]:
    return [getattr(module, f"{kind}_{suffix}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
