"""Arguments of the commands that are plain functions: lists of texts and flags become JSON values."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, get_args, get_type_hints


def as_json(arguments: list[str], command: Callable[..., Any]) -> list[str]:
    """Return the arguments with a command's lists of texts and its flags as JSON values.

    ``--query a --query b``, ``--query=a --query=b`` and ``--query a b`` all become ``--query=["a", "b"]``, so that a
    text is never parsed as YAML. A flag without a value, such as ``--json``, becomes ``--json=true``.

    Example:
        >>> def search(query: list[str], json: bool = False) -> None: ...
        >>> as_json(["--query", "yes", "--json", "--query=12"], search)
        ['--json=true', '--query=["yes", "12"]']
    """
    hints = get_type_hints(command)
    lists: dict[str, list[str]] = {name: [] for name, hint in hints.items() if list[str] in (hint, *get_args(hint))}
    others: list[str] = []
    open_list: list[str] | None = None  # the list of the option before, which takes further words
    for place, argument in enumerate(arguments):
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--"):
            (others if open_list is None else open_list).append(argument)
            continue
        open_list = lists.get(name)
        if open_list is None:
            has_value = equals or arguments[place + 1 : place + 2] in (["true"], ["false"])
            others.append(f"{argument}=true" if hints.get(name) is bool and not has_value else argument)
        elif equals:
            open_list.append(value)
    return others + [f"--{name}={json.dumps(values, ensure_ascii=False)}" for name, values in lists.items() if values]
