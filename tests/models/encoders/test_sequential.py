"""Encoders that read a sequence once give each event the same state as its own history."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dssm_lightning.features import Categorical, History
from dssm_lightning.models.encoders import GRU, EmbeddingBag, Encoder, SelfAttention
from dssm_lightning.models.encoders.decayed_bag import DecayedEmbeddingBag
from dssm_lightning.utils.ragged import Prefixes, Ragged

ITEM = Categorical(name="movie_id", num_buckets=50)
HISTORY = History(name="h", of="movie_id", item=ITEM, max_length=9)


def sequences(*lengths: int) -> Ragged:
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    values = torch.randint(1, 50, (int(offsets[-1]),), generator=torch.Generator().manual_seed(1))
    rows = Ragged(values, offsets).rows
    return Ragged(values, offsets, (offsets[1:][rows] - torch.arange(len(values))).float())


PREFIXES = Prefixes(
    sequences(4, 0, 9, 1),
    sequence=torch.tensor([0, 0, 0, 1, 2, 2, 3, 3]),
    length=torch.tensor([0, 2, 4, 0, 9, 3, 1, 0]),
    now=torch.tensor([4.0, 2.0, 0.0, 0.0, 0.0, 6.0, 0.0, 1.0]),
)
CAUSAL = [
    SelfAttention(HISTORY, 8, num_layers=2, num_heads=2),
    SelfAttention(HISTORY, 8, num_layers=1, hidden_dim=12, dropout=0.0),
    GRU(HISTORY, 8, num_layers=2, dropout=0.1),
    EmbeddingBag(HISTORY, 8, pooling="sum"),
    EmbeddingBag(HISTORY, 8, pooling="mean"),
]


@pytest.mark.parametrize("encoder", CAUSAL, ids=lambda encoder: type(encoder).__name__)
def test_a_sequence_read_once_equals_each_events_own_history(encoder: Encoder) -> None:
    encoder.eval()
    together = encoder(PREFIXES)
    assert together.shape == (8, encoder.output_dim)
    torch.testing.assert_close(together, encoder(PREFIXES.expand()))
    one = torch.cat([encoder(Ragged(values, torch.tensor([0, len(values)]))) for values in rows_of(PREFIXES)])
    torch.testing.assert_close(together, one)
    assert torch.equal(together[0], together[3])  # both histories are empty
    assert not torch.allclose(together[1], together[2])


def rows_of(prefixes: Prefixes) -> list[Tensor]:
    expanded = prefixes.expand()
    return list(expanded.values.split(expanded.lengths.tolist()))


@pytest.mark.parametrize("encoder", CAUSAL, ids=lambda encoder: type(encoder).__name__)
def test_all_parameters_have_a_gradient(encoder: Encoder) -> None:
    encoder.train()
    (encoder(PREFIXES) ** 3).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in encoder.parameters())
    encoder.zero_grad()


def test_all_histories_are_empty() -> None:
    nothing = Ragged(torch.zeros(0, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    for encoder in CAUSAL:
        encoded = encoder.eval()(nothing)
        assert encoded.shape == (2, 8)
        assert torch.equal(encoded[0], encoded[1])


def test_a_block_is_torchs_encoder_layer_with_norm_first() -> None:
    """One block against ``nn.TransformerEncoderLayer``, which has the same projection of queries, keys and values."""
    encoder = SelfAttention(HISTORY, 8, num_layers=1, num_heads=2, hidden_dim=12, dropout=0.0).eval()
    [block] = encoder.blocks
    theirs = nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True, norm_first=True).eval()
    theirs.self_attn.in_proj_weight, theirs.self_attn.in_proj_bias = block.input.weight, block.input.bias
    theirs.self_attn.out_proj, theirs.linear1, theirs.linear2 = block.output, block.hidden[0], block.hidden[2]
    theirs.norm1, theirs.norm2 = block.attention_norm, block.hidden_norm
    states = torch.randn(3, 5, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    torch.testing.assert_close(block(states), theirs(states, src_mask=mask, is_causal=True))


def test_gru_against_a_loop() -> None:
    encoder = GRU(HISTORY, 8).eval()
    with torch.no_grad():
        encoder.start.normal_()
        cell = nn.GRUCell(8, 8)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, name).copy_(getattr(encoder.gru, f"{name}_l0"))
        for encoded, values in zip(encoder(PREFIXES), rows_of(PREFIXES), strict=True):
            state = encoder.start
            for value in values:
                state = cell(encoder.table.weight[value][None], state)
            torch.testing.assert_close(encoded, state[0])


def test_histories_of_whole_candidates_bring_their_embeddings() -> None:
    vectors = torch.randn(50, 8, requires_grad=True)
    column = PREFIXES._replace(sequences=PREFIXES.sequences._replace(items=vectors))
    for build in (SelfAttention, GRU):
        encoder = build(History(name="h", of="candidate", max_length=9), 8)
        assert encoder.table is None
        own = build(HISTORY, 8)
        own.load_state_dict({**encoder.state_dict(), "table.weight": torch.cat([vectors.detach(), torch.zeros(1, 8)])})
        torch.testing.assert_close(encoder.eval()(column), own.eval()(PREFIXES))
        encoder(column).sum().backward()
    bag = DecayedEmbeddingBag(History(name="h", of="candidate"), 8, half_life=2.0)
    assert bag(column.expand()).shape == (8, 8)
    assert vectors.grad is not None


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (SelfAttention, {"num_heads": 3}, "encoder of 'h': output_dim is 8 and num_heads is 3"),
        (SelfAttention, {"num_layers": 0}, "encoder of 'h': num_layers is 0"),
        (SelfAttention, {"dropout": 1.0}, r"encoder of 'h': dropout is 1\.0"),
        (GRU, {"num_layers": 0}, "num_layers is 0"),
        (GRU, {"dropout": -0.1}, "dropout is -0.1"),
    ],
)
def test_bad_arguments(build: type[Encoder], arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(HISTORY, 8, **arguments)


def test_other_features() -> None:
    with pytest.raises(ValueError, match=r"GRU .*'movie_id' is Categorical"):
        GRU(ITEM)
    with pytest.raises(ValueError, match=r"'h': SelfAttention .*max_length"):
        SelfAttention(History(name="h", of="movie_id", item=ITEM))
