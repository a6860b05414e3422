"""Errors of the data and the model as findings: which setting the message speaks of, and what to write there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dssm_lightning.inspection.doctor.findings import Finding, yaml_line
from dssm_lightning.inspection.doctor.settings import (
    Sections,
    arguments,
    feature_entry,
    feature_line,
    setting,
    source_line,
)

Change = tuple[str, str]
"""Where, and the line to write."""


def refusal(error: Exception, sections: Sections, part: str) -> Finding:
    """Return the finding of an error that ``fit`` would end with.

    Args:
        error: whatever data or model refuse.
        sections: the config.
        part: the section that was read, data or model.

    Example:
        >>> config = {"data": {"batch_size": 0}}
        >>> found = refusal(ValueError("data: batch_size is 0; it must be at least 1"), config, "data")
        >>> found.where, found.change
        ('data.batch_size', 'data: {batch_size: 0}  # another value')
    """
    message = " ".join(str(error).split())
    where, change = _feature(message, sections) or _remedy(message, sections) or _nearest(message, sections, part)
    return Finding("error", f"{part}-refused", where, message, change)


def _feature(message: str, sections: Sections) -> Change | None:
    """Errors that name a feature, or a column that a feature reads."""
    meant = re.search(r"did you mean '([^']+)'\?$", message)
    for side in ("query", "candidate"):
        for name, column in _features(sections, side):
            if not re.search(rf"feature (?:column )?'(?:{re.escape(name)}|{re.escape(column)})'", message):
                continue
            where = f"data.{side}.{name}"
            if "no such column" in message:
                changes: dict[str, Any] = {"column": meant[1] if meant else "the column"}
            elif "on_empty" in message or "empty text" in message:
                changes = {"on_empty": "allow"}
            elif "on_error: skip" in message:
                changes = {"on_error": "skip"}
            elif "missing" in message:
                kind = str(feature_entry(sections, side, name).get("class_path", ""))
                changes = {"missing": "bucket" if kind.endswith("Bucketized") else "indicator"}
            elif re.search(r"\broot is\b", message):
                changes = {"root": "the folder of the pictures"}
            elif "needs a time column" in message:
                return where, source_line("time", "timestamp", "the column of the time")
            elif "needs labels" in message:
                return where, source_line("label", "liked", "the column of the labels")
            else:
                changes = {}
            return where, feature_line(sections, side, name, **changes)
    return None


def _features(sections: Sections, side: str) -> Iterator[tuple[str, str]]:
    for entry in setting(sections, f"data.{side}", []):
        found = arguments(entry)
        if "name" in found:
            yield str(found["name"]), str(found.get("column") or found["name"])


def _remedy(message: str, sections: Sections) -> Change | None:
    """Errors whose message names the setting to write."""
    known = {
        r"set evaluate: event": ("data.evaluate", "event"),
        r"use LazyAdam": ("model.optimizer.class_path", "LazyAdam"),
        r"score_chunk_size": ("model.score_chunk_size", 256),
        r"mask_duplicates extends mask_known": ("data.mask_known", True),
        r"set batch_by: query": ("data.batch_by", "query"),
        r"leaves no (?:train|validation|test) rows|leave no rows for training": ("data.split", None),
        r"needs a time, but": ("data.source.init_args.time", "timestamp"),
        r"^data: objective|no objective '|of objective '": ("data.objectives", {"click": "clicked == 1"}),
        r"data[.:] ?rating": ("data.rating", None),
        r"^label column|no positive is left|label_above": ("data.source.init_args.positive", "rating >= 4"),
        r"^weight column|weights of all": ("data.source.init_args.weight", None),
        r"^time column": ("data.source.init_args.time", None),
        r"^grade column": ("data.source.init_args.grade", None),
        r"set `root`": ("data.source.init_args.root", "the folder of the data"),
        r"slice_by": ("data.slice_by", []),
        r"num_negatives is": ("data.negatives.init_args.num_negatives", 10),
        r"ids of '[^']+' occur more than once": ("data.source.init_args.drop", ["repeated"]),
        r"interactions name [\d,]+ ids": ("data.source.init_args.drop", ["unknown"]),
        r"separator": ("data.source.init_args.separator", ";"),
        r"is not UTF-8|codec|encoding": ("data.source.init_args.encoding", "latin-1"),
        r"has no column|names of the columns|no such column": ("data.source.init_args", None),
    }
    for pattern, (path, value) in known.items():
        if re.search(pattern, message):
            return _written(message, sections, path, value)
    return None


def _written(message: str, sections: Sections, path: str, value: Any) -> Change:
    if path == "data.split":
        return path, yaml_line(path, {"class_path": "RandomRows", "init_args": {"test": 0.1, "validation": 0.1}})
    if path == "data.source.init_args":  # a column of the source
        meant = re.search(r"did you mean '([^']+)'\?", message)
        wrong = re.search(r"(\w+) column '([^']+)'", message)
        key = next(
            (key for key, each in _leaves(setting(sections, path, {})) if wrong and each == wrong[2]), "query_id"
        )
        return f"data.source.{key}", source_line(key, meant[1] if meant else "the column")
    return path.replace(".init_args", ""), yaml_line(path, value)


def _nearest(message: str, sections: Sections, part: str) -> Change:
    """The setting whose name, and best also whose value, occurs in the message."""
    best, longest = (part, setting(sections, part)), 0
    for path, value in _leaves(sections.get(part, {}), part):
        key = path.rpartition(".")[2]
        named = bool(re.search(rf"\b{re.escape(key)}\b", message)) and key != "name"
        shown = isinstance(value, str | int | float) and not isinstance(value, bool) and str(value) in message
        score = len(key) * named + (len(str(value)) * shown if len(str(value)) > 1 or named else 0)
        if score > longest:
            best, longest = (path, value), score
    path, value = best
    if not longest:
        return part, yaml_line(part, None, "as the message says")
    return path, yaml_line(path, value, "another value")


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings below a section, by their keys joined by dots; entries of lists count as their list."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value
