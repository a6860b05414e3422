"""What a search may change of the widths of towers and encoders, such that those that must be equal stay equal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dssm_lightning.training.tuning.dimension import Dimension
from dssm_lightning.training.tuning.settings_tree import Place, at
from dssm_lightning.utils.errors import is_whole

TOWERS = ("query_tower", "candidate_tower")
SMALLEST = 24
"""Widths below it are those of small categories, which do not decide."""
MOST = 2
"""Groups of equal widths that are searched, the widest ones."""
WIDE = 256
"""A narrow model may become this wide."""
COSTLY = 1024
"""No search makes a model wider than this, unless the config is."""


def width_dimensions(settings: Mapping[str, Any]) -> list[Dimension]:
    """Return the widths of towers and encoders: all that have one value change together.

    Whatever must be equal (the terms of a sum, both towers, tied tables) is equal in the config, and so stays equal.
    None where a tower's width is the sum of its encoders' widths, or that of an encoder which the config does not name,
    or where the loss names widths.
    """
    if _names_widths(at(settings, ("model", "loss"))) or any(_follows_from_others(settings, tower) for tower in TOWERS):
        return []
    groups: dict[int, list[Place]] = {}
    for place, value in _widths(settings):
        if is_whole(value) and value >= SMALLEST:
            groups.setdefault(value, []).append(place)
    widest = sorted(groups, reverse=True)[:MOST]
    return [
        Dimension("width", tuple(groups[own]), own, "whole", max(8, own // 4), _widest(own), log=True) for own in widest
    ]


def _names_widths(loss: Any) -> bool:
    """Return whether a loss is a Matryoshka, or a sum with one, whose widths end in the towers' width."""
    arguments = (at(loss, ("init_args",)) if isinstance(loss, Mapping) else None) or {}
    return "dims" in arguments or any(map(_names_widths, arguments.get("losses") or []))


def _widest(own: int) -> int:
    """Return how wide a width may become: twice, at least up to a usual one, and no wide one beyond what is costly."""
    return max(own, min(2 * own, COSTLY), min(WIDE, 8 * own))


def hidden_dimensions(settings: Mapping[str, Any]) -> list[Dimension]:
    """Return the hidden layers of the towers, which may become half or twice as wide; equal ones change together."""
    towers = [place for place in _towers(settings) if at(settings, (*place, "hidden_dims"))]
    if any(at(settings, (*place, "output_dim")) is None for place in towers) and len(towers) < len(_towers(settings)):
        return []  # the last hidden layer of one tower must be as wide as something else of the other
    groups: dict[tuple[int, ...], list[Place]] = {}
    for place in towers:
        groups.setdefault(tuple(at(settings, (*place, "hidden_dims"))), []).append((*place, "hidden_dims"))
    if len(groups) > 1 and any(at(settings, (*place, "output_dim")) is None for place in towers):
        return []
    return [_hidden(own, places) for own, places in groups.items()]


def _hidden(own: tuple[int, ...], places: list[Place]) -> Dimension:
    halved, doubled = ([max(8, int(width * by)) for width in own] for by in (0.5, 2))
    return Dimension("hidden", tuple(places), [*own], "choice", choices=([*own], halved, doubled))


def _towers(settings: Mapping[str, Any]) -> list[Place]:
    places: list[Place] = [("model", tower, "init_args") for tower in TOWERS]
    return [place for place in places if at(settings, place)]


def _widths(settings: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    for tower in _towers(settings):
        arguments = at(settings, tower)
        yield (*tower, "output_dim"), arguments.get("output_dim")
        for name, encoder in (arguments.get("encoders") or {}).items():
            if name not in (arguments.get("bypass") or []):
                place: Place = (*tower, "encoders", name, "init_args", "output_dim")
                yield place, at(encoder, ("init_args", "output_dim"))


def _follows_from_others(settings: Mapping[str, Any], tower: str) -> bool:
    """Return whether widths of a tower depend on something that is not one of the searched widths."""
    arguments = at(settings, ("model", tower, "init_args"))
    if arguments is None:
        return False
    encoders, bypass = arguments.get("encoders") or {}, arguments.get("bypass") or []
    side = at(settings, ("data", tower.removesuffix("_tower"))) or []
    names = {at(each, ("init_args", "name")) for each in side} - {*bypass}
    concatenates = str(at(arguments, ("fusion", "class_path"))).endswith(".Concat")
    layers = arguments.get("output_dim") is not None or arguments.get("hidden_dims")
    return (concatenates and not layers and len(names) > 1) or (not concatenates and not names <= {*encoders})
