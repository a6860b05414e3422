"""Write settings as YAML in which a comment says why each value was chosen."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from dssm_lightning.utils.console import printable

WIDTH = 110
"""The longest line that is written, where values allow it."""
_BREAKS = set("\n\r\x85\u2028\u2029")
Settings: TypeAlias = Mapping[str, Any]
"""Names and values: scalars, sequences, further settings, and any of these as :class:`Because`."""


@dataclass(frozen=True)
class Because:
    """A value with the reason for it, which becomes its comment.

    Example:
        >>> config_text({"max_epochs": Because(30, "an upper limit")})
        'max_epochs: 30  # an upper limit\\n'
    """

    value: Any
    why: str


def part(class_path: str, **arguments: Any) -> dict[str, Any]:
    """Return the settings of a class; arguments that are None are left out.

    Example:
        >>> part("Dot", logit_scale=20, learnable=None)
        {'class_path': 'Dot', 'init_args': {'logit_scale': 20}}
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    return {"class_path": class_path, "init_args": given} if given else {"class_path": class_path}


def plain(value: Any) -> Any:
    """Return settings without their reasons: dicts, lists and scalars.

    Example:
        >>> plain({"lr": Because(0.002, "for small tables"), "ks": (1, 5)})
        {'lr': 0.002, 'ks': [1, 5]}
    """
    value = value.value if isinstance(value, Because) else value
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if _is_sequence(value) else value


def config_text(settings: Settings, head: Sequence[str] = ()) -> str:
    """Return YAML with a comment beside or above each value that has a reason.

    Args:
        settings: the sections of a config.
        head: lines at the top, as comments.

    Example:
        >>> print(config_text({"data": {"batch_size": Because(256, "few pairs")}}, ["Shoes."]), end="")
        # Shoes.
        data:
          batch_size: 256  # few pairs
    """
    lines = [line for each in head for line in _comment(each, 0)]
    for name, value in settings.items():
        lines += _entry(f"{_scalar(name)}:", value, 0)
    return "\n".join(lines) + "\n"


def _entry(start: str, value: Any, indent: int) -> Iterator[str]:
    """Yield the lines of a name, or of the dash of a list, and its value."""
    value, why = (value.value, value.why) if isinstance(value, Because) else (value, "")
    margin = " " * indent
    line = None if _has_reasons(value) else f"{margin}{start} {_flow(value)}"
    if line is not None and (len(line) <= WIDTH or not _is_nested(value)):
        comment = f"  # {_one_line(why)}"
        if not why:
            yield line
        elif len(line) + len(comment) <= WIDTH:
            yield line + comment
        else:
            yield from _comment(why, indent)
            yield line
        return
    yield from _comment(why, indent) if why else ()
    if start == "-" and isinstance(value, Mapping):
        yield from _in_list(value, indent)
        return
    yield margin + start
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _entry(f"{_scalar(name)}:", each, indent + 2)
    else:
        for each in value:
            yield from _entry("-", each, indent + 2)


def _in_list(value: Mapping[str, Any], indent: int) -> Iterator[str]:
    """Yield the lines of a mapping in a list, whose first name stands after the dash."""
    margin = " " * indent
    started = False
    for name, each in value.items():
        for line in _entry(f"{_scalar(name)}:", each, indent + 2):
            if not started and not line.lstrip().startswith("#"):
                line, started = f"{margin}- {line[indent + 2 :]}", True
            yield line


def _comment(text: str, indent: int) -> list[str]:
    """Return the lines of a comment; an empty text is an empty comment."""
    margin = " " * indent + "# "
    lines = textwrap.wrap(_one_line(text), WIDTH - len(margin), break_on_hyphens=False) or [""]
    return [f"{margin}{line}".rstrip() for line in lines]


def _one_line(text: str) -> str:
    return printable(text.replace("\n", "\\n")).replace("\x85", "\\u0085")


def _has_reasons(value: Any) -> bool:
    if isinstance(value, Because):
        return True
    each = value.values() if isinstance(value, Mapping) else value if _is_sequence(value) else ()
    return any(map(_has_reasons, each))


def _is_nested(value: Any) -> bool:
    return (isinstance(value, Mapping) or _is_sequence(value)) and bool(value)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _flow(value: Any) -> str:
    """Return a value on one line."""
    value = plain(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(name)}: {_flow(each)}" for name, each in value.items()) + "}"
    return f"[{', '.join(map(_flow, value))}]" if _is_sequence(value) else _scalar(value)


def _scalar(value: Any) -> str:
    """Return a name or a value as it may stand anywhere, also within brackets."""
    if isinstance(value, str) and _BREAKS & set(value):
        return json.dumps(value)
    text: str = yaml.safe_dump([value], default_flow_style=True, width=math.inf, allow_unicode=True)
    return text.strip()[1:-1]
