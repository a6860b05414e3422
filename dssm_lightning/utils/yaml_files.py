"""The one reader of YAML: files of settings, and settings of the command line.

It refuses what YAML allows and a person never means: a key that is given twice in one section, and references that make
a few lines endless. It reads class paths and options of earlier releases as those of today.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.renamed import renew
from dssm_lightning.utils.text_files import read_utf8

DEEPEST = 100
"""Levels of nesting that a text may have."""
MOST_REPEATED = 100_000
"""Values that references (``*name``) may add to those that are written."""


def load_yaml(text: str) -> Any:
    """Return the value of a YAML text, with numbers and texts as jsonargparse reads them.

    Raises:
        yaml.YAMLError: no YAML, or YAML that is refused.

    Example:
        >>> load_yaml("lr: 1e-3")
        {'lr': 0.001}
    """
    try:
        _check(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        return renew(_read_yaml(text))
    except (ValueError, RecursionError, OverflowError) as error:
        raise yaml.MarkedYAMLError(problem=f"{type(error).__name__}: {error}") from error


def read_yaml(path: Path, name: str | None = None) -> Any:
    """Return the value of a YAML file.

    Args:
        path: the file.
        name: what a message calls it; None = its path.

    Raises:
        UserError: no UTF-8, no YAML, or YAML that is refused. The message has the file and the line.
        OSError: no such file, or a file that cannot be read.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "shop.yaml")
        ...     _ = path.write_text("data: {}\\nmodel: {}\\ndata: {}\\n")
        ...     read_yaml(path, "shop.yaml")
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: shop.yaml, line 3: the key 'data' is given twice, first in line 1
    """
    name, text = name or str(path), read_utf8(path, name)
    try:
        return load_yaml(text)
    except yaml.YAMLError as error:
        raise UserError(describe_error(error, name)) from error


def read_sections(path: Path, name: str | None = None) -> dict[str, Any]:
    """Return the sections of a file of settings; an empty file has none. Arguments as for :func:`read_yaml`.

    Raises:
        UserError: as for :func:`read_yaml`; the file holds something else than sections.
        OSError: no such file, or a file that cannot be read.
    """
    value = read_yaml(path, name)
    if not isinstance(value, dict | None):
        raise UserError(f"{name or path} must consist of sections such as data and model; found {type(value).__name__}")
    return value or {}


def describe_error(error: yaml.YAMLError, name: str) -> str:
    """Return one line that names the file, the line and the problem."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = name if mark is None else f"{name}, line {mark.line + 1}"
    if type(error) is yaml.MarkedYAMLError:  # raised here; the parser's errors are of subclasses
        return f"{where}: {problem}"
    if problem is None or mark is None:  # such as a character that YAML does not allow
        return f"{where} is not valid YAML: {' '.join(str(error).split())}"
    return f"{where}, column {mark.column + 1}: this is not valid YAML: {problem}"


class _Section:
    """What is open while a text is checked: a mapping, whose keys and values alternate, or a list."""

    def __init__(self, is_mapping: bool, anchor: str | None, before: int) -> None:
        self.is_mapping, self.anchor, self.before = is_mapping, anchor, before
        self.is_key = is_mapping
        self.lines: dict[str, int] = {}


def _check(events: Iterable[Any]) -> None:
    """Refuse keys that are given twice, too deep nesting, and references that repeat too much or contain themselves."""
    open_sections: list[_Section] = []
    sizes: dict[str, int | None] = {}  # values below an anchor; None = it is still open
    size = repeated = 0
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            closed = open_sections.pop()
            if closed.anchor is not None:
                sizes[closed.anchor] = size - closed.before
        elif isinstance(event, yaml.AliasEvent):
            if (added := sizes.get(event.anchor, 0)) is None:
                _refuse(event, f"the reference *{event.anchor} contains itself")
            size, repeated = size + (added or 0), repeated + (added or 0)
            if repeated > MOST_REPEATED:
                _refuse(event, f"references repeat more than {MOST_REPEATED:,} values")
            _take(open_sections, event)
        elif isinstance(event, yaml.NodeEvent):
            size += 1
            _take(open_sections, event)
            if isinstance(event, yaml.CollectionStartEvent):
                if len(open_sections) == DEEPEST:
                    _refuse(event, f"values are nested deeper than {DEEPEST} levels")
                open_sections.append(_Section(isinstance(event, yaml.MappingStartEvent), event.anchor, size - 1))
            if event.anchor is not None:
                sizes[event.anchor] = None if isinstance(event, yaml.CollectionStartEvent) else 1


def _take(open_sections: list[_Section], event: Any) -> None:
    """Count a key or a value of the innermost section."""
    if not open_sections or not open_sections[-1].is_mapping:
        return
    section = open_sections[-1]
    if section.is_key and isinstance(event, yaml.ScalarEvent):
        if event.value in section.lines:
            first = section.lines[event.value] + 1
            _refuse(event, f"the key {event.value!r} is given twice, first in line {first}")
        section.lines[event.value] = event.start_mark.line
    section.is_key = not section.is_key


def _refuse(event: Any, problem: str) -> None:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


_read_yaml = get_loader("yaml")
set_loader("yaml", load_yaml, (yaml.YAMLError,))
