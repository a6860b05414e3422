"""Settings as nested mappings and lists: walk them, read and change a place, and write what changed as an overlay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from itertools import pairwise
from typing import Any, TypeAlias

Place: TypeAlias = tuple[str | int, ...]
"""Names and numbers that lead from the top to a setting."""


def leaves(tree: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield each setting with its place: scalars, None, and lists of scalars as a whole.

    Example:
        >>> list(leaves({"model": {"ks": [1, 5], "query": [{"name": "text"}]}}))
        [(('model', 'ks'), [1, 5]), (('model', 'query', 0, 'name'), 'text')]
    """
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from leaves(value, (*place, name))
    elif isinstance(tree, list) and any(isinstance(each, Mapping | list) for each in tree):
        for number, value in enumerate(tree):
            yield from leaves(value, (*place, number))
    else:
        yield place, tree


def at(tree: Any, place: Place, default: Any = None) -> Any:
    """Return what stands at a place, or the default.

    Example:
        >>> at({"model": {"ks": [1, 5]}}, ("model", "ks", 1)), at({}, ("model", "loss"))
        (5, None)
    """
    for step in place:
        if isinstance(step, int):
            if not isinstance(tree, list) or step >= len(tree):
                return default
            tree = tree[step]
        elif not isinstance(tree, Mapping) or step not in tree:
            return default
        else:
            tree = tree[step]
    return tree


def put(tree: dict[str, Any], place: Place, value: Any) -> None:
    """Change a setting in place; a class that is given by its bare name becomes a mapping.

    Example:
        >>> settings = {"model": {"scorer": "Dot"}}
        >>> put(settings, ("model", "scorer", "init_args", "logit_scale"), 10)
        >>> settings
        {'model': {'scorer': {'class_path': 'Dot', 'init_args': {'logit_scale': 10}}}}
    """
    node: Any = tree
    for step, following in pairwise(place):
        below = node[step] if isinstance(step, int) else node.get(step)
        if isinstance(below, str):
            below = {"class_path": below}
        elif below is None:
            below = {}
        assert isinstance(following, str) or isinstance(below, list), f"{place}: no list"
        node[step] = below
        node = below
    node[place[-1]] = value


def overlay(tree: Mapping[str, Any], changes: Mapping[Place, Any]) -> dict[str, Any]:
    """Return the settings below a section that hold a change, whole and changed: a config to lay over the first.

    Lists and the parts of a tower are replaced as a whole by a second config, so that none of them may be cut.

    Example:
        >>> settings = {"data": {"batch_size": 64}, "model": {"loss": "BPR", "scorer": "Dot"}}
        >>> overlay(settings, {("model", "scorer", "init_args", "logit_scale"): 10})
        {'model': {'scorer': {'class_path': 'Dot', 'init_args': {'logit_scale': 10}}}}
    """
    changed: dict[str, Any] = deepcopy(dict(tree))
    for place, value in changes.items():
        put(changed, place, deepcopy(value))
    parts: dict[str, Any] = {}
    for section, name, *_ in changes:
        parts.setdefault(str(section), {})[name] = changed[str(section)][name]
    return parts


def dotted(place: Place) -> str:
    """Return a place as the command line would name it, without what every class has.

    Example:
        >>> dotted(("model", "query_tower", "init_args", "encoders", "title", "init_args", "output_dim"))
        'query_tower.title.output_dim'
    """
    return ".".join(str(step) for step in place[1:] if step not in ("init_args", "encoders"))
