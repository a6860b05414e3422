"""The folder of a saved index of terms: ``terms.json`` describes the arrays that lie beside it.

Nothing in the folder is executed or unpickled. Shapes and ranges are checked when it is opened, so that a damaged file
is refused, and never answered from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.retrieval.indexes.index_files import map_array, require_replaceable
from dssm_lightning.retrieval.postings import Floats, Postings
from dssm_lightning.utils.atomic_files import atomic_folder
from dssm_lightning.utils.errors import UserError, is_number, is_whole
from dssm_lightning.utils.text_files import parse_json, read_utf8

TERMS = "terms.json"
"""The file that describes the others."""
FORMAT = 1
"""The version of the format; a greater one is refused."""
_LONGEST = 1 << 16  # bytes of terms.json
_MOST = (1 << 31) - 1  # texts, whose numbers are int32
_AGAIN = "build the index again"


def write_terms(
    folder: Path, kind: str, settings: dict[str, Any], rule: int, postings: Postings, weights: Floats
) -> None:
    """Write an index of terms, atomically.

    Args:
        folder: an earlier one is replaced.
        kind: the class of the index.
        settings: its arguments.
        rule: version of the rule that splits texts into terms.
        postings: the bags of terms of the candidates.
        weights: (T,) of the postings.

    Raises:
        UserError: the folder holds something else.
        OSError: it cannot be written.
    """
    require_replaceable(folder, TERMS)
    counts = {"candidates": postings.num_texts, "terms": len(postings.terms), "postings": len(postings.texts)}
    described = {"format": FORMAT, "kind": kind, "settings": settings, "rule": rule, **counts}
    with atomic_folder(folder) as temporary:
        for name, array in (*postings._asdict().items(), ("weights", weights)):
            np.save(temporary / f"{name}.npy", array)
        (temporary / TERMS).write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


def read_terms(folder: Path, kind: str, rule: int) -> tuple[dict[str, Any], Postings, Floats]:
    """Return the settings, the postings and their weights; arrays are mapped into memory.

    Raises:
        UserError: a file is missing or damaged, or of a newer format, of another kind of index, or of another rule.
    """
    described = _described(folder, kind, rule)
    sizes = {"texts": described["candidates"], "terms": described["terms"], "postings": described["postings"]}

    def read(name: str, size: int, dtype: type[np.generic]) -> NDArray[Any]:
        return map_array(folder / f"{name}.npy", (size,), dtype, TERMS)

    postings = Postings(
        read("terms", sizes["terms"], np.uint64),
        read("starts", sizes["terms"] + 1, np.int64),
        read("texts", sizes["postings"], np.int32),
        read("times", sizes["postings"], np.int32),
        read("lengths", sizes["texts"], np.int32),
    )
    weights = read("weights", sizes["postings"], np.float32)
    _require_ranges(folder, postings, weights)
    return described["settings"], postings, weights


def _described(folder: Path, kind: str, rule: int) -> dict[str, Any]:
    path = folder / TERMS
    if not path.is_file():
        raise UserError(f"{folder}: there is no {TERMS}: it is no saved index of terms")
    if path.stat().st_size > _LONGEST:
        raise UserError(f"{path} is damaged: it is longer than {_LONGEST:,} bytes; {_AGAIN}")
    values = parse_json(read_utf8(path), str(path))
    version: Any = values.get("format") if isinstance(values, dict) else None
    if is_whole(version) and version > FORMAT:
        raise UserError(f"{path}: format {version} is of a newer version of this package; this one reads {FORMAT}")
    if version != FORMAT or not _has_types(values):
        raise UserError(f"{path} is damaged or not of a saved index of terms; {_AGAIN}")
    if values["kind"] != kind:
        raise UserError(f"{folder} is an index of the kind {values['kind']!r}, and {kind} reads {kind!r}")
    if values["rule"] != rule:
        raise UserError(
            f"{folder} was saved with version {values['rule']} of the rule that splits texts into terms, and this "
            f"package has version {rule}: {_AGAIN}"
        )
    return dict(values)


def _has_types(values: dict[str, Any]) -> bool:
    settings = values.get("settings")
    counts: list[Any] = [values.get(name) for name in ("rule", "candidates", "terms", "postings")]
    return (
        isinstance(values.get("kind"), str)
        and isinstance(settings, dict)
        and all(is_number(value) for value in settings.values())
        and all(is_whole(count) and 0 <= count <= 1 << 48 for count in counts)
        and values["candidates"] <= _MOST
    )


def _require_ranges(folder: Path, postings: Postings, weights: Floats) -> None:
    """Refuse arrays that contradict each other."""
    starts, texts = postings.starts, postings.texts
    whole = len(starts) > 0 and starts[0] == 0 and starts[-1] == len(texts) and bool((np.diff(starts) > 0).all())
    new_term = np.zeros(len(texts) + 1, np.bool_)
    if whole:
        new_term[starts] = True
    right = {
        "starts": whole,
        "terms": bool((postings.terms[1:] > postings.terms[:-1]).all()),
        "texts": _within(texts, 0, postings.num_texts - 1) and bool((np.diff(texts) > 0)[~new_term[1:-1]].all()),
        "times": _within(postings.times, 1, _MOST),
        "lengths": _within(postings.lengths, 0, _MOST),
        "weights": bool(np.isfinite(weights).all()),
    }
    for name, is_right in right.items():
        if not is_right:
            raise UserError(f"{folder / name}.npy is damaged: its numbers are not those of an index of terms; {_AGAIN}")


def _within(numbers: NDArray[Any], least: int, most: int) -> bool:
    return not len(numbers) or (numbers.min() >= least and numbers.max() <= most)
