"""Fixed codes count the ids that two rows share."""

from __future__ import annotations

import pytest
import torch

from dssm_lightning.features import Categorical, History, Numeric
from dssm_lightning.models.encoders import Codes
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Prefixes, Ragged

ITEM = Categorical(name="item", num_buckets=99)  # 100 rows, including the unknown id
HISTORY = History(name="shown", of="item", item=ITEM)


def overlap(width: int) -> torch.Tensor:
    """(2, 100) dot products of two histories, {3, 5, 7} and {}, with every id."""
    shown = Ragged(torch.tensor([3, 5, 7]), torch.tensor([0, 3, 3]))
    return Codes(HISTORY, width, weight=-2.0)(shown) @ Codes(ITEM, width)(torch.arange(100)).T


def test_the_dot_product_counts_common_ids_times_the_weight() -> None:
    expected = torch.zeros(2, 100)
    expected[0, [3, 5, 7]] = -2.0
    torch.testing.assert_close(overlap(128), expected, atol=1e-5, rtol=0)  # exact, because D ≥ V


def test_narrow_codes_have_a_small_error() -> None:
    found = overlap(64)
    others = torch.ones(100, dtype=torch.bool)
    others[[0, 3, 5, 7]] = False
    noise = 2 * (3 * (1 - 64 / 100) / 64) ** 0.5  # w · √(3 (1 − D/V) / D) for three ids
    assert 0.7 * noise < found[0, others].std() < 1.3 * noise
    assert (found[0, [3, 5, 7]] + 2).abs().max() < 4 * noise
    assert torch.equal(found[1], torch.zeros(100))


def test_an_unknown_id_equals_nothing() -> None:
    codes = Codes(ITEM, 16)(torch.arange(100))
    assert torch.equal(codes[0], torch.zeros(16))
    torch.testing.assert_close(codes[1:].norm(dim=1), torch.ones(99))


def test_only_the_weight_learns() -> None:
    codes = Codes(HISTORY, 16, weight=-1.0, learnable=True)
    codes(Ragged(torch.tensor([3, 5]), torch.tensor([0, 2]))).sum().backward()
    assert [name for name, parameter in codes.named_parameters() if parameter.grad is not None] == ["weight"]
    assert not any(parameter.requires_grad for parameter in Codes(HISTORY, 16).parameters())


def test_another_seed_has_other_codes() -> None:
    ids = torch.arange(100)
    assert torch.equal(Codes(ITEM, 16)(ids), Codes(ITEM, 16)(ids))
    assert not torch.allclose(Codes(ITEM, 16)(ids), Codes(ITEM, 16, seed=1)(ids))


def test_events_of_one_sequence_equal_their_own_histories() -> None:
    sequences = Ragged(torch.tensor([3, 5, 7, 9]), torch.tensor([0, 3, 4]))
    prefixes = Prefixes(sequences, torch.tensor([0, 0, 1]), torch.tensor([0, 2, 1]), torch.zeros(3))
    codes = Codes(HISTORY, 16)
    torch.testing.assert_close(codes(prefixes), codes(prefixes.expand()))


def test_features_without_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="a Numeric has no ids"):
        Codes(Numeric(name="age", mean=0.0, std=1.0))
    with pytest.raises(ValueError, match=r"'shown': .*no ids"):
        Codes(History(name="shown", of="candidate"))


def test_codes_that_training_does_not_see_are_zeros_in_training_only() -> None:
    shown = Ragged(torch.tensor([3, 5]), torch.tensor([0, 2]))
    hidden, always = Codes(HISTORY, 16, weight=2.0, while_training=False), Codes(HISTORY, 16, weight=2.0)
    assert torch.equal(hidden.train()(shown), torch.zeros(1, 16))
    assert torch.equal(hidden.eval()(shown), always(shown))
    with pytest.raises(UserError, match="learns nothing"):
        Codes(HISTORY, 16, learnable=True, while_training=False)
