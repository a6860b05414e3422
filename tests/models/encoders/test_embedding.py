import pytest
import torch

from dssm_lightning.features.categorical import Categorical, CategoricalList
from dssm_lightning.features.numeric import Bucketized
from dssm_lightning.models.encoders.embedding import Embedding

LETTERS = Categorical(name="letter", vocabulary=tuple("abcdefgh"))


def test_rows_of_the_table():
    encoder = Embedding(LETTERS, output_dim=5)
    ids = torch.tensor([3, 0, 8, 3], dtype=torch.int32)
    encoded = encoder(ids)
    assert encoded.shape == (4, encoder.output_dim) == (4, 5)
    assert torch.equal(encoded, encoder.table.weight[ids.long()])
    assert torch.equal(encoded[1], torch.zeros(5))  # the unknown category starts as zeros


def test_sizes_come_from_the_feature():
    assert Embedding(LETTERS).table.weight.shape == (9, 32)
    assert Embedding(Bucketized(name="x", boundaries=(1.0, 2.0))).table.weight.shape == (4, 32)
    assert Embedding(Categorical(name="x", num_buckets=7)).table.weight.shape == (8, 32)


def test_sparse_gradients_hold_the_rows_that_were_used():
    dense, sparse = Embedding(LETTERS, 3), Embedding(LETTERS, 3, sparse=True)
    sparse.load_state_dict(dense.state_dict())
    ids = torch.tensor([5, 2, 5])
    for encoder in (dense, sparse):
        (encoder(ids) * torch.arange(3.0)).sum().backward()
    gradient = sparse.table.weight.grad.coalesce()
    assert gradient.indices().tolist() == [[2, 5]]
    assert torch.equal(gradient.to_dense(), dense.table.weight.grad)


def test_vectors_start_with_length_1_on_average():
    torch.manual_seed(0)
    weight = Embedding(Categorical(name="x", num_buckets=5000), output_dim=16).table.weight[1:]
    # squared length is the mean of 16 squared normal numbers: 1, with a standard error of sqrt(2 / 16 / 5000) = .005
    assert weight.square().sum(dim=1).mean().item() == pytest.approx(1, abs=0.02)


def test_vectors_may_start_in_a_range():
    torch.manual_seed(0)
    table = Embedding(Categorical(name="x", num_buckets=5000), output_dim=16, init_range=0.05).table.weight
    assert torch.equal(table[0], torch.zeros(16))
    assert 0.0499 < table.abs().max() <= 0.05
    # uniform in ±r has variance r² / 3; 80,000 numbers give it to about half a percent
    assert table[1:].var().item() == pytest.approx(0.05**2 / 3, rel=0.02)


def test_id_dropout_trains_the_unknown_row():
    torch.manual_seed(0)
    encoder = Embedding(LETTERS, output_dim=2, id_dropout=0.25)
    ids = torch.full((10_000,), 3)
    with torch.no_grad():
        encoder.table.weight[0] = 100
    encoded = encoder(ids)
    unknown = (encoded == 100).all(dim=1)
    assert unknown.float().mean().item() == pytest.approx(0.25, abs=0.02)  # standard error .0043
    encoded.sum().backward()
    assert encoder.table.weight.grad[0, 0] == unknown.sum()
    assert encoder.table.weight.grad[3, 0] == (~unknown).sum()
    assert torch.equal(encoder.eval()(ids), encoder.table.weight[ids])


def test_id_dropout_draws_from_the_global_generator():
    encoder = Embedding(LETTERS, id_dropout=0.5)
    ids = torch.arange(9).repeat(20)
    torch.manual_seed(1)
    first = encoder(ids)
    torch.manual_seed(1)
    assert torch.equal(encoder(ids), first)
    assert not torch.equal(encoder(ids), first)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output_dim": 0}, "encoder of 'letter': output_dim is 0"),
        ({"id_dropout": 1.0}, r"'letter': id_dropout is 1\.0"),
        ({"id_dropout": -0.5}, r"id_dropout is -0\.5"),
        ({"init_range": 0.0}, r"'letter': init_range is 0\.0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Embedding(LETTERS, **arguments)


def test_other_features():
    with pytest.raises(ValueError, match=r"Embedding .*'g' is CategoricalList"):
        Embedding(CategoricalList(name="g", vocabulary=("a",)))


def test_rows_of_length_1():
    encoder = Embedding(LETTERS, output_dim=5, normalize=True)
    table = encoder.table.weight.detach()
    expected = torch.stack([table[3] / table[3].square().sum().sqrt(), torch.zeros(5)])
    torch.testing.assert_close(encoder(torch.tensor([3, 0])), expected)


def test_the_unknown_row_has_the_gradient_of_its_result():
    """It is zeros, which have no direction: divided by a tiny number, its gradient would be all of a clipped one."""
    encoder, slope = Embedding(LETTERS, output_dim=5, normalize=True), torch.tensor([[1.0, -2.0, 0.5, 0.0, 3.0]])
    (encoder(torch.tensor([0])) * slope).sum().backward()
    assert torch.equal(encoder.table.weight.grad[:1], slope)
