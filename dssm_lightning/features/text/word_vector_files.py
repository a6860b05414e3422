"""Tables of word vectors that others have trained: text files as GloVe's and word2vec's, or safetensors.

- Text (any suffix but ``.safetensors``, UTF-8): a word and its numbers in each line, blanks between; a first line of
  two whole numbers, as word2vec writes it, is passed over.
- safetensors: one tensor (V, D), and in the file's metadata, under ``words``, a JSON list of V words::

      save_file({"vectors": matrix}, path, metadata={"words": json.dumps(words)})
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dssm_lightning.features.text.words_and_letters import normalised, word_strings
from dssm_lightning.utils.errors import UserError

_LINES = 20_000
"""Lines that are parsed at once: as strings, numbers take several times their memory."""


class VectorTable(NamedTuple):
    """Words, each once and as texts are split into words, and their vectors."""

    words: pl.Series  # (V,)
    vectors: NDArray[np.float32]  # (V, D)


def read_vector_table(path: Path, label: str) -> VectorTable:
    """The table of a file, in its order, without what no text would ever hold as a word ("New York", "</s>").

    A word that occurs in several spellings (*Turkey*, *turkey*) has the vector that comes first.

    Args:
        path: the file.
        label: whom an error names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no table, its lines are of different widths, or none of its words is one.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{label}: there is no table of word vectors {str(path)!r}")
    label = f"{label}: {str(path)!r}"
    words, vectors = _read_safetensors(path, label) if path.suffix == ".safetensors" else _read_text(path, label)
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(1))[0])
        raise UserError(f"{label}: the vector of {words[row]!r} holds NaN or infinity")
    spelled = normalised(words)
    parts, counts = word_strings(spelled)
    first = np.minimum(np.cumsum(counts) - counts, max(len(parts) - 1, 0))
    fits = (counts == 1) & (parts[first] == spelled).to_numpy() if len(parts) else counts == 1
    kept = np.flatnonzero(fits & spelled.is_first_distinct().to_numpy())
    if len(kept) == 0:
        raise UserError(
            f"{label}: none of its {len(words):,} words is one as texts are split (first {words.head(3).to_list()})"
        )
    return VectorTable(spelled[kept], vectors[kept])


def _read_text(path: Path, label: str) -> tuple[pl.Series, NDArray[np.float32]]:
    try:
        lines = path.read_bytes().decode().rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        raise UserError(
            f"{label}: line {line} is no UTF-8; a text table holds a word and its numbers in each"
        ) from error
    header = int(re.fullmatch(r"\d+ \d+\s*", lines[0]) is not None)
    words, parts, width = [], [], None
    for start in range(header, len(lines), _LINES):
        chunk = pl.Series(lines[start : start + _LINES], dtype=pl.String).str.strip_chars_end(" \r")
        split = chunk.str.split(" ")
        lengths = split.list.len().cast(pl.Int64) - 1
        width = int(lengths[0]) if width is None else width
        if (odd := (lengths != width).arg_true()).len():
            raise UserError(
                f"{label}: line {start + odd[0] + 1} has {lengths[odd[0]]} numbers, the first one {width}; each must "
                "have a word and as many numbers"
            )
        if width == 0:
            raise UserError(f"{label}: line {start + 1} has no numbers; each must have a word and its numbers")
        numbers = split.list.tail(width).explode().cast(pl.Float32, strict=False)
        if numbers.null_count():
            row = numbers.is_null().arg_true()[0] // width
            raise UserError(f"{label}: line {start + row + 1} holds something that is no number: {chunk[row][:60]!r}")
        words.append(split.list.first())
        parts.append(numbers.to_numpy().reshape(-1, width))
    if not words:
        raise UserError(f"{label}: it holds no vectors")
    return pl.concat(words), np.concatenate(parts)


def _read_safetensors(path: Path, label: str) -> tuple[pl.Series, NDArray[np.float32]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names, metadata = list(file.keys()), file.metadata() or {}
            tensors = [file.get_tensor(name) for name in names[:1]]
    except SafetensorError as error:
        raise UserError(f"{label}: it is no safetensors file ({error})") from error
    if len(names) != 1 or tensors[0].ndim != 2 or "words" not in metadata:
        found = f"{len(names)} tensors, metadata {sorted(metadata)}"
        raise UserError(f"{label}: it must hold one tensor (V, D), and in its metadata `words`; found {found}")
    words, vectors = pl.Series(json.loads(metadata["words"]), dtype=pl.String), tensors[0]
    if len(words) != len(vectors):
        raise UserError(f"{label}: it has {len(words):,} words for {len(vectors):,} vectors; each needs one")
    return words, vectors.astype(np.float32)
