"""Bags against PyTorch's ``embedding_bag``, a loop over rows, and finite differences."""

from __future__ import annotations

import polars as pl
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dssm_lightning.features.numeric import Numeric
from dssm_lightning.features.text.hashed import HashedWords
from dssm_lightning.features.text.trigrams import Trigrams
from dssm_lightning.models.encoders.decayed_bag import DecayedEmbeddingBag
from dssm_lightning.models.encoders.embedding_bag import EmbeddingBag, bag_sums
from dssm_lightning.utils.ragged import Prefixes, Ragged

FEATURE = HashedWords(name="words", num_buckets=50)


def random_ragged(rows=40, num_ids=50, longest=9, dtype=torch.int32, age=False):
    """Rows of 0 to ``longest`` values; a row can hold a value several times."""
    lengths = torch.randint(0, longest + 1, (rows,))
    lengths[::7] = 0
    total = int(lengths.sum())
    values = torch.randint(0, num_ids, (total,)).div(2, rounding_mode="floor").to(dtype)
    offsets = F.pad(lengths.cumsum(0), (1, 0))
    return Ragged(values, offsets, torch.rand(total) * 10 if age else None)


def rows_of(ragged, values):
    return [part.tolist() for part in values.tensor_split(ragged.offsets[1:-1])]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("sparse", [False, True])
def test_sums_and_gradient_equal_pytorchs(dtype, sparse):
    ragged = random_ragged(dtype=dtype)
    table, weights = torch.randn(50, 16, requires_grad=True), torch.rand(len(ragged.values))
    other = table.detach().clone().requires_grad_()
    sums = bag_sums(table, ragged.values, ragged.offsets, weights, sparse=sparse)
    expected = F.embedding_bag(
        ragged.values.long(), other, ragged.offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
    )
    torch.testing.assert_close(sums, expected, rtol=0, atol=1e-6)
    upstream = torch.randn_like(sums)
    sums.backward(upstream)
    expected.backward(upstream)
    assert table.grad.is_sparse == sparse
    torch.testing.assert_close(table.grad.to_dense(), other.grad, rtol=0, atol=2e-6)


def test_the_gradient_is_the_derivative():
    ragged = random_ragged(rows=8, num_ids=10, longest=4)
    table = torch.randn(10, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(len(ragged.values), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t: bag_sums(t, ragged.values, ragged.offsets, weights), table)


def test_the_gradient_is_the_same_every_time():
    ragged = random_ragged(rows=500, num_ids=20, longest=50)
    table, weights = torch.randn(20, 33, requires_grad=True), torch.rand(len(ragged.values))
    upstream = torch.randn(500, 33)

    def gradient():
        sums = bag_sums(table, ragged.values, ragged.offsets, weights)
        return torch.autograd.grad(sums, table, upstream)[0]

    assert all(torch.equal(gradient(), gradient()) for _ in range(5))


def test_sparse_gradients_of_several_bags_add_up():
    """Several bags of one table: a batch encoded in chunks, or a table that both sides share."""
    table = torch.randn(50, 4, requires_grad=True)
    parts = [random_ragged(), random_ragged()]
    sums = [bag_sums(table, part.values, part.offsets, torch.ones(len(part.values)), sparse=True) for part in parts]
    torch.cat(sums).square().sum().backward()
    added = table.grad.to_dense()
    expected = table.detach().clone().requires_grad_()
    torch.cat(
        [F.embedding_bag(p.values.long(), expected, p.offsets[:-1], mode="sum") for p in parts]
    ).square().sum().backward()
    torch.testing.assert_close(added, expected.grad)
    nn.utils.clip_grad_norm_([table], 1.0)
    torch.optim.SparseAdam([table]).step()


@pytest.mark.parametrize("pooling", ["mean", "sum", "sqrt"])
def test_pooling_equals_a_loop(pooling):
    ragged = random_ragged()
    encoder = EmbeddingBag(FEATURE, output_dim=6, pooling=pooling)
    expected = []
    for ids in rows_of(ragged, ragged.values):
        total = sum((encoder.table.weight[i] for i in ids), torch.zeros(6))
        expected.append(total / {"mean": max(len(ids), 1), "sum": 1, "sqrt": max(len(ids), 1) ** 0.5}[pooling])
    torch.testing.assert_close(encoder(ragged), torch.stack(expected))
    with torch.no_grad():
        torch.testing.assert_close(encoder(ragged), torch.stack(expected).detach())


def test_rows_without_values_are_zeros():
    encoder = EmbeddingBag(FEATURE, output_dim=4)
    empty = Ragged(torch.zeros(0, dtype=torch.int32), torch.zeros(4, dtype=torch.int64))
    vectors = encoder(empty)
    assert torch.equal(vectors, torch.zeros(3, 4))
    vectors.sum().backward()
    assert torch.equal(encoder.table.weight.grad, torch.zeros(50, 4))
    one = Ragged(torch.tensor([3, 3]), torch.tensor([0, 0, 2, 2]))
    assert torch.equal(encoder(one)[[0, 2]], torch.zeros(2, 4))


def test_a_column_of_text_trains_only_the_rows_of_its_trigrams():
    feature = Trigrams(name="t").fit(pl.Series(["cat", "dog"]))
    encoder = EmbeddingBag(feature, output_dim=8)
    encoder(feature.encode(pl.Series(["cat", "bird"]))).sum().backward()
    rows = encoder.table.weight.grad.abs().sum(1) > 0
    known = [trigram in ("\0ca", "cat", "at\0") for trigram in feature.vocabulary]
    assert rows.tolist() == [True, *known]  # row 0: the trigrams of "bird"


def test_the_table_starts_with_unit_length_and_an_unknown_row_of_zeros():
    weight = EmbeddingBag(HashedWords(name="w", num_buckets=4000), output_dim=64).table.weight.detach()
    assert torch.equal(weight[0], torch.zeros(64))
    assert float(weight[1:].norm(dim=1).mean()) == pytest.approx(1, abs=0.02)


def test_a_tied_table_is_read_from_its_owner():
    encoder, other = EmbeddingBag(FEATURE, output_dim=4), EmbeddingBag(FEATURE, output_dim=4)
    encoder.table = other.table
    ragged = random_ragged()
    assert torch.equal(encoder(ragged), other(ragged))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_keeps_the_dtype_of_the_table(dtype):
    encoder = EmbeddingBag(FEATURE, output_dim=16).to(dtype)
    ragged = random_ragged()
    expected = encoder(ragged)
    with torch.autocast("cpu", torch.bfloat16):
        vectors = encoder(ragged)
    assert vectors.dtype == dtype
    assert torch.equal(vectors, expected)
    vectors.sum().backward()
    assert encoder.table.weight.grad.dtype == dtype


def test_checkpointing_replays_the_same_numbers():
    from torch.utils.checkpoint import checkpoint

    encoder, ragged = EmbeddingBag(FEATURE, output_dim=4), random_ragged()
    encoder(ragged).square().sum().backward()
    expected = encoder.table.weight.grad.clone()
    encoder.zero_grad()
    checkpoint(encoder, ragged, use_reentrant=False).square().sum().backward()
    assert torch.equal(encoder.table.weight.grad, expected)


def test_decay_equals_a_loop():
    ragged = random_ragged(age=True)
    encoder = DecayedEmbeddingBag(FEATURE, output_dim=5, half_life=2.5)
    expected = []
    for ids, ages in zip(rows_of(ragged, ragged.values), rows_of(ragged, ragged.age), strict=True):
        weights = [0.5 ** (age / 2.5) for age in ages]
        parts = [encoder.table.weight[i] * w / sum(weights) for i, w in zip(ids, weights, strict=True)]
        expected.append(sum(parts, torch.zeros(5)))
    torch.testing.assert_close(encoder(ragged), torch.stack(expected))


def test_decay_by_hand():
    encoder = DecayedEmbeddingBag(FEATURE, output_dim=1, half_life=10.0)
    with torch.no_grad():
        encoder.table.weight.copy_(torch.arange(50.0)[:, None])
    ages = torch.tensor([0.0, 10.0, 20.0])
    column = Ragged(torch.tensor([7, 14, 28], dtype=torch.int32), torch.tensor([0, 3]), ages)
    # Weights 1, 1/2, 1/4 over 7/4: (7 · 4 + 14 · 2 + 28) / 7 = 12.
    assert encoder(column).item() == pytest.approx(12.0)
    assert encoder(column._replace(age=ages + 1e6)).item() == pytest.approx(12.0)  # 0.5 ** 1e5 rounds to 0


def test_decay_has_a_gradient():
    encoder, ragged = DecayedEmbeddingBag(FEATURE, output_dim=4, half_life=1.0, sparse=True), random_ragged(age=True)
    encoder(ragged).sum().backward()
    # Every row's weights sum to 1, so each component of the table's gradient sums to the number of rows.
    filled = float((ragged.lengths > 0).sum())
    torch.testing.assert_close(encoder.table.weight.grad.to_dense().sum(0), torch.full((4,), filled))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EmbeddingBag(FEATURE, pooling="max"), "'words': pooling is 'max'.*mean, sqrt, sum"),
        (lambda: EmbeddingBag(FEATURE, output_dim=0), "'words': output_dim is 0"),
        (lambda: EmbeddingBag(Numeric(name="x")), "'x': a Numeric has no ids"),
        (lambda: DecayedEmbeddingBag(FEATURE, half_life=0.0), r"'words': half_life is 0\.0"),
        (lambda: DecayedEmbeddingBag(FEATURE, half_life=float("nan")), "half_life is nan"),
        (
            lambda: DecayedEmbeddingBag(FEATURE, half_life=1.0)(random_ragged()),
            "'words': DecayedEmbeddingBag .*age",
        ),
    ],
)
def test_wrong_arguments_are_an_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_entries_of_length_1_are_pooled(pooling):
    ragged, encoder = random_ragged(), EmbeddingBag(FEATURE, 8, pooling=pooling, normalize=True)
    unit = F.normalize(encoder.table.weight.detach(), dim=1)
    for found, ids in zip(encoder(ragged), rows_of(ragged, ragged.values), strict=True):
        expected = sum((unit[number] for number in ids), torch.zeros(8)) / (len(ids) or 1 if pooling == "mean" else 1)
        torch.testing.assert_close(found, expected)
    encoder(ragged)[0:9].sum().backward()
    assert encoder.table.weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="sparse and normalize"):
        EmbeddingBag(FEATURE, 8, sparse=True, normalize=True)


def test_an_unknown_entry_has_the_gradient_of_its_result():
    encoder, slope = EmbeddingBag(FEATURE, 2, pooling="sum", normalize=True), torch.tensor([[1.0, -2.0]])
    unknown = Ragged(torch.tensor([0]), torch.tensor([0, 1]))
    prefixes = Prefixes(unknown, torch.tensor([0]), torch.tensor([1]), torch.zeros(1))
    for column in (unknown, prefixes):
        encoder.zero_grad()
        (encoder(column) * slope).sum().backward()
        assert torch.equal(encoder.table.weight.grad[:1], slope)
