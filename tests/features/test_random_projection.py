"""Bags of words as sums of random vectors."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
import torch

from dssm_lightning.features.base import feature_from_dict
from dssm_lightning.features.text import random_projection
from dssm_lightning.features.text.random_projection import BagOfWordsRandomProjection, johnson_lindenstrauss_dim
from dssm_lightning.models.encoders import Identity, Linear, default_encoder
from dssm_lightning.utils.errors import UserError

GOLDEN = [-0.121194, -0.009815, -0.99258]  # in saved models: the vector of word 7, in three dimensions, with seed 0


def bag(dimension=64, **options):
    return BagOfWordsRandomProjection(name="text", dimension=dimension, **options)


def test_padding_and_order_do_not_count():
    vectors = bag().encode(pl.Series([[10, 50, 100], [10, 50, 100, 0], [0, 100, 0, 10, 50], [10, 50], [], [0]]))
    assert vectors.shape == (6, 64)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors[0], vectors[1], atol=0, rtol=0)
    torch.testing.assert_close(vectors[0], vectors[2])
    assert not torch.allclose(vectors[0], vectors[3])
    assert torch.equal(vectors[4:], torch.zeros(2, 64))


def test_a_word_is_a_unit_vector_and_texts_are_their_sums():
    feature = bag(on_empty="allow")
    the, cat, both, twice, none = feature.encode(pl.Series(["the", "CAT", "the cat", "cat, cat!", None]))
    assert the.norm() == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(both, the + cat)
    torch.testing.assert_close(twice, 2 * cat)
    assert torch.equal(none, torch.zeros(64))


def test_vectors_are_gaussian_and_independent():
    vectors = bag(dimension=400).encode(pl.Series([[i] for i in range(1, 501)]))
    normal = vectors * 400**0.5  # about N(0, 1) each
    assert normal.mean().item() == pytest.approx(0, abs=0.01)
    assert normal.std().item() == pytest.approx(1, abs=0.01)
    assert (normal**4).mean().item() == pytest.approx(3, abs=0.05)  # a Gaussian's fourth moment
    between = (vectors @ vectors.T).fill_diagonal_(0)
    assert between.std().item() == pytest.approx(400**-0.5, rel=0.05)


def test_distances_are_kept_as_the_lemma_promises():
    generator = torch.Generator().manual_seed(0)
    bags = torch.randint(1, 1000, (100, 20), generator=generator)
    counts = torch.nn.functional.one_hot(bags, 1000).sum(1).double()
    feature = bag(dimension=johnson_lindenstrauss_dim(100, 0.25))
    projected = feature.encode(pl.Series(bags.tolist())).double()
    ratio = torch.pdist(projected).square() / torch.pdist(counts).square()
    assert ratio.min() > 0.75
    assert ratio.max() < 1.25


@pytest.mark.parametrize(("num_samples", "eps"), [(10_000, 0.25), (1, 0.5), (2, 0.999), (10**9, 0.01)])
def test_the_dimension_is_scikit_learns(num_samples, eps):
    from sklearn.random_projection import johnson_lindenstrauss_min_dim

    assert johnson_lindenstrauss_dim(num_samples, eps) == johnson_lindenstrauss_min_dim(num_samples, eps=eps)
    assert johnson_lindenstrauss_dim(10_000, 0.25) == 1414


def test_the_seed_is_part_of_the_schema():
    column = pl.Series(["a cat", "猫"])
    feature = bag(seed=3).fit(column)
    copy = feature_from_dict(json.loads(json.dumps(feature.to_dict())))
    assert copy == feature != bag(seed=4).fit(column)
    assert torch.equal(copy.encode(column), feature.encode(column))
    assert not torch.allclose(bag(seed=4).encode(column), feature.encode(column))
    assert bag(dimension=3).encode(pl.Series([[7]])).tolist()[0] == pytest.approx(GOLDEN, abs=1e-6)


def test_a_foreign_text_among_many_is_encoded_like_alone():
    texts = [f"word {i}" for i in range(200)] + ["Größe Ωμέγα"]
    feature = BagOfWordsRandomProjection(name="text", dimension=8)
    feature = feature.fit(pl.Series("text", texts))
    together = feature.encode(pl.Series("text", texts))
    for row in (0, 199, 200):
        assert torch.equal(together[row], feature.encode(pl.Series("text", [texts[row]]))[0])


def test_many_words_are_summed_in_parts():
    texts = pl.Series([" ".join(f"w{i}" for i in range(start, start + 3000)) for start in (0, 3000, 1500)])
    a, b, c = bag(dimension=8).encode(texts)
    halves = bag(dimension=8).encode(
        pl.Series([" ".join(f"w{i}" for i in range(start, start + 1500)) for start in range(0, 6000, 1500)])
    )
    torch.testing.assert_close(a, halves[0] + halves[1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(b, halves[2] + halves[3], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(c, halves[1] + halves[2], atol=1e-4, rtol=1e-4)


def test_encoders():
    assert default_encoder(bag()) is Identity
    assert Identity(bag()).output_dim == 64
    assert Linear(bag(), output_dim=3)(bag().encode(pl.Series(["a"]))).shape == (1, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: bag(dimension=0), "'text': dimension is 0"),
        (lambda: bag().encode(pl.Series([["a"]])), "'text': column 'text' holds lists of String"),
        (lambda: bag().encode(pl.Series([[0.5]])), "'text': column 'text' holds lists of Float64"),
        (lambda: bag().encode(pl.Series([1])), "'text': column 'text' holds Int64"),
        (lambda: bag().encode(pl.Series(["a", ""])), "'text': 1 of 2 texts .* row 1"),
        (lambda: johnson_lindenstrauss_dim(0, 0.1), "johnson_lindenstrauss_dim: num_samples is 0"),
        (lambda: johnson_lindenstrauss_dim(10, 1.0), "johnson_lindenstrauss_dim: eps is 1.0"),
    ],
)
def test_wrong_arguments_are_an_error(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize("dimension", [2, 7, 64, 300])
@pytest.mark.parametrize("longest", [1, 9, 40, 3000])
def test_sums_have_the_bits_of_embedding_bag(dimension, longest):
    """Saved models and caches hold the sums of torch, which adds the words of a row one after the other."""
    generator = np.random.default_rng(longest)
    lengths = generator.integers(0, longest + 1, 20)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    ids = generator.integers(0, 50, starts[-1])
    vectors = generator.standard_normal((50, dimension)).astype(np.float32)
    expected = torch.nn.functional.embedding_bag(
        *map(torch.from_numpy, (ids, vectors, starts)), mode="sum", include_last_offset=True
    )
    found = random_projection._bag_sums(vectors, ids, starts)
    assert found.dtype == np.float32
    assert found.tobytes() == expected.numpy().tobytes()
