import pytest
import torch

from dssm_lightning.features.categorical import Categorical
from dssm_lightning.features.numeric import Numeric
from dssm_lightning.features.schema import Schema
from dssm_lightning.features.vector import Vector
from dssm_lightning.models.encoders.dense import Dense, Identity, Linear
from dssm_lightning.models.encoders.embedding import Embedding
from dssm_lightning.models.fusion import Concat
from dssm_lightning.models.tower import Tower


def test_identity_passes_the_floats_through():
    column = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    encoder = Identity(Numeric(name="x", missing="indicator"))
    assert encoder.output_dim == 2
    assert torch.equal(encoder(column), column)
    assert list(encoder.parameters()) == []
    assert Identity(Vector(name="v", length=7)).output_dim == 7


def test_linear_by_hand():
    encoder = Linear(Vector(name="v", length=2), output_dim=3)
    with torch.no_grad():
        encoder.linear.weight.copy_(torch.tensor([[1.0, 2.0], [0.0, 1.0], [-1.0, 0.0]]))
        encoder.linear.bias.copy_(torch.tensor([0.0, 10.0, 0.5]))
    # (1 · 3 + 2 · 4, 0 · 3 + 1 · 4 + 10, −3 + .5)
    assert encoder(torch.tensor([[3.0, 4.0]])).tolist() == [[11.0, 14.0, -2.5]]
    assert encoder.output_dim == 3
    assert Linear(Numeric(name="x")).linear.weight.shape == (32, 1)


def test_other_features():
    for kind in (Identity, Linear):
        with pytest.raises(ValueError, match=f"{kind.__name__} .*'c' is Categorical"):
            kind(Categorical(name="c", num_buckets=3))
    with pytest.raises(ValueError, match="Linear of 'x': output_dim is 0"):
        Linear(Numeric(name="x"), output_dim=0)


def test_dense_is_a_layer_after_another_encoder():
    feature = Categorical(name="c", num_buckets=3)
    encoder = Dense(feature, lambda inner: Embedding(inner, 5), output_dim=2)
    column = torch.tensor([0, 1, 3])
    expected = (encoder.encoder.table(column) @ encoder.layers[0].weight.T + encoder.layers[0].bias).clamp(min=0)
    assert torch.equal(encoder(column), expected)
    assert encoder.output_dim == 2
    linear = Dense(feature, lambda inner: Embedding(inner, 5), output_dim=2, activation=None)
    plain = linear.encoder.table(column) @ linear.layers[0].weight.T + linear.layers[0].bias
    assert torch.equal(linear(column), plain)
    with pytest.raises(ValueError, match="Dense of 'c': output_dim is 0"):
        Dense(feature, Embedding, output_dim=0)
    with pytest.raises(ValueError, match=r"activation 'Relu'.*ReLU"):
        Dense(feature, Embedding, activation="Relu")
    with pytest.raises(ValueError, match=r"Linear .*'c' is Categorical"):
        Dense(feature, Linear)


def test_the_initialization_of_a_tower_applies_to_dense_encoders():
    schema = Schema((Categorical(name="c", num_buckets=300),))
    tower = Tower(schema, Concat, encoders={"c": lambda f: Dense(f, Embedding)}, initialization="zeros")
    layer = tower.encoders["c"].layers[0]
    assert not layer.weight.any()
    assert not layer.bias.any()
    assert tower.encoders["c"].encoder.table.weight.any()
