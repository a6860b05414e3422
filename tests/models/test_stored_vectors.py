"""Embeddings as an int8 index stores them: the index's own arithmetic, and a gradient that skips the rounding."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dssm_lightning.features import Vector
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.models.fusion import Concat
from dssm_lightning.models.scorers import Dot, MLPScorer, MultiHeadDot, Scorer
from dssm_lightning.models.stored_vectors import as_stored, round_to_int8
from dssm_lightning.models.tower import Tower
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.retrieval.indexes.row_stores import Int8Rows

SCHEMA = Schema((Vector(name="vector", length=6),))
BYPASSING = Schema((Vector(name="vector", length=6), Vector(name="code", length=2)))
COLUMNS = {"vector": torch.randn(9, 6, generator=torch.manual_seed(3))}
CODED = {**COLUMNS, "code": 5 * COLUMNS["vector"][:, :2]}


def read_from_index(vectors: Tensor) -> Tensor:
    return torch.from_numpy(Int8Rows.of(vectors.detach().numpy()).tile(0, len(vectors)))


def model_of(query: dict[str, Any], candidate: dict[str, Any] | None, scorer: Scorer | None = None) -> TwoTowerModel:
    torch.manual_seed(0)
    schema = BYPASSING if "bypass" in query else SCHEMA
    make = [partial(Tower, fusion=Concat, output_dim=4, **each) for each in (query, candidate or {})]
    model = TwoTowerModel(make[0], None if candidate is None else make[1], scorer or Dot())
    model.build(Schemas(schema, schema))
    return model


def test_by_hand() -> None:
    vectors = torch.tensor([[2.54, 0.011, -0.009, -1.0], [0.0, 0.0, 0.0, 0.0]])
    wanted = torch.tensor([[2.54, 0.02, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0]])  # a step is 2.54 / 127 = 0.02
    torch.testing.assert_close(round_to_int8(vectors), wanted)


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4, 1e-38, 1e-44])
def test_equals_what_the_index_reads_to_the_last_bit(scale: float) -> None:
    vectors = scale * torch.randn(500, 37, generator=torch.manual_seed(1))
    assert torch.equal(round_to_int8(vectors), read_from_index(vectors))
    assert torch.equal(round_to_int8(vectors.clone().requires_grad_()).detach(), read_from_index(vectors))


def test_an_index_of_rounded_vectors_has_the_same_codes() -> None:
    vectors = torch.randn(500, 37, generator=torch.manual_seed(1)).numpy()
    rounded = round_to_int8(torch.from_numpy(vectors)).numpy()
    np.testing.assert_array_equal(Int8Rows.of(rounded).codes, Int8Rows.of(vectors).codes)
    np.testing.assert_allclose(Int8Rows.of(rounded).scales, Int8Rows.of(vectors).scales, rtol=2e-7)


def test_the_gradient_goes_straight_through() -> None:
    vectors = torch.randn(5, 8, generator=torch.manual_seed(1)).requires_grad_()
    weight = torch.randn(5, 8, generator=torch.manual_seed(2))
    (round_to_int8(vectors) * weight).sum().backward()
    assert vectors.grad is not None
    assert torch.equal(vectors.grad, weight)


def test_no_rows_stay_none() -> None:
    assert as_stored(torch.zeros(0, 4), "int8", MultiHeadDot(2, "max")).shape == (0, 4)


@pytest.mark.parametrize("settings", [{"bias": True}, {"bypass": ["code"], "bias": True}, {"normalize": False}, {}])
def test_candidates_are_stored_with_bypass_constant_and_bias(settings: dict[str, Any]) -> None:
    columns = CODED if "bypass" in settings else COLUMNS
    plain, rounding = model_of(settings, settings), model_of(settings, {**settings, "vectors": "int8"})
    assert torch.equal(rounding.encode_query(columns), plain.encode_query(columns))
    wanted = plain.encode_candidate(columns)
    assert torch.equal(rounding.encode_candidate(columns), read_from_index(wanted))
    assert not torch.equal(read_from_index(wanted), wanted)


def test_a_shared_tower_rounds_candidates_only() -> None:
    model = model_of({"vectors": "int8"}, None)
    query = model.encode_query(COLUMNS)
    assert torch.equal(model.encode_candidate(COLUMNS), read_from_index(query))
    assert not torch.equal(query, read_from_index(query))


def test_every_index_of_a_scorer_has_its_own_scale() -> None:
    heads = {"num_heads": 2}
    plain, rounding = (model_of(heads, {**heads, **more}, MultiHeadDot(2, "max")) for more in ({}, {"vectors": "int8"}))
    wanted = [read_from_index(each) for each in plain.scorer.vectors(plain.encode_candidate(COLUMNS))]
    assert torch.equal(rounding.encode_candidate(COLUMNS), torch.cat(wanted, dim=1))


def test_a_cut_model_rounds_after_the_cut() -> None:
    plain, rounding = model_of({}, {}), model_of({}, {"vectors": "int8"})
    plain.truncate(2)
    rounding.truncate(2)
    assert torch.equal(rounding.encode_candidate(COLUMNS), read_from_index(plain.encode_candidate(COLUMNS)))


def test_weights_get_the_gradient_of_the_rounded_scores() -> None:
    model = model_of({"normalize": False}, {"vectors": "int8", "normalize": False})
    model(COLUMNS, COLUMNS).sum().backward()
    query = model.encode_query(COLUMNS).detach().sum(0)
    layer = model.candidate_tower.output[1]
    torch.testing.assert_close(layer.bias.grad, 9 * query)  # of Σ_c q · c, as without rounding
    wanted = model.encode_candidate(COLUMNS).detach().sum(0)
    torch.testing.assert_close(model.query_tower.output[1].bias.grad, 9 * wanted)  # of rounded candidates


def test_refused_settings() -> None:
    with pytest.raises(ValueError, match=r"Tower: vectors is 'int4'.*int8"):
        model_of({}, {"vectors": "int4"})
    with pytest.raises(ValueError, match=r"query tower: vectors is 'int8'.*candidate tower"):
        model_of({"vectors": "int8"}, {})
    with pytest.raises(ValueError, match="candidate tower: vectors is 'int8', but MLPScorer"):
        model_of({}, {"vectors": "int8"}, MLPScorer(4, 4, [4]))
