"""A tower combines encoders, fusion, layers and normalisation according to its arguments."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dssm_lightning.features import Categorical, History, Numeric, Vector
from dssm_lightning.features.schema import Schema
from dssm_lightning.models.encoders import Dense, Embedding, EmbeddingBag, Linear
from dssm_lightning.models.fusion import Concat, Sum
from dssm_lightning.models.tied_tables import share_tables
from dssm_lightning.models.tower import Tower
from dssm_lightning.models.tower_checks import check_batch_statistics, check_bypass
from dssm_lightning.utils.ragged import Features

VECTOR = Vector(name="vector", length=3)
ITEM = Categorical(name="item", vocabulary=("a", "b"))
SCHEMA = Schema((VECTOR, ITEM))
COLUMNS: Features = {"vector": torch.randn(5, 3), "item": torch.tensor([0, 1, 2, 1, 0], dtype=torch.int32)}
ENCODERS: dict[str, Any] = {"vector": partial(Linear, output_dim=4), "item": partial(Embedding, output_dim=4)}


def tower(schema: Schema = SCHEMA, **changes: Any) -> Tower:
    return Tower(schema, **({"fusion": Concat, "encoders": ENCODERS} | changes))


def encodings(module: Tower) -> list[Tensor]:
    return [encoder(COLUMNS[name]) for name, encoder in module.encoders.items()]


# -- results -----------------------------------------------------------------------------------------------------------


def test_without_layers_it_is_the_normalised_fusion() -> None:
    module = tower(fusion=Sum)
    expected = sum(encodings(module), torch.zeros(5, 4))
    assert torch.equal(module(COLUMNS), expected / expected.norm(dim=1, keepdim=True))
    assert module.output_dim == 4
    plain = tower(fusion=Sum, normalize=False)
    assert torch.equal(plain(COLUMNS), sum(encodings(plain), torch.zeros(5, 4)))


def test_layers_by_hand() -> None:
    module = tower(hidden_dims=[6, 5], output_dim=2, activation="Tanh", output_activation="Sigmoid", normalize=False)
    weights = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][1:]  # the first encodes the vector
    assert [tuple(layer.weight.shape) for layer in weights] == [(6, 8), (5, 6), (2, 5)]
    x = torch.cat(encodings(module), dim=1)
    for layer in weights[:-1]:
        x = torch.tanh(x @ layer.weight.T + layer.bias)
    x = torch.sigmoid(x @ weights[-1].weight.T + weights[-1].bias)
    torch.testing.assert_close(module(COLUMNS), x)


def test_the_last_hidden_layer_may_be_the_embedding() -> None:
    module = tower(hidden_dims=[7])
    assert module.output_dim == 7
    assert module(COLUMNS).shape == (5, 7)


def test_rows_have_length_1_and_the_bias_follows() -> None:
    module = tower(output_dim=6, bias=True)
    found = module(COLUMNS)
    assert found.shape == (5, 7)
    torch.testing.assert_close(found[:, :6].norm(dim=1), torch.ones(5))
    assert module.bias is not None
    torch.testing.assert_close(found[:, 6:], module.bias(torch.cat(encodings(module), dim=1)))
    assert module.output_dim == 6


def test_bypass_features_are_appended_unchanged() -> None:
    module = tower(output_dim=6, bias=True, bypass=["item"])
    found = module(COLUMNS)
    assert found.shape == (5, 6 + 4 + 1)
    assert module.output_dim == 6 + 4
    torch.testing.assert_close(found[:, :6].norm(dim=1), torch.ones(5))
    assert torch.equal(found[:, 6:10], module.encoders["item"](COLUMNS["item"]))
    found[:, :6].sum().backward()
    table = module.encoders["item"].table
    assert isinstance(table, nn.Embedding)
    assert table.weight.grad is not None
    assert not table.weight.grad.any()  # neither fusion nor layers read it


def test_a_row_does_not_depend_on_its_batch() -> None:
    module = tower(hidden_dims=[6], norm="layer").eval()
    alone = torch.cat([module({name: column[i : i + 1] for name, column in COLUMNS.items()}) for i in range(5)])  # type: ignore[index]  # tensors
    torch.testing.assert_close(alone, module(COLUMNS))


def test_embeddings_are_float32_under_autocast() -> None:
    module = tower(output_dim=6, bias=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = module(COLUMNS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found[:, :6].norm(dim=1), torch.ones(5))  # bfloat16 has three digits


def test_feature_dropout_drops_whole_features_in_training() -> None:
    module = tower(normalize=False, feature_dropout=0.25)
    several: Features = {"vector": torch.randn(5000, 3), "item": torch.ones(5000, dtype=torch.int32)}
    whole = torch.cat([encoder(several[name]) for name, encoder in module.encoders.items()], dim=1)
    kept = (0.75 * module(several) / whole).unflatten(1, (2, 4)).round(decimals=4)  # (5000, features, 4): 0 or 1
    assert torch.equal(kept.amax(-1), kept.amin(-1))
    assert kept.unique().tolist() == [0, 1]
    vector, item = (kept[:, :, 0] == 0).double().T
    assert (float(vector.mean()), float(item.mean())) == pytest.approx((0.25, 0.25), abs=0.03)  # five standard errors
    assert float((vector * item).mean()) == pytest.approx(0.25**2, abs=0.02)  # independently
    module.eval()
    torch.testing.assert_close(module(several), whole)
    with pytest.raises(ValueError, match=r"feature_dropout is 1\.5"):
        tower(feature_dropout=1.5)


def test_dropout_is_before_each_linear_layer_and_off_in_evaluation() -> None:
    module = tower(hidden_dims=[64, 64], dropout=0.5)
    assert sum(isinstance(layer, nn.Dropout) for layer in module.modules()) == 3
    assert not torch.equal(module(COLUMNS), module(COLUMNS))
    module.eval()
    assert torch.equal(module(COLUMNS), module(COLUMNS))
    shallow = tower(dropout=0.9, normalize=False)
    assert (shallow(COLUMNS) == 0).float().mean() > 0.5  # without layers, dropout acts on the fused encodings


def test_features_without_a_named_encoder_get_their_default() -> None:
    module = tower(encoders={"vector": partial(Linear, output_dim=4)})
    assert isinstance(module.encoders["item"], Embedding)
    assert list(module.encoders) == ["vector", "item"]


@pytest.mark.parametrize(("name", "bound"), [("xavier_uniform", (6 / 14) ** 0.5), ("zeros", 0.0), ("constant", None)])
def test_initialization_by_name(name: str, bound: float | None) -> None:
    if bound is None:
        with pytest.raises(TypeError):
            tower(hidden_dims=[6], initialization=name)  # torch's function needs a value, which cannot be given
        return
    module = tower(hidden_dims=[6], initialization=name)
    layer = module.hidden[1]
    assert isinstance(layer, nn.Linear)
    assert 0.8 * bound <= layer.weight.abs().max() <= bound
    assert (layer.bias == 0).all()


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"encoders": {"titel": Linear}},
            r"encoders .*\['titel'\].*\['vector', 'item'\]",
        ),
        (
            {"bypass": ["titel"]},
            r"bypass .*\['titel'\].*\['vector', 'item'\]",
        ),
        (
            {"bypass": ["item", "vector"]},
            r"bypass names all .*\['vector', 'item'\]",
        ),
        (
            {"bypass": ["item"], "num_heads": 2},
            r"bypass is \['item'\] and num_heads is 2",
        ),
        ({"hidden_dims": [3], "activation": "Relu"}, r"activation 'Relu'.*\['ReLU'"),
        ({"output_activation": "tan"}, r"activation 'tan'.*\['Tanh'"),
        ({"hidden_dims": [8, -1]}, r"hidden_dims \[8, -1\] is -1"),
        ({"output_dim": 0}, "output_dim is 0"),
        ({"dropout": 1.5}, r"dropout is 1\.5"),
        ({"norm": "group"}, "norm is 'group'.*layer, batch"),
        (
            {"initialization": "xavier_unifrm"},
            r"initialization is 'xavier_unifrm'.*\['xavier_uniform'",
        ),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tower(**changes)


def test_batch_norm_is_refused_if_batches_are_split() -> None:
    towers = {"query": tower(hidden_dims=[4], norm="layer"), "candidate": tower(hidden_dims=[4], norm="batch")}
    with pytest.raises(ValueError, match=r"candidate tower: hidden\.2 .*several processes"):
        check_batch_statistics(towers, "several processes")
    check_batch_statistics({"query": towers["query"]}, "several processes")


def test_bypass_features_of_both_sides_must_match() -> None:
    towers = {"query": tower(bypass=["item"]), "candidate": tower(bypass=["item"])}
    check_bypass(towers)
    towers["candidate"] = tower()
    with pytest.raises(ValueError, match=r"bypass.*query \{'item': 4\} .*candidate \{\}"):
        check_bypass(towers)


# -- shared tables -----------------------------------------------------------------------------------------------------


def pair(history_dim: int = 4) -> dict[str, Tower]:
    history = History(name="history", of="item").bind(ITEM)
    query = Schema((history, Numeric(name="age", mean=0.0, std=1.0)))
    return {
        "query": tower(query, encoders={"history": partial(EmbeddingBag, output_dim=history_dim)}),
        "candidate": tower(Schema((ITEM,)), encoders={"item": partial(Embedding, output_dim=4)}),
    }


def test_a_shared_table_is_one_table() -> None:
    towers = pair()
    share_tables(towers, {"history": "item"})
    history, item = towers["query"].encoders["history"], towers["candidate"].encoders["item"]
    assert history.table is item.table
    parameters = list(nn.ModuleDict(towers).parameters())
    assert sum(p.shape == (3, 4) for p in parameters) == 1  # one parameter, one gradient, one optimizer state


@pytest.mark.parametrize(
    ("tied", "history_dim", "message"),
    [
        (
            {"histroy": "item"},
            4,
            r"tied_embeddings: 'histroy' .*\['age', 'history', 'item'\]",
        ),
        ({"history": "age"}, 4, "tied_embeddings: 'age'"),
        ({"history": "item"}, 5, r"tied_embeddings: .*'history' .*\(3, 5\).*'item' .*\(3, 4\)"),
    ],
)
def test_tables_that_cannot_be_shared(tied: dict[str, str], history_dim: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        share_tables(pair(history_dim), tied)


def test_tables_of_inner_encoders_can_be_shared() -> None:
    item = Categorical(name="item", vocabulary=("a", "b"))
    schemas = [Schema((item,)), Schema((History(name="history", of="item", item=item),))]
    dense = {"item": lambda f: Dense(f, Embedding), "history": lambda f: Dense(f, lambda g: EmbeddingBag(g, 32))}
    towers = [Tower(schema, Concat, encoders={schema.names[0]: dense[schema.names[0]]}) for schema in schemas]
    share_tables({"candidate": towers[0], "query": towers[1]}, {"history": "item"})
    assert towers[1].encoders["history"].encoder.table is towers[0].encoders["item"].encoder.table
