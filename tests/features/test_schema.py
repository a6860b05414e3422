"""Schemas: names, JSON, equality, and differences in words."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest
import torch

from dssm_lightning.features import Categorical, CategoricalList, History, Numeric, Vector
from dssm_lightning.features.module_names import MODULE_NAMES, is_module_name
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.utils.array_columns import as_arrays
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged_arrays import RaggedArray

AGE = Numeric(name="age", mean=3.0, std=2.0)
ITEM = Categorical(name="item", vocabulary=("a", "b"))


def both(*query: Categorical | Numeric | History | Vector, candidate: Categorical = ITEM) -> Schemas:
    return Schemas(Schema(query), Schema((candidate,)))


def test_features_are_found_by_name_in_order() -> None:
    schema = Schema((AGE, ITEM))
    assert schema.names == ["age", "item"]
    assert list(schema) == [AGE, ITEM]
    assert schema["item"] is ITEM
    with pytest.raises(KeyError, match=r"no feature 'size'; .*\['age', 'item'\]"):
        schema["size"]


def test_names_must_be_distinct() -> None:
    with pytest.raises(UserError, match=r"\['age'\] occur more than once"):
        Schema((AGE, Categorical(name="age")))


@pytest.mark.parametrize("name", ["a.b", "a#b", "a/b", "", "items", "keys", "forward", "train"])
def test_names_that_no_module_can_have(name: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"[{name!r}] cannot be used")):
        Schema((Categorical(name=name),))


def test_names_of_a_module_are_those_of_this_torch() -> None:
    """A later torch may have more: add them, so that a feature's name is refused before a model is built."""
    metaclass = [name for name in dir(type) if hasattr(torch.nn.ModuleDict, name)]
    names = {name for name in (*dir(torch.nn.ModuleDict), *metaclass) if not name.startswith("___")}  # of its compiler
    assert {name for name in names if not is_module_name(name)} == set()
    assert {name for name in MODULE_NAMES if not hasattr(torch.nn.ModuleDict, name)} == set()
    assert not is_module_name("title")


def test_raw_records_are_encoded_as_their_table() -> None:
    schema = Schema((AGE, ITEM, CategoricalList(name="tags", vocabulary=("x", "y"))))
    table = pl.DataFrame({"age": [5, 3], "item": ["b", None], "tags": [["y", "z"], None]})
    arrays = schema.encode_array(table)
    tensors = schema.encode(table)
    records = schema.encode_values([{"age": 5, "item": "b", "tags": ["y", "z"]}, {"age": 3}])
    assert list(arrays) == list(records) == ["age", "item", "tags"]
    for name, column in arrays.items():
        for one, other in ((column, records[name]), (column, as_arrays(tensors[name]))):
            pairs = zip(one, other, strict=True) if isinstance(one, RaggedArray) else [(one, other)]
            assert all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", ["name", "ζήτα", "two words", "type-2", "_", "0"])
def test_names_in_other_scripts_are_fine(name: str) -> None:
    schema = Schema((Categorical(name=name, column="x", vocabulary=("a",)),))
    torch.nn.ModuleDict({feature.name: torch.nn.Identity() for feature in schema})
    assert Schemas.from_json(Schemas(schema, schema).to_json()) == Schemas(schema, schema)


def test_two_features_may_read_one_column() -> None:
    schema = Schema(
        (Numeric(name="age", mean=3.0, std=2.0), Categorical(name="years", column="age", vocabulary=("5",)))
    )
    found = schema.encode(pl.DataFrame({"age": [5, 3]}))
    assert list(found) == ["age", "years"]
    assert torch.equal(found["years"], torch.tensor([1, 0], dtype=torch.int32))  # type: ignore[arg-type]  # a tensor


def test_json_gives_equal_schemas() -> None:
    history = History(name="history", of="item", dropout=0.25).bind(ITEM)
    schemas = both(AGE, history, Vector(name="v", length=3))
    again = Schemas.from_json(schemas.to_json())
    assert again == schemas
    assert again.to_json() == schemas.to_json()
    assert again.difference(schemas) is None


def test_differences_are_named() -> None:
    mine = both(AGE)
    assert mine.difference(both(AGE)) is None
    for other, message in (
        (both(ITEM), "query features ['age'] against ['item']"),
        (both(Categorical(name="age")), "query feature 'age': Numeric against Categorical"),
        (both(Numeric(name="age", mean=4.0, std=2.0)), "query feature 'age': mean 3.0 against 4.0"),
        (
            both(AGE, candidate=Categorical(name="item", vocabulary=("a", "c"))),
            "candidate feature 'item': vocabulary ['a', 'b'] against ['a', 'c']",
        ),
    ):
        assert mine.difference(other) == message
    two = both(Numeric(name="age", mean=4.0, std=1.0), candidate=Categorical(name="item", vocabulary=()))
    assert len((mine.difference(two) or "").split("; ")) == 3


def test_long_differences_are_described_by_their_size() -> None:
    long = Categorical(name="item", vocabulary=tuple(f"value {number}" for number in range(1500)))
    difference = both(AGE).difference(both(AGE, candidate=long))
    assert difference == "candidate feature 'item': vocabulary ['a', 'b'] against (1,500 entries)"


def test_an_unknown_kind_is_named() -> None:
    text = both(AGE).to_json().replace('"Numeric"', '"Nmeric"')
    with pytest.raises(UserError, match=r"unknown feature kind 'Nmeric'.*import"):
        Schemas.from_json(text)
