"""A swappable part given as plain values, made into the callable that builds it, with the rules of the YAML."""

from __future__ import annotations

from typing import Any

from jsonargparse import ArgumentParser, set_parsing_settings

from dssm_lightning.features import Feature
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.renamed import renew

set_parsing_settings(subclasses_enabled=[Feature])  # features are dataclasses, and lists of them are swappable


def make(kind: Any, value: Any) -> Any:
    """Return the factory that a description means.

    Args:
        kind: type of the factory, such as ``Callable[[Schema], Tower]``.
        value: ``{class_path, init_args}`` or a class name, as in YAML; anything else is returned as it is. Class
            paths and options of earlier releases mean those of today.

    Raises:
        UserError: the description does not fit the type; the message is the command line's.

    Example:
        >>> from collections.abc import Callable
        >>> from dssm_lightning.models.scorers import Dot, Scorer
        >>> make(Callable[[], Scorer], {"class_path": "Dot", "init_args": {"logit_scale": 10}})().indexable
        True
    """
    if not isinstance(value, dict | str):
        return value
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--part", type=kind)
    try:
        return parser.instantiate(parser.parse_object({"part": renew(value)})).part
    except Exception as error:  # jsonargparse documents ArgumentError here and raises several of its own
        raise UserError(str(error)) from error


def plain_settings(values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that are plain values through and through: a checkpoint holds nothing else."""
    return {key: value for key, value in values.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)
