"""What a loss of all likes refuses: a model whose queries are not the sums of the candidates that they liked."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from helpers.small import small_data, small_model, small_trainer

from dssm_lightning.data.negatives import Uniform
from dssm_lightning.features import Categorical, CategoricalList, History
from dssm_lightning.losses import ELSA
from dssm_lightning.utils.errors import UserError

FUSED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "query": ("history", "EmbeddingBag", {"output_dim": 8, "pooling": "sum"}),
    "candidate": ("candidate_id", "Embedding", {"output_dim": 8}),
}


def towers() -> dict[str, Any]:
    found = {}
    for side, (name, kind, settings) in FUSED.items():
        encoders = {name: {"class_path": kind, "init_args": dict(settings)}}
        arguments = {"fusion": "Concat", "normalize": False, "encoders": encoders}
        found[f"{side}_tower"] = {"class_path": "Tower", "init_args": arguments}
    return found


def fit(folder: Path, model: dict[str, Any], query: Any = None, candidate: Any = None, tied: bool = True) -> None:
    data = small_data(
        folder / "cache",
        query=query or [History(name="history", of="candidate_id")],
        candidate=candidate or [Categorical(name="candidate_id")],
        negatives=Uniform(num_negatives=30),
    )
    sharing = {"tied_embeddings": {"history": "candidate_id"}} if tied else {}
    small_trainer(folder, max_epochs=1).fit(small_model(**{"loss": ELSA, **sharing, **model}), datamodule=data)


def refused(folder: Path, setting: str, value: str, model: dict[str, Any], **data: Any) -> None:
    with pytest.raises(UserError) as error:
        fit(folder, model, **data)
    assert setting in str(error.value)
    assert value in str(error.value)


def test_plain_sums_train(tmp_path: Path) -> None:
    fit(tmp_path, towers())


def test_encoders_of_bypass_features_may_be_any(tmp_path: Path) -> None:
    model = towers()
    others = {
        "query": ("recent", {"class_path": "GRU", "init_args": {"output_dim": 4, "dropout": 0.5}}),
        "candidate": ("code", {"class_path": "Embedding", "init_args": {"output_dim": 4, "id_dropout": 0.5}}),
    }
    for side, (name, encoder) in others.items():
        model[f"{side}_tower"]["init_args"]["bypass"] = [name]
        model[f"{side}_tower"]["init_args"]["encoders"][name] = encoder
    query = [History(name=name, of="candidate_id") for name in ("history", "recent")]
    candidate = [Categorical(name="candidate_id"), Categorical(name="code", column="candidate_id")]
    fit(tmp_path, model, query, candidate)


@pytest.mark.parametrize("side", ["query", "candidate"])
@pytest.mark.parametrize(
    ("changes", "setting", "value"),
    [
        ({"hidden_dims": [8]}, "hidden_dims", "Linear"),
        ({"output_dim": 8}, "output_dim", "Linear"),
        ({"output_activation": "Tanh"}, "output_activation", "Tanh"),
        ({"normalize": True}, "normalize", "True"),
        ({"dropout": 0.25}, "dropout", "0.25"),
        ({"feature_dropout": 0.5}, "feature_dropout", "0.5"),
        ({"vectors": "int8"}, "vectors", "int8"),
        ({"fusion": {"class_path": "Sum", "init_args": {"activation": "ReLU"}}}, "fusion", "Sum"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, dict) else None,
)
def test_towers(tmp_path: Path, side: str, changes: dict[str, Any], setting: str, value: str) -> None:
    model = towers()
    for one in ("query", "candidate"):  # both, where sides of unequal widths would be refused for that
        if one == side or "hidden_dims" in changes or "output_dim" in changes:
            model[f"{one}_tower"]["init_args"] |= deepcopy(changes)
    refused(tmp_path, setting, value, model)


@pytest.mark.parametrize(
    ("side", "changes", "setting", "value"),
    [
        ("query", {"pooling": "mean"}, "'history'", "mean"),
        ("query", {"normalize": True}, "normalize", "True"),
        ("candidate", {"id_dropout": 0.5}, "id_dropout", "0.5"),
    ],
)
def test_encoders(tmp_path: Path, side: str, changes: dict[str, Any], setting: str, value: str) -> None:
    model = towers()
    model[f"{side}_tower"]["init_args"]["encoders"][FUSED[side][0]]["init_args"] |= changes
    refused(tmp_path, setting, value, model)


def test_two_tables(tmp_path: Path) -> None:
    refused(tmp_path, "tied_embeddings", "history", towers(), tied=False)


def test_another_encoder(tmp_path: Path) -> None:
    model = towers()
    bag = {"class_path": "DecayedBag", "init_args": {"output_dim": 8, "half_life": 2.0}}
    model["query_tower"]["init_args"]["encoders"]["history"] = bag
    refused(tmp_path, "'history'", "DecayedBag", model)


@pytest.mark.parametrize(
    "changes",
    [{"dropout": 0.5}, {"max_length": 2}, {"order": "time"}, {"events": "all"}],
    ids=lambda changes: next(iter(changes)),
)
def test_histories(tmp_path: Path, changes: dict[str, Any]) -> None:
    [(setting, value)] = changes.items()
    history = History(name="history", of="candidate_id", **changes)
    refused(tmp_path, f"'history': {setting}", str(value), towers(), query=[history])


def test_other_features_beside_the_history(tmp_path: Path) -> None:
    model = towers()
    tower = model["query_tower"]["init_args"]
    tower["fusion"] = "Sum"
    tower["encoders"]["query_id"] = {"class_path": "Embedding", "init_args": {"output_dim": 8}}
    query = [History(name="history", of="candidate_id"), Categorical(name="query_id")]
    refused(tmp_path, "query_tower", "query_id", model, query=query)


def test_a_list_that_is_no_history(tmp_path: Path) -> None:
    as_many = tuple(f"q{number}" for number in range(40))  # as candidates: tables of other sizes cannot be shared
    query = [CategoricalList(name="history", column="query_id", separator="|", vocabulary=as_many)]
    refused(tmp_path, "it must be a History", "CategoricalList", towers(), query=query)


def test_a_memory(tmp_path: Path) -> None:
    refused(tmp_path, "memory_size", "ELSA", towers() | {"memory_size": 64})
