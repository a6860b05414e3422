"""Encoders that read a sequence once give each event the same state as its own history."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from dssm_lightning.features import Categorical, History
from dssm_lightning.models.encoders import GRU, EmbeddingBag, Encoder, SelfAttention
from dssm_lightning.models.encoders.attention_blocks import AttentionBlock
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
    SelfAttention(HISTORY, 8, num_layers=2, num_heads=2, hidden_dim=12, feed_forward="swiglu"),
    SelfAttention(HISTORY, 8, num_layers=1, feed_forward="swiglu"),
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


def test_a_block_with_swiglu_by_a_loop_over_the_formulas() -> None:
    """In double precision, one state after the other, each as the sources write it."""
    encoder = SelfAttention(HISTORY, 8, num_layers=1, num_heads=2, hidden_dim=12, feed_forward="swiglu").eval().double()
    [block] = encoder.blocks
    states = torch.randn(5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weight, bias = block.input.weight.split(8), block.input.bias.split(8)
    with torch.no_grad():
        for place, x in enumerate(states):
            normed = block.attention_norm(states[: place + 1])
            query, key, value = (normed @ w.T + b for w, b in zip(weight, bias, strict=True))
            heads = []
            for own in (slice(0, 4), slice(4, 8)):
                share = (key[:, own] @ query[place, own] / 4**0.5).softmax(0)
                heads.append((share[:, None] * value[:, own]).sum(0))
            x = x + (block.output.weight @ torch.cat(heads) + block.output.bias)
            inner, part = block.hidden_norm(x), block.hidden
            opened = part.gate.weight @ inner
            product = opened / (1 + torch.exp(-opened)) * (part.input.weight @ inner)
            x = x + part.output.weight @ product
            torch.testing.assert_close(block(states[None])[0, place], x)


class EarlierBlock(nn.Module):
    """The only block of earlier releases: the order of its layers decides what each of them draws."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm, self.hidden_norm = nn.LayerNorm(8), nn.LayerNorm(8)
        self.input, self.output = nn.Linear(8, 24), nn.Linear(8, 8)
        self.hidden = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 8))
        self.dropout = nn.Dropout(0.5)

    def forward(self, states: Tensor) -> Tensor:
        heads = self.input(self.attention_norm(states)).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(*heads, is_causal=True)
        states = states + self.dropout(self.output(attended.transpose(1, 2).flatten(2)))
        return states + self.dropout(self.hidden(self.hidden_norm(states)))


def test_the_default_block_is_that_of_earlier_releases_to_the_last_bit() -> None:
    found = []
    for make in (EarlierBlock, partial(AttentionBlock, 8, 2, 12, dropout=0.5)):
        torch.manual_seed(0)
        block = make()
        found.append((block.state_dict(), block(torch.randn(3, 5, 8))))  # draws dropout
    (before, old), (now, new) = found
    assert list(before) == list(now)
    assert all(torch.equal(value, now[name]) for name, value in before.items())
    assert torch.equal(old, new)


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
        (SelfAttention, {"feed_forward": "gelu"}, "encoder of 'h': feed_forward is 'gelu'"),
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
