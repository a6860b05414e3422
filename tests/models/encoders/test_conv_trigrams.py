"""The convolution over words against a loop, and no effect of neighbours in other rows."""

from __future__ import annotations

import polars as pl
import pytest
import torch

from dssm_lightning.features.text.hashed import HashedTrigrams
from dssm_lightning.features.text.trigrams import WordTrigrams
from dssm_lightning.models.encoders.conv_trigrams import ConvTrigrams
from dssm_lightning.utils.ragged import Ragged, take

FEATURE = WordTrigrams(name="text", num_buckets=50, on_empty="allow")
TEXTS = ["the black cat", "cat", "", "show disk usage of a folder", "x y", "猫 кот"]


def column(texts):
    return FEATURE.encode(pl.Series(texts, dtype=pl.String))


def by_loop(encoder, text):
    """The docstring's formula, word by word."""
    ids = column([text]).values.tolist()
    words, current = [], []
    for i in ids:
        if i:
            current.append(i)
        else:
            words.append(current)
            current = []
    width, reach = encoder.output_dim, encoder.window // 2
    states = []
    for t in range(len(words)):
        total = encoder.bias.clone()
        for o in range(-reach, reach + 1):
            if 0 <= t + o < len(words):
                part = slice((o + reach) * width, (o + reach + 1) * width)
                total = total + sum(encoder.table.weight[i, part] for i in words[t + o])
        states.append(torch.tanh(total))
    return torch.stack(states).amax(0) if states else torch.zeros(width)


@pytest.mark.parametrize("window", [1, 3, 5])
def test_texts_equal_a_loop_over_words(window):
    encoder = ConvTrigrams(FEATURE, output_dim=4, window=window)
    with torch.no_grad():
        encoder.bias.normal_()
        encoder.table.weight[0] = 7.0  # the row of a word's end must not matter
    vectors = encoder(column(TEXTS))
    for text, vector in zip(TEXTS, vectors, strict=True):
        torch.testing.assert_close(vector, by_loop(encoder, text))


def test_gradients_equal_the_loops():
    encoder = ConvTrigrams(FEATURE, output_dim=4)
    weights = torch.randn(len(TEXTS), 4)
    (encoder(column(TEXTS)) * weights).sum().backward()
    table, bias = encoder.table.weight.grad.clone(), encoder.bias.grad.clone()
    encoder.zero_grad()
    sum((by_loop(encoder, text) * weight).sum() for text, weight in zip(TEXTS, weights, strict=True)).backward()
    torch.testing.assert_close(encoder.table.weight.grad, table)
    torch.testing.assert_close(encoder.bias.grad, bias)


def test_a_row_is_the_same_alone_and_in_any_batch():
    encoder = ConvTrigrams(FEATURE, output_dim=4)
    together = encoder(column(TEXTS))
    order = torch.tensor([4, 0, 2, 5, 1, 3])
    torch.testing.assert_close(encoder(take(column(TEXTS), order)), together[order])
    torch.testing.assert_close(encoder(column(["cat"]))[0], together[1])


def test_the_order_of_words_matters_unlike_in_a_bag():
    encoder = ConvTrigrams(FEATURE, output_dim=8)
    forth, back = encoder(column(["one two three", "three two one"]))
    assert not torch.allclose(forth, back)
    alone = ConvTrigrams(FEATURE, output_dim=8, window=1)
    torch.testing.assert_close(*alone(column(["one two three", "three two one"])))


def test_no_words_at_all():
    encoder = ConvTrigrams(FEATURE, output_dim=3, sparse=True)
    empty = Ragged(torch.zeros(0, dtype=torch.int32), torch.zeros(3, dtype=torch.int64))
    assert torch.equal(encoder(empty), torch.zeros(2, 3))
    encoder(column(TEXTS)).sum().backward()
    assert encoder.table.weight.grad.is_sparse


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ConvTrigrams(HashedTrigrams(name="text")),
            "ConvTrigrams .*'text' is HashedTrigrams",
        ),
        (lambda: ConvTrigrams(FEATURE, window=2), "'text': window is 2; .* odd"),
        (lambda: ConvTrigrams(FEATURE, window=-1), "'text': window is -1"),
        (lambda: ConvTrigrams(FEATURE, output_dim=0), "'text': output_dim is 0"),
    ],
)
def test_wrong_arguments_are_an_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()
