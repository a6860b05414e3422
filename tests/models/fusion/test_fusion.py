import pytest
import torch

from dssm_lightning.models.fusion import Concat, Fusion, Sum


def test_concat_concatenates_encodings():
    fusion = Concat([2, 1])
    assert fusion.output_dim == 3
    fused = fusion([torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0], [6.0]])])
    assert fused.tolist() == [[1.0, 2.0, 5.0], [3.0, 4.0, 6.0]]


def test_sum_adds_encodings():
    fusion = Sum([2, 2, 2])
    assert fusion.output_dim == 2
    fused = fusion([torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]]), torch.tensor([[100.0, 200.0]])])
    assert fused.tolist() == [[111.0, 222.0]]


def test_sum_with_an_activation_is_a_layer():
    fusion = Sum([2, 2], activation="Tanh")
    with torch.no_grad():
        fusion.bias.copy_(torch.tensor([0.5, 0.0]))
    fused = fusion([torch.tensor([[1.0, 2.0]]), torch.tensor([[0.25, -2.0]])])
    torch.testing.assert_close(fused, torch.tensor([[1.75, 0.0]]).tanh())
    assert list(Sum([2]).parameters()) == []
    with pytest.raises(ValueError, match=r"activation 'tanh'.*Tanh"):
        Sum([2], activation="tanh")


def test_a_single_encoding_stays_unchanged():
    encoding = torch.randn(4, 3)
    for kind in (Concat, Sum):
        assert torch.equal(kind([3])([encoding]), encoding)


def test_sum_needs_equal_widths():
    with pytest.raises(ValueError, match=r"Sum .*\[32, 1\]"):
        Sum([32, 1])


@pytest.mark.parametrize("kind", [Concat, Sum])
def test_a_tower_needs_a_feature(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__}: .*feature"):
        kind([])
    assert issubclass(kind, Fusion)
