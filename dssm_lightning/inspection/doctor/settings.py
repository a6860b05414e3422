"""The settings of a config as plain values: sections of several files, single settings, entries of lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dssm_lightning.inspection.doctor.findings import yaml_line

Sections = Mapping[str, Any]


def merged(files: Sequence[Sections]) -> dict[str, Any]:
    """Return the sections of several configs, later ones over earlier ones; another class takes the place of one.

    Example:
        >>> merged([{"trainer": {"max_epochs": 3, "devices": 1}}, {"trainer": {"devices": 2}}])
        {'trainer': {'max_epochs': 3, 'devices': 2}}
    """
    found: dict[str, Any] = {}
    for sections in files:
        found = _over(found, sections)
    return found


def _over(below: Any, above: Any) -> Any:
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    if "class_path" in above and above["class_path"] != below.get("class_path"):
        return dict(above)
    return {**below, **{key: _over(below.get(key), value) for key, value in above.items()}}


def setting(sections: Sections, path: str, default: Any = None) -> Any:
    """Return a setting by its keys, joined by dots; null and a missing key are the default.

    Example:
        >>> setting({"trainer": {"max_epochs": 3}}, "trainer.max_epochs"), setting({}, "checkpoint.mode", "max")
        (3, 'max')
    """
    value: Any = sections
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return default if value is None else value


def arguments(entry: Any) -> dict[str, Any]:
    """Return the arguments of ``{class_path, init_args}``; a class that is only named has none."""
    found = entry.get("init_args") if isinstance(entry, Mapping) else None
    return dict(found or {})


def class_of(entry: Any) -> str:
    """Return the class of ``{class_path, init_args}`` or of a name, without its module."""
    path = entry.get("class_path", "") if isinstance(entry, Mapping) else entry
    return str(path or "").rpartition(".")[2]


def feature_entry(sections: Sections, side: str, name: str) -> dict[str, Any]:
    """Return the entry of a feature, as the config has it; an empty one if the config does not name it."""
    for entry in setting(sections, f"data.{side}", []):
        if isinstance(entry, Mapping) and arguments(entry).get("name") == name:
            return dict(entry)
    return {}


def feature_line(sections: Sections, side: str, name: str, class_path: str | None = None, **changes: Any) -> str:
    """Return the line of a feature with other arguments, or of another class; an argument None is left out."""
    entry = feature_entry(sections, side, name)
    kept = arguments(entry) if class_path is None else _of_any_class(arguments(entry))
    init_args = {key: value for key, value in {"name": name, **kept, **changes}.items() if value is not None}
    made = {"class_path": class_path or class_of(entry), "init_args": init_args}
    return yaml_line(f"data.{side}", [made], f"in place of the entry {name!r}")


def _of_any_class(init_args: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in init_args.items() if key in ("name", "column")}


def without_line(sections: Sections, side: str, name: str) -> str:
    """Return the line of the features without one."""
    entries = setting(sections, f"data.{side}", [])
    rest = [entry for entry in entries if isinstance(entry, Mapping) and arguments(entry).get("name") != name]
    if not rest:
        return yaml_line(f"data.{side}", [], f"another feature in place of {name!r}, the only one")
    return yaml_line(f"data.{side}", rest, f"without the entry {name!r}")


def source_line(argument: str, value: Any, comment: str = "") -> str:
    """Return the line of an argument of the source."""
    return yaml_line(f"data.source.init_args.{argument}", value, comment)


def split_line(class_path: str, comment: str = "", **init_args: Any) -> str:
    """Return the line of a split."""
    return yaml_line("data.split", {"class_path": class_path, "init_args": init_args}, comment)
