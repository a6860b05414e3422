"""What the export needs of torch, and operations that torch has in two forms."""

from __future__ import annotations

import torch
import torch.fx.experimental._config
from torch import nn

from dssm_lightning.models.encoders.recurrent_layers import gru_states, lstm_states


def test_torch_still_has_the_private_switch_for_sizes_of_one() -> None:
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        exported = torch.export.export(
            nn.Flatten(0), (torch.zeros(2, 3),), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
        )
    assert exported.module()(torch.ones(1, 3)).shape == (3,)


def test_single_layers_give_what_torchs_modules_give() -> None:
    torch.manual_seed(0)
    inputs, lengths = torch.randn(4, 6, 5), torch.tensor([6, 1, 3, 2])
    lstm = nn.LSTM(5, 3, num_layers=3, batch_first=True, bidirectional=True)
    gru = nn.GRU(5, 5, num_layers=2, batch_first=True)
    with torch.no_grad():
        states = lstm_states(lstm, inputs, lengths)
        packed = nn.utils.rnn.pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        wanted = nn.utils.rnn.pad_packed_sequence(lstm(packed)[0], batch_first=True)[0]
        start = torch.randn(2, 4, 5)
        assert torch.allclose(states, wanted, atol=1e-6)
        assert torch.allclose(gru_states(gru, inputs, start), gru(inputs, start)[0], atol=1e-6)
    torch.library.opcheck(
        torch.ops.dssm_lightning.gru.default,
        (inputs, start[0], *(p.detach() for p in gru._flat_weights[:4]), 5),
        test_utils="test_schema",
    )
