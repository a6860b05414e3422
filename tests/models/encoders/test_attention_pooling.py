"""Attention pooling against one row at a time."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from helpers import lists

from dssm_lightning.features.numeric import Numeric
from dssm_lightning.features.text.hashed import HashedWords
from dssm_lightning.models.encoders.attention_pooling import AttentionPooling
from dssm_lightning.models.encoders.embedding_bag import EmbeddingBag
from dssm_lightning.utils.ragged import take

ragged = partial(lists.ragged, dtype=torch.int32)  # as texts are encoded

FEATURE = HashedWords(name="words", num_buckets=20)
ROWS = [[1, 2, 3], [], [0], [4, 4], [5, 4, 3, 2, 1, 0, 7], [], [19]]


def learnt(query=1.0):
    encoder = AttentionPooling(FEATURE, output_dim=5, hidden_dim=3)
    torch.nn.init.normal_(encoder.query, std=query)
    return encoder


def by_loop(encoder, row):
    if not row:
        return torch.zeros(5)
    tokens = encoder.table.weight[torch.tensor(row)]
    return torch.softmax(torch.tanh(encoder.hidden(tokens)) @ encoder.query, 0) @ tokens


def test_rows_equal_a_loop_with_their_gradients():
    encoder = learnt()
    vectors = encoder(ragged(ROWS))
    expected = torch.stack([by_loop(encoder, row) for row in ROWS])
    torch.testing.assert_close(vectors, expected)
    weights = torch.randn(len(ROWS), 5)
    found = torch.autograd.grad((vectors * weights).sum(), list(encoder.parameters()))
    wanted = torch.autograd.grad((expected * weights).sum(), list(encoder.parameters()))
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_it_starts_as_the_mean():
    encoder, mean = AttentionPooling(FEATURE, output_dim=5), EmbeddingBag(FEATURE, output_dim=5, pooling="mean")
    mean.table = encoder.table
    torch.testing.assert_close(encoder(ragged(ROWS)), mean(ragged(ROWS)))


def test_large_energies_do_not_overflow():
    encoder = learnt(query=1e4)
    vectors = encoder(ragged(ROWS))
    torch.testing.assert_close(vectors, torch.stack([by_loop(encoder, row) for row in ROWS]))
    assert vectors.isfinite().all()


def test_a_row_is_the_same_in_any_batch():
    encoder = learnt()
    order = torch.tensor([6, 1, 4, 0, 3, 2, 5])
    torch.testing.assert_close(encoder(take(ragged(ROWS), order)), encoder(ragged(ROWS))[order])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AttentionPooling(FEATURE, hidden_dim=0), "'words': hidden_dim is 0"),
        (lambda: AttentionPooling(FEATURE, output_dim=0), "'words': output_dim is 0"),
        (lambda: AttentionPooling(Numeric(name="x")), "'x': a Numeric has no ids"),
    ],
)
def test_wrong_arguments_are_an_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()
