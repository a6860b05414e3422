"""BiLSTM against a loop over single rows, and no effect of padding."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from helpers import lists
from torch import nn

from dssm_lightning.features.numeric import Numeric
from dssm_lightning.features.text.hashed import HashedWords
from dssm_lightning.models.encoders.bilstm import BiLSTM
from dssm_lightning.utils.ragged import take

ragged = partial(lists.ragged, dtype=torch.int32)  # as texts are encoded

FEATURE = HashedWords(name="words", num_buckets=20)


ROWS = [[1, 2, 3], [], [0], [0, 0], [5, 4, 3, 2, 1, 0, 7], [], [19]]


@pytest.mark.parametrize("pooling", ["mean", "max", "last"])
@pytest.mark.parametrize("layers", [1, 2])
def test_rows_equal_a_loop_over_single_rows(pooling, layers):
    encoder = BiLSTM(FEATURE, embedding_dim=4, hidden_dim=3, num_layers=layers, pooling=pooling)
    vectors = encoder(ragged(ROWS))
    assert vectors.shape == (7, 6) == (7, encoder.output_dim)
    for row, vector in zip(ROWS, vectors, strict=True):
        expected = torch.zeros(6)
        if row:
            states = encoder.lstm(encoder.table(torch.tensor([row])))[0][0]  # neither padded nor packed
            last = torch.cat([states[-1, :3], states[0, 3:]])  # the final state of each direction
            expected = {"mean": states.mean(0), "max": states.amax(0), "last": last}[pooling]
        torch.testing.assert_close(vector, expected)


def test_both_directions_are_read():
    encoder = BiLSTM(FEATURE, embedding_dim=4, hidden_dim=3)
    forth, back = encoder(ragged([[1, 2, 3], [3, 2, 1]]))
    assert not torch.allclose(forth, back)


def test_a_row_is_the_same_alone_and_in_any_batch():
    encoder = BiLSTM(FEATURE, output_dim=5, embedding_dim=4, hidden_dim=3).eval()
    column = ragged(ROWS)
    together = encoder(column)
    for i in range(len(ROWS)):
        torch.testing.assert_close(encoder(take(column, torch.tensor([i])))[0], together[i])
    order = torch.randperm(len(ROWS))
    torch.testing.assert_close(encoder(take(column, order)), together[order])


def test_rows_without_tokens():
    encoder = BiLSTM(FEATURE, embedding_dim=4, hidden_dim=3)
    assert torch.equal(encoder(ragged([[], []])), torch.zeros(2, 6))
    assert torch.equal(encoder(ragged(ROWS))[[1, 5]], torch.zeros(2, 6))
    last = BiLSTM(FEATURE, output_dim=5, embedding_dim=4, hidden_dim=3)
    assert isinstance(last.output, nn.Linear)
    assert torch.equal(last(ragged([[]]))[0], last.output.bias)


def test_padding_has_no_gradient():
    """Row 0 of the table is padding and the unknown token; a batch without unknown tokens must not train it."""
    encoder = BiLSTM(FEATURE, embedding_dim=4, hidden_dim=3)
    encoder(ragged([[1, 2, 3], [], [4]])).sum().backward()
    moved = encoder.table.weight.grad.abs().sum(1) > 0
    assert moved.nonzero().squeeze(1).tolist() == [1, 2, 3, 4]


def test_dropout_acts_in_training_only():
    encoder = BiLSTM(FEATURE, embedding_dim=4, hidden_dim=3, num_layers=2, dropout=0.5)
    column = ragged(ROWS)
    assert not torch.equal(encoder(column), encoder(column))
    encoder.eval()
    assert torch.equal(encoder(column), encoder(column))
    BiLSTM(FEATURE, dropout=0.5)  # without PyTorch's warning about dropout of a single layer


def test_autocast():
    encoder = BiLSTM(FEATURE, output_dim=5, embedding_dim=4, hidden_dim=3)
    expected = encoder(ragged(ROWS))
    with torch.autocast("cpu", torch.bfloat16):
        vectors = encoder(ragged(ROWS))
    torch.testing.assert_close(vectors.float(), expected, atol=0.02, rtol=0.05)
    vectors.float().sum().backward()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BiLSTM(FEATURE, hidden_dim=0), "'words': hidden_dim is 0"),
        (lambda: BiLSTM(FEATURE, embedding_dim=0), "'words': embedding_dim is 0"),
        (lambda: BiLSTM(FEATURE, output_dim=0), "'words': output_dim is 0"),
        (lambda: BiLSTM(FEATURE, num_layers=0), "'words': num_layers is 0"),
        (lambda: BiLSTM(FEATURE, dropout=1.0), r"'words': dropout is 1\.0"),
        (lambda: BiLSTM(FEATURE, pooling="sum"), "'words': pooling is 'sum'.*mean, max, last"),
        (lambda: BiLSTM(Numeric(name="x")), "'x': a Numeric has no ids"),
    ],
)
def test_wrong_arguments_are_an_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_it_runs_in_float32_on_a_cpu(half: torch.dtype) -> None:
    """On a processor without a half-precision LSTM, oneDNN would raise during training."""
    encoder = BiLSTM(FEATURE, embedding_dim=8, hidden_dim=8)
    expected = encoder(ragged(ROWS))
    with torch.autocast("cpu", dtype=half):
        found = encoder(ragged(ROWS))
    assert torch.equal(found, expected)
    found.sum().backward()
