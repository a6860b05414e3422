"""Read files of trained word vectors: text files of GloVe and word2vec, or safetensors.

- Text (any suffix except ``.safetensors``, UTF-8): each line has a word and its numbers, separated by blanks. A first
  line of two whole numbers, which word2vec writes, says how many words follow, at least.
- safetensors: one tensor (V, D), and in the file's metadata, under ``words``, a JSON list of V words::

      save_file({"vectors": matrix}, path, metadata={"words": json.dumps(words)})
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.text.words_and_letters import single_words
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.text_files import parse_json

if TYPE_CHECKING:
    import polars as pl

_FLOATS = ("F16", "F32", "F64")
_LINES = 20_000
"""Number of lines parsed at once, because numbers need several times their memory as strings."""


class VectorTable(NamedTuple):
    """Words without duplicates, spelled like the words of texts, and their vectors.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "vectors.txt").write_text("The 1 0\\nNew,York 0 1\\ncat 1 1\\n")
        ...     table = read_vector_table(Path(folder, "vectors.txt"), "feature 'title'")
        >>> table.words.to_list(), table.vectors.tolist()
        (['the', 'cat'], [[1.0, 0.0], [1.0, 1.0]])
    """

    words: pl.Series  # (V,)
    vectors: NDArray[np.float32]  # (V, D)


def read_vector_table(path: Path, label: str) -> VectorTable:
    """Read a file of word vectors in its order, without the words that no text can contain ("New York", "</s>").

    A word with several spellings (*Turkey*, *turkey*) gets the first vector.

    Args:
        path: the file.
        label: name of the feature in error messages.

    Raises:
        FileNotFoundError: the file does not exist.
        UserError: the file is not a table of word vectors, has fewer words than it announces, has lines of different
            lengths, or no text can contain any of its words.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{label}: the file of word vectors {str(path)!r} does not exist")
    label = f"{label}: {str(path)!r}"
    words, vectors = _read_safetensors(path, label) if path.suffix == ".safetensors" else _read_text(path, label)
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(1))[0])
        raise UserError(f"{label}: the vector of {words[row]!r} holds NaN or infinity")
    spelled, place = single_words(words)
    is_first = spelled.is_first_distinct()
    spelled, kept = spelled.filter(is_first), place[is_first.to_numpy()]
    if len(kept) == 0:
        raise UserError(
            f"{label}: no text can contain any of its {len(words):,} words, first {words.head(3).to_list()}; "
            "a word has no blanks, and no punctuation around it"
        )
    return VectorTable(spelled, vectors[kept])


def _read_text(path: Path, label: str) -> tuple[pl.Series, NDArray[np.float32]]:
    import polars as pl

    try:
        lines = path.read_bytes().decode("utf-8-sig").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        line = 1 + error.object.count(b"\n", 0, error.start)
        raise UserError(f"{label}: line {line} is not UTF-8; each line must have a word and its numbers") from error
    header = int(re.fullmatch(r"\d+ \d+\s*", lines[0]) is not None)
    if header and 1 < len(lines) <= int(lines[0].split()[0][:18]):
        raise UserError(
            f"{label}: line 1 announces {lines[0].split()[0]} words, and {len(lines) - 1:,} lines follow; the file is "
            "not complete: download it again, or correct line 1"
        )
    words, parts, width = [], [], None
    for start in range(header, len(lines), _LINES):
        chunk = pl.Series(lines[start : start + _LINES], dtype=pl.String).str.strip_chars_end(" \r")
        split = chunk.str.split(" ")
        lengths = split.list.len().cast(pl.Int64) - 1
        width = int(lengths[0]) if width is None else width
        if (odd := (lengths != width).arg_true()).len():
            raise UserError(
                f"{label}: line {start + odd[0] + 1} has {lengths[odd[0]]} numbers, and the first line has {width}; "
                "each line must have a word and the same number of numbers"
            )
        if width == 0:
            raise UserError(f"{label}: line {start + 1} has no numbers; each line must have a word and its numbers")
        numbers = split.list.tail(width).explode().cast(pl.Float32, strict=False)
        if numbers.null_count():
            row = numbers.is_null().arg_true()[0] // width
            raise UserError(f"{label}: line {start + row + 1} has a value that is not a number: {chunk[row][:60]!r}")
        words.append(split.list.first())
        parts.append(numbers.to_numpy().reshape(-1, width))
    if not words:
        raise UserError(f"{label}: the file holds no vectors")
    return pl.concat(words), np.concatenate(parts)


def _read_safetensors(path: Path, label: str) -> tuple[pl.Series, NDArray[np.float32]]:
    import polars as pl
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:  # compares the sizes in its header with that of the file
            names, metadata = list(file.keys()), file.metadata() or {}
            found = [(file.get_slice(name).get_dtype(), file.get_slice(name).get_shape()) for name in names]
            right = len(names) == 1 and "words" in metadata and found[0][0] in _FLOATS and len(found[0][1]) == 2
            if not right or 0 in found[0][1]:
                raise UserError(
                    f"{label}: the file holds {len(found)} tensors, {found[:3]}, and metadata {sorted(metadata)}; it "
                    f"must hold one tensor (V, D) of {', '.join(_FLOATS)}, and `words` in its metadata"
                )
            vectors = file.get_tensor(names[0])
    except SafetensorError as error:
        raise UserError(f"{label}: the file is not a safetensors file ({error})") from error
    words = parse_json(metadata["words"], f"{label}: `words` in its metadata")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UserError(f"{label}: `words` in its metadata is no JSON list of words")
    if len(words) != len(vectors):
        raise UserError(
            f"{label}: the file has {len(words):,} words for {len(vectors):,} vectors; the numbers must match"
        )
    with np.errstate(over="ignore"):  # the caller refuses infinity
        return pl.Series(words, dtype=pl.String), vectors.astype(np.float32)
