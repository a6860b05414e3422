import pytest
import torch

from dssm_lightning.encoders.dense import Identity, Linear
from dssm_lightning.features.categorical import Categorical
from dssm_lightning.features.numeric import Numeric
from dssm_lightning.features.vector import Vector


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
        message = f"{kind.__name__} encodes Numeric, Vector and BagOfWordsRandomProjection features; 'c' is Categorical"
        with pytest.raises(ValueError, match=message):
            kind(Categorical(name="c", num_buckets=3))
    with pytest.raises(ValueError, match="Linear of 'x': output_dim must be at least 1, found 0"):
        Linear(Numeric(name="x"), output_dim=0)
