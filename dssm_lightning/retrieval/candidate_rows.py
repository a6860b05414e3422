"""The candidates of a corpus: their ids, and the values of their columns, parsed when they are shown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dssm_lightning.features.raw_values import shown, text_of
from dssm_lightning.retrieval.stored_values import id_text, json_line, stored_id
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.hashing import hash_text

Places = NDArray[np.int64]
LINES, OFFSETS, HASHES = "rows.jsonl", "row_offsets.npy", "row_hashes.npy"
"""The files: a line of JSON for each candidate, where each line begins, and the hash of each id."""
MOST_PARSED = 1 << 16
"""Rows whose values are kept once they were parsed."""


class CandidateRows:
    """The ids and columns of N candidates. Nothing is parsed before it is asked for, so that millions open at once.

    An object never changes, so that threads may share it: :meth:`with_rows` and :meth:`without` return new ones.

    Attributes:
        columns: the names of the columns, that of the id first.

    Example:
        >>> rows = CandidateRows.of(["film", "title"], [[7, "Heat"], [9, "Up"]])
        >>> len(rows), rows.find("9"), rows.find(8), rows.values(1)
        (2, 1, None, [9, 'Up'])
        >>> rows.column("title")
        ['Heat', 'Up']
    """

    def __init__(
        self,
        columns: Sequence[str],
        lines: Any,
        offsets: Places,
        hashes: NDArray[np.uint64],
        source: str = "the corpus",
    ) -> None:
        self.columns, self.source = list(columns), source
        self._lines, self._offsets, self._hashes = lines, offsets, hashes
        self._order = np.argsort(hashes, kind="stable")
        self._parsed: dict[int, list[Any]] = {}
        self._read: dict[str, list[Any]] = {}

    @classmethod
    def of(cls, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> CandidateRows:
        """Return the rows of lists of values, one for each column, the id first.

        Raises:
            UserError: an id that is none, or that occurs twice; a value that JSON cannot hold.
        """
        lines, hashes, known = [], [], set()
        for values in rows:
            text = id_text(values[0], columns[0])
            if text in known:
                raise UserError(f"the id {shown(values[0])} of column {columns[0]!r} occurs twice")
            known.add(text)
            hashes.append(hash_text(text))
            lines.append(json_line(columns, [stored_id(values[0], text), *values[1:]]))
        offsets = np.zeros(len(lines) + 1, np.int64)
        np.cumsum([len(line) for line in lines], out=offsets[1:])
        return cls(columns, b"".join(lines), offsets, np.array(hashes, np.uint64))

    def __len__(self) -> int:
        return len(self._hashes)

    def values(self, row: int) -> list[Any]:
        """Return the values of a row, in the order of the columns; do not change them."""
        found = self._parsed.get(row)
        if found is None:
            start, stop = self._offsets[row], self._offsets[row + 1]
            (found,) = self._parse(row, bytes(self._lines[start:stop]))
            if len(self._parsed) >= MOST_PARSED:
                self._parsed.clear()
            self._parsed[row] = found
        return found

    def id(self, row: int) -> Any:
        """Return the id of a row."""
        return self.values(row)[0]

    def find(self, candidate_id: Any) -> int | None:
        """Return the row of an id, compared as a category is: 7 and "7" are the same. None: no candidate has it."""
        text = id_text(candidate_id, self.columns[0])
        place = int(np.searchsorted(self._hashes, np.uint64(hash_text(text)), sorter=self._order))
        while place < len(self) and self._hashes[self._order[place]] == hash_text(text):
            row = int(self._order[place])
            if text_of(self.id(row)) == text:
                return row
            place += 1
        return None

    def column(self, name: str) -> list[Any]:
        """Return the values of a column (N,); all rows are parsed at the first call."""
        if name not in self._read:
            place = self.columns.index(name)
            step = 1 << 16
            parsed: list[Any] = []
            for start in range(0, len(self), step):
                stop = min(start + step, len(self))
                text = bytes(self._lines[self._offsets[start] : self._offsets[stop]])
                parsed += [row[place] for row in self._parse(start, text)]
            self._read[name] = parsed
        return self._read[name]

    def _parse(self, first: int, lines: bytes) -> list[list[Any]]:
        """Return the rows of some lines, the first of which is row ``first``."""
        try:
            rows: list[list[Any]] = json.loads(b"[" + b",".join(lines.split(b"\n")[:-1]) + b"]")
            if any(not isinstance(row, list) or len(row) != len(self.columns) for row in rows):
                raise ValueError("no list of the columns")
            if len(rows) != lines.count(b"\n") or not rows:
                raise ValueError("several rows in one line")
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.source}: {LINES} is damaged from row {first} on: {error}") from error
        return rows

    # -- other rows ----------------------------------------------------------------------------------------------------

    def with_rows(self, added: CandidateRows) -> CandidateRows:
        """Return these rows, and the added ones after them.

        Raises:
            UserError: an id that these rows have already; other columns.
        """
        assert added.columns == self.columns, "the columns are the same"
        for row in range(len(added)):
            if self.find(added.id(row)) is not None:
                raise UserError(f"the corpus has the id {shown(added.id(row))} already; remove it first, or refresh")
        lines = bytes(self._lines) + bytes(added._lines)
        offsets = np.concatenate([self._offsets, self._offsets[-1] + added._offsets[1:]])
        return CandidateRows(self.columns, lines, offsets, np.concatenate([self._hashes, added._hashes]))

    def without(self, rows: Iterable[int]) -> CandidateRows:
        """Return the other rows, in their order."""
        kept = np.ones(len(self), bool)
        kept[list(rows)] = False
        parts = [bytes(self._lines[self._offsets[r] : self._offsets[r + 1]]) for r in np.flatnonzero(kept)]
        offsets = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        return CandidateRows(self.columns, b"".join(parts), offsets, self._hashes[kept])

    # -- files ---------------------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the rows into a folder."""
        (folder / LINES).write_bytes(bytes(self._lines))
        np.save(folder / OFFSETS, self._offsets)
        np.save(folder / HASHES, self._hashes)

    @classmethod
    def load(cls, folder: Path, columns: Sequence[str], count: int) -> CandidateRows:
        """Map the rows of a folder into memory.

        Raises:
            UserError: a file is missing or damaged, or has another number of rows than ``count``.
        """
        offsets, hashes = (
            map_array(folder / name, dtype) for name, dtype in ((OFFSETS, np.int64), (HASHES, np.uint64))
        )
        try:
            lines = np.memmap(folder / LINES, np.uint8, "r")
        except (OSError, ValueError) as error:  # ValueError: an empty file
            raise UserError(f"{folder / LINES} is missing or empty; export the bundle again") from error
        if len(offsets) != count + 1 or len(hashes) != count:
            raise UserError(f"{folder}: {OFFSETS} has {len(offsets) - 1:,} rows; the manifest says {count:,}")
        if offsets[0] != 0 or offsets[-1] != len(lines) or (np.diff(offsets) <= 0).any():
            raise UserError(f"{folder}: {OFFSETS} does not fit {LINES}; export the bundle again")
        return cls(columns, lines, offsets, hashes, str(folder))


def map_array(path: Path, dtype: Any) -> NDArray[Any]:
    """Map a one-dimensional array of a bundle into memory.

    Raises:
        UserError: the file is missing or damaged, or holds another type.
    """
    try:
        array: NDArray[Any] = np.asarray(np.lib.format.open_memmap(path, mode="r"))  # never unpickles
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        raise UserError(f"{path} is missing or damaged; export the bundle again") from error
    if array.dtype != np.dtype(dtype) or array.ndim != 1:
        raise UserError(f"{path} holds {array.ndim} dimensions of {array.dtype}; export the bundle again")
    return array
