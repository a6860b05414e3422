"""The search space has what the config's classes have, and nothing else."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from dssm_lightning.training.tuning.settings_tree import at, overlay, put
from dssm_lightning.training.tuning.space import Corpus, search_space
from dssm_lightning.utils.errors import UserError

CORPUS = Corpus("film_id", 1000)


def part(class_path: str, /, **arguments: Any) -> dict[str, Any]:
    return {"class_path": class_path, "init_args": arguments}


def settings() -> dict[str, Any]:
    """What a parser makes of a config with a history and a text: every setting of every class."""
    query = {
        "seen": part("EmbeddingBag", output_dim=64, sparse=False),
        "country": part("Embedding", output_dim=16, id_dropout=0.0),
    }
    candidate = {
        "film": part("Embedding", output_dim=64, id_dropout=0.1),
        "title": part("EmbeddingBag", output_dim=32, sparse=False),
    }
    layers = {"fusion": part("fusion.Concat"), "hidden_dims": [128], "output_dim": 64, "dropout": 0.2}
    return {
        "data": {
            "query": [
                part("History", name="seen", of="film", dropout=0.0),
                part("Categorical", name="country", column=None),
            ],
            "candidate": [part("Categorical", name="film", column="film_id"), part("HashedWords", name="title")],
            "negatives": part("dssm_lightning.data.negatives.Uniform", num_negatives=400, per_row=False),
        },
        "model": {
            "query_tower": part("Tower", encoders=query, feature_dropout=0.0, normalize=True, **deepcopy(layers)),
            "candidate_tower": part("Tower", encoders=candidate, feature_dropout=0.0, normalize=True, **layers),
            "scorer": part("Dot", logit_scale=20.0, learnable=False, max_logit_scale=100.0),
            "loss": part("dssm_lightning.losses.SampledSoftmax", repeats="ignore", symmetric=False),
            "optimizer": part("Adam", lr=0.003, weight_decay=0.0),
            "memory_size": None,
        },
    }


def names(found: dict[str, Any]) -> list[str]:
    return [each.name for each in search_space(found, CORPUS)]


def test_each_setting_of_the_classes_is_searched_with_its_own_value() -> None:
    own = {each.name: each.own for each in search_space(settings(), CORPUS)}
    assert own == {
        "lr": 0.003,
        "logit_scale": 20.0,
        "width": 64,
        "width#2": 32,
        "dropout": 0.2,
        "history_dropout": 0.0,
        "sampler": settings()["data"]["negatives"],
        "num_negatives": 400,
        "repeats": "ignore",
        "hidden": [128],
        "id_dropout": 0.1,
        "weight_decay": 0.0,
    }


def test_widths_that_are_equal_change_together() -> None:
    width = next(each for each in search_space(settings(), CORPUS) if each.name == "width")
    assert {place[-2:] for place in width.places} == {("init_args", "output_dim")}
    assert len(width.places) == 4, "both towers, the history and the film"


@pytest.mark.parametrize(
    ("place", "value", "gone"),
    [
        (("model", "optimizer"), part("SparseAdam", lr=0.003), "weight_decay"),
        (("model", "loss"), part("BPR"), "repeats"),
        (("model", "scorer"), part("MLPScorer", hidden_dims=[8]), "logit_scale"),
        (("data", "query"), [part("Categorical", name="country", column=None)], "history_dropout"),
        (("data", "negatives"), part("Hard", num_negatives=5, rank_range=[1, 9]), "sampler"),
    ],
)
def test_what_a_class_does_not_have_is_not_searched(place: Any, value: Any, gone: str) -> None:
    found = settings()
    assert gone in names(found)
    put(found, place, value)
    assert gone not in names(found)


def test_widths_stay_where_the_loss_names_them() -> None:
    found, loss = settings(), part("dssm_lightning.losses.Matryoshka", loss=part("BPR"), dims=[16, 64], weights=None)
    put(found, ("model", "loss"), loss)
    assert "width" not in names(found)
    put(found, ("model", "loss"), part("dssm_lightning.losses.WeightedSum", losses=["BPR", loss], weights=None))
    assert "width" not in names(found)
    put(found, ("model", "loss"), part("dssm_lightning.losses.WeightedSum", losses=["BPR", part("WARP")], weights=None))
    assert "width" in names(found)


def test_a_sum_of_encoders_that_the_config_does_not_name_keeps_its_width() -> None:
    found = settings()
    put(found, ("model", "query_tower", "init_args", "fusion"), part("fusion.Sum"))
    assert "width" in names(found)
    del found["model"]["query_tower"]["init_args"]["encoders"]["country"]
    assert "width" not in names(found)


def test_a_config_without_negatives_may_get_some_but_not_of_pictures() -> None:
    found = settings()
    found["data"]["negatives"] = None
    sampler = next(each for each in search_space(found, CORPUS) if each.name == "sampler")
    assert sampler.range == "none, Uniform(512), Popularity(512)"
    found["data"]["candidate"].append(part("dssm_lightning.features.Image", name="picture"))
    assert "sampler" not in names(found)


def test_the_parts_of_a_mixture_are_searched_one_by_one() -> None:
    found = settings()
    uniform, popular = (part(name, num_negatives=100) for name in ("Uniform", "Popularity"))
    found["data"]["negatives"] = part("Mixed", samplers=[uniform, popular])
    assert [name for name in names(found) if name.startswith("num")] == ["num_negatives", "num_negatives#2"]


def test_a_scale_of_products_without_a_length_stays_near_its_own() -> None:
    found = settings()
    put(found, ("model", "scorer", "init_args", "logit_scale"), 1.0)
    for tower in ("query_tower", "candidate_tower"):
        put(found, ("model", tower, "init_args", "normalize"), False)
    scale = next(each for each in search_space(found, CORPUS) if each.name == "logit_scale")
    assert (scale.low, scale.high) == (0.25, 4.0)


def test_what_is_kept_is_not_searched() -> None:
    kept = search_space(settings(), CORPUS, ["lr", "width"])
    assert not {"lr", "width"} & {each.name for each in kept}
    with pytest.raises(UserError, match=r"--keep widht: .*did you mean 'width'"):
        search_space(settings(), CORPUS, ["widht"])
    with pytest.raises(UserError, match="nothing is left to search"):
        search_space(settings(), CORPUS, names(settings()))


def test_an_overlay_holds_whole_lists_and_towers() -> None:
    """A second config replaces lists, and the encoders of a tower, as a whole."""
    place = ("data", "query", 0, "init_args", "dropout")
    found = overlay(settings(), {place: 0.3})
    assert at(found, place) == 0.3
    assert len(found["data"]["query"]) == 2
    assert found.keys() == {"data"}
    assert at(settings(), place) == 0.0, "the settings themselves stay as they are"
