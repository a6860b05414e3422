"""What would be large in memory lies in a file that is mapped into it instead, and is worked on in blocks.

Up to :data:`BLOCK` rows nothing is different from arrays in memory. Files are temporary, in the folder that ``TMPDIR``
names: they have no name any more when they are mapped, and are gone with the last who uses them.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile, gettempdir
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

Array: TypeAlias = NDArray[Any]

BLOCK = 1 << 22
"""Rows from which on a file takes the place of memory, and rows that are worked on at a time."""
LARGE_FILE = 1 << 26
"""Bytes of a source's files from which on its rows are not read into memory."""


class Spool:
    """Arrays that are written one after the other, and mapped as one; the first says of which type and shape.

    Args:
        folder: where the file lies; None = where ``TMPDIR`` says.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = Path(gettempdir()) if folder is None else folder
        self._file = TemporaryFile(prefix="dssm-lightning-", dir=self._folder)  # noqa: SIM115  closed when it is mapped
        self._like: Array | None = None
        self._rows = 0

    def __del__(self) -> None:
        # on a full disk it cannot write what it still holds; where no file could be made there is none
        with suppress(OSError, AttributeError):
            self._file.close()  # where an error came before it was mapped

    def append(self, part: Array) -> None:
        """Write rows (n, …).

        Raises:
            OSError: the disk is full; the message names the folder.
        """
        if self._like is None:
            self._like = part[:0]
        assert part.dtype == self._like.dtype
        try:
            self._file.write(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
            self._file.flush()
        except OSError as error:
            written = self._rows * part[:1].nbytes >> 20
            raise OSError(
                error.errno,
                f"{error.strerror}: a temporary file of {written:,} MiB and more in {self._folder}; the environment "
                "variable TMPDIR names another folder",
            ) from error
        self._rows += len(part)

    def mapped(self) -> Array:
        """(N, …) all that was written. Pages are shared with the file until somebody writes to them."""
        assert self._like is not None
        with self._file as file:
            shape = (self._rows, *self._like.shape[1:])
            if 0 in shape:
                return np.empty(shape, self._like.dtype)
            return np.memmap(file, self._like.dtype, "c", shape=shape)


def spooled(parts: Iterable[Array]) -> Array:
    """The parts (n, …), at least one, as one mapped array."""
    spool = Spool()
    for part in parts:
        spool.append(part)
    return spool.mapped()


def blocks(total: int) -> Iterator[slice]:
    """The rows 0 … total − 1, so many at a time; none at all where there are none."""
    return (slice(start, min(start + BLOCK, total)) for start in range(0, total, BLOCK))


def gathered(column: Tensor, rows: Tensor) -> Tensor:
    """``column[rows]``."""
    if len(rows) <= BLOCK:
        return column[rows]
    return torch.from_numpy(spooled(column[rows[block]].numpy() for block in blocks(len(rows))))


def where(chosen: Iterable[Tensor], total: int) -> Tensor:
    """(·,) int64: the rows that are chosen, of so many; ``chosen`` (n,) bool of each of the :func:`blocks`."""
    if total <= BLOCK:
        return torch.cat([part.nonzero().squeeze(1) for part in chosen] or [torch.zeros(0, dtype=torch.int64)])
    starts = (block.start for block in blocks(total))
    return torch.from_numpy(
        spooled((part.nonzero().squeeze(1) + start).numpy() for start, part in zip(starts, chosen, strict=True))
    )


def ranges(keys: Tensor, offsets: Tensor) -> Iterator[Tensor]:
    """Rows of one range of keys after another, of about :data:`BLOCK` rows each, ascending within a range.

    Two passes over the keys, and 4 bytes on disk for each, whatever the number of ranges.

    Args:
        keys: (R,) int64 in [0, K).
        offsets: (K + 1,) int64: how many rows have a smaller key.
    """
    if len(keys) <= BLOCK:
        yield torch.arange(len(keys))
        return
    limits = torch.searchsorted(offsets, torch.arange(BLOCK, len(keys), BLOCK))
    limits = torch.unique_consecutive(limits)
    limits = limits[offsets[limits] < len(keys)]  # the first key of each range but the first, none of them empty
    counts, orders = [], Spool()
    for block in blocks(len(keys)):
        part = torch.searchsorted(limits, keys[block], right=True)
        counts.append(torch.bincount(part, minlength=len(limits) + 1))
        orders.append(part.to(torch.int16).argsort(stable=True).int().numpy())
    order, ends = torch.from_numpy(orders.mapped()), torch.stack(counts).cumsum(1)  # ends: (blocks, ranges)
    for number in range(len(limits) + 1):
        found = []
        for block, end in zip(blocks(len(keys)), ends, strict=True):
            start = block.start + (int(end[number - 1]) if number else 0)
            found.append(order[start : block.start + int(end[number])].long() + block.start)
        yield torch.cat(found)


# -- frames ------------------------------------------------------------------------------------------------------------


def numbers(column: pl.Series, dtype: type[pl.DataType]) -> Tensor:
    """(R,) a column without nulls as a tensor of this type."""
    if len(column) <= BLOCK:
        return torch.from_numpy(column.cast(dtype).to_numpy().copy())
    return torch.from_numpy(spooled(column[block].cast(dtype).to_numpy() for block in blocks(len(column))))


def evaluated(query: pl.LazyFrame, rows: int) -> Tensor:
    """(rows,) the one column, without nulls, that a query gives, computed as a stream where it is long."""
    if rows <= BLOCK:
        return torch.from_numpy(query.collect().to_series().to_numpy().copy())
    parts = query.collect_batches(chunk_size=BLOCK, maintain_order=True, engine="streaming")
    return torch.from_numpy(spooled(part.to_series().to_numpy() for part in parts))


def frame(query: pl.LazyFrame) -> pl.DataFrame:
    """What a query gives, computed as a stream, written to a file and mapped.

    Without the package pyarrow, which is what maps frames, it is collected in memory, with a warning if it is long.
    """
    try:
        import pyarrow as arrow  # type: ignore[import-untyped]  # it has no types
    except ImportError:
        found = query.collect(engine="streaming")
        if len(found) > BLOCK:
            warnings.warn(
                f"a table of {len(found):,} rows is held in memory ({int(found.estimated_size()) >> 20:,} MiB): with "
                "pyarrow it would be mapped from a file; pip install 'dssm-lightning[large]'",
                stacklevel=2,
            )
        return found
    with TemporaryDirectory(prefix="dssm-lightning-") as folder:
        path = Path(folder, "frame.arrow")
        query.sink_ipc(path, compression="uncompressed", engine="streaming")
        if not os.path.getsize(path):
            return query.collect()
        with arrow.memory_map(str(path)) as file:
            table = arrow.ipc.open_file(file).read_all()
    made = pl.from_arrow(table, rechunk=False)  # which would copy it into memory
    assert isinstance(made, pl.DataFrame)
    return made
