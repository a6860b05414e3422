"""What a search may change of the drawn negatives: how many, and by which sampler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dssm_lightning.training.tuning.dimension import Dimension
from dssm_lightning.training.tuning.settings_tree import Place, at
from dssm_lightning.utils.errors import is_whole

SAMPLER: Place = ("data", "negatives")
CLASSES = ("dssm_lightning.data.negatives.Uniform", "dssm_lightning.data.negatives.Popularity")
FIRST = 512
"""Negatives for the whole batch that are tried in a config that draws none."""


def count_of_negatives(place: Place, value: Any, corpus_size: int) -> Dimension | None:
    """Return how many negatives a sampler, or a part of a mixture, may draw; None for another setting."""
    if place[:2] != SAMPLER or place[-1] != "num_negatives" or not is_whole(value):
        return None
    high = max(value, min(4 * value, corpus_size))
    return Dimension("num_negatives", (place,), value, "whole", max(1, value // 4), high, log=True)


def samplers(settings: Mapping[str, Any], corpus_size: int) -> list[Dimension]:
    """Return which sampler may draw: uniform or by popularity; a config without one, for a softmax, may get one.

    Pictures are encoded anew in each batch, so that no candidates are added to a config that has pictures.
    """
    own = at(settings, SAMPLER)
    if own is None:
        return (
            [] if _cannot_draw(settings) else [_choice(None, [_of(each, min(FIRST, corpus_size)) for each in CLASSES])]
        )
    if at(own, ("class_path",)) not in CLASSES:
        return []
    others = [{"class_path": each, "init_args": _shared(own["init_args"])} for each in CLASSES]
    return [_choice(own, [each for each in others if each["class_path"] != own["class_path"]])]


def _cannot_draw(settings: Mapping[str, Any]) -> bool:
    loss, model = at(settings, ("model", "loss")) or {}, settings["model"]
    pictures = any(
        str(at(each, ("class_path",))).endswith(".Image") for each in at(settings, ("data", "candidate")) or []
    )
    softmax = str(at(loss, ("class_path",))).endswith(".SampledSoftmax") and not at(loss, ("init_args", "symmetric"))
    return pictures or not softmax or model.get("memory_size") is not None


def _of(class_path: str, count: int) -> dict[str, Any]:
    return {"class_path": class_path, "init_args": {"num_negatives": count}}


def _shared(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that both samplers have."""
    return {name: value for name, value in arguments.items() if name in ("num_negatives", "per_row")}


def _choice(own: Any, others: list[Any]) -> Dimension:
    return Dimension("sampler", (SAMPLER,), own, "choice", choices=(own, *others))
