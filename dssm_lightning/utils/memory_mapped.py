"""Large arrays and tables in temporary files that are mapped into memory and processed in blocks.

Arrays of up to :data:`BLOCK` rows stay in memory. The temporary files are created in the folder ``TMPDIR``. A mapped
file has no name any more; the system deletes it when its last user ends.
"""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile, gettempdir
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Array: TypeAlias = NDArray[Any]

BLOCK = 1 << 22
"""Number of rows above which an array is stored in a file; also the number of rows that are processed at a time."""
LARGE_FILE = 1 << 26
"""Number of bytes in a source's files above which its rows are not read into memory."""


class Spool:
    """A temporary file to which arrays are appended, and which is then mapped as one array.

    The first array determines the type and the shape of a row.

    Args:
        folder: folder of the temporary file; None = the folder ``TMPDIR``.

    Example:
        >>> spool = Spool()
        >>> for part in (np.arange(3), np.arange(3, 5)):
        ...     spool.append(part)
        >>> spool.mapped().tolist()
        [0, 1, 2, 3, 4]
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = Path(gettempdir()) if folder is None else folder
        self._file = TemporaryFile(prefix="dssm-lightning-", dir=self._folder)  # noqa: SIM115  closed when it is mapped
        self._like: Array | None = None
        self._rows = 0

    def __del__(self) -> None:
        # OSError: the disk is full and buffered rows cannot be written. AttributeError: the file could not be created.
        with suppress(OSError, AttributeError):
            self._file.close()  # still open if an error came before `mapped`

    def append(self, part: Array) -> None:
        """Append rows (n, …) to the file.

        Raises:
            OSError: the disk is full. The message names the folder and the environment variable TMPDIR.
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
                f"{error.strerror}: a temporary file in {self._folder} needs more than {written:,} MiB; set the "
                "environment variable TMPDIR to another folder",
            ) from error
        self._rows += len(part)

    def mapped(self) -> Array:
        """Map all rows (N, …). Writing to the array changes a copy of the page, not the file."""
        assert self._like is not None
        with self._file as file:
            shape = (self._rows, *self._like.shape[1:])
            if 0 in shape:
                return np.empty(shape, self._like.dtype)
            return np.memmap(file, self._like.dtype, "c", shape=shape)


def spooled(parts: Iterable[Array]) -> Array:
    """Concatenate parts (n, …), at least one, into one mapped array."""
    spool = Spool()
    for part in parts:
        spool.append(part)
    return spool.mapped()


def spooled_together(parts: Iterable[Mapping[str, Array]], total: int) -> dict[str, Array]:
    """Concatenate the arrays (n,) of each name into mapped arrays; of up to BLOCK rows in total there is one part."""
    if total <= BLOCK:
        (part,) = parts
        return dict(part)
    spools: defaultdict[str, Spool] = defaultdict(Spool)
    for part in parts:
        for name, array in part.items():
            spools[name].append(array)
    return {name: spool.mapped() for name, spool in spools.items()}


def blocks(total: int) -> Iterator[slice]:
    """Yield slices of at most :data:`BLOCK` rows that cover the rows 0 … total − 1."""
    return (slice(start, min(start + BLOCK, total)) for start in range(0, total, BLOCK))


def gathered(column: Tensor, rows: Tensor) -> Tensor:
    """Return ``column[rows]``, mapped from a file if it is large."""
    import torch

    if len(rows) <= BLOCK:
        return column.index_select(0, rows)  # a third of the time of column[rows]
    return torch.from_numpy(spooled(column.index_select(0, rows[block]).numpy() for block in blocks(len(rows))))


def where(chosen: Iterable[Tensor], total: int) -> Tensor:
    """Return the numbers of the chosen rows, int64, ascending.

    Args:
        chosen: for each of the :func:`blocks`, (n,) bool.
        total: number of rows in all blocks.
    """
    import torch

    if total <= BLOCK:
        return torch.cat([part.nonzero().squeeze(1) for part in chosen] or [torch.zeros(0, dtype=torch.int64)])
    starts = (block.start for block in blocks(total))
    return torch.from_numpy(
        spooled((part.nonzero().squeeze(1) + start).numpy() for start, part in zip(starts, chosen, strict=True))
    )


def ranges(keys: Tensor, offsets: Tensor) -> Iterator[Tensor]:
    """Partition rows by ranges of keys; yield the row numbers of one range after the other.

    Each range has about :data:`BLOCK` rows, in ascending order. The keys are read twice and need 4 bytes each on disk,
    however many ranges there are.

    Args:
        keys: (R,) int64 in [0, K).
        offsets: (K + 1,) int64: number of rows with a smaller key.
    """
    import torch
    import torch.nn.functional as F

    if len(keys) <= BLOCK:
        yield torch.arange(len(keys))
        return
    limits = torch.searchsorted(offsets, torch.arange(BLOCK, len(keys), BLOCK))
    limits = torch.unique_consecutive(limits)
    limits = limits[offsets[limits] < len(keys)]  # first key of each range after the first one; no range is empty
    first = F.pad(limits, (1, 1))
    first[-1] = len(offsets) - 1
    range_of = torch.repeat_interleave(torch.arange(len(limits) + 1, dtype=torch.int16), first.diff())  # (K,)
    counts, orders = [], Spool()
    for block in blocks(len(keys)):
        part = range_of.index_select(0, keys[block])
        counts.append(torch.bincount(part, minlength=len(limits) + 1))
        orders.append(part.argsort(stable=True).int().numpy())
    order, ends = torch.from_numpy(orders.mapped()), torch.stack(counts).cumsum(1)  # ends: (blocks, ranges)
    for number in range(len(limits) + 1):
        found = []
        for block, end in zip(blocks(len(keys)), ends, strict=True):
            start = block.start + (int(end[number - 1]) if number else 0)
            found.append(order[start : block.start + int(end[number])].long() + block.start)
        yield torch.cat(found)


def in_row_order(values: Tensor, rows: Tensor, lengths: list[int]) -> Tensor:
    """Return the value of each row, from values in the order of :func:`ranges`.

    Args:
        values: (R,).
        rows: (R,) the row number of each value: those of one range after the other, ascending in each.
        lengths: number of rows of each range.
    """
    import torch

    if len(lengths) == 1:
        return values  # the only range has the rows in their order

    def parts() -> Iterator[Array]:
        for block in blocks(len(rows)):
            found = torch.empty(block.stop - block.start, dtype=values.dtype)
            for own, value in zip(torch.split(rows, lengths), torch.split(values, lengths), strict=True):
                first, last = torch.searchsorted(own, torch.tensor([block.start, block.stop])).tolist()
                found[own[first:last] - block.start] = value[first:last]
            yield found.numpy()

    return torch.from_numpy(spooled(parts()))


# -- frames ------------------------------------------------------------------------------------------------------------


def numbers(column: pl.Series, dtype: type[pl.DataType]) -> Tensor:
    """Convert a column (R,) without nulls to a tensor of the given type."""
    import torch

    if len(column) <= BLOCK:
        return torch.from_numpy(column.cast(dtype).to_numpy().copy())
    return torch.from_numpy(spooled(column[block].cast(dtype).to_numpy() for block in blocks(len(column))))


def evaluated(query: pl.LazyFrame, rows: int) -> Tensor:
    """Compute a query with one column (rows,) without nulls; a long column is streamed into a file."""
    import torch

    if rows <= BLOCK:
        return torch.from_numpy(query.collect().to_series().to_numpy().copy())
    parts = query.collect_batches(chunk_size=BLOCK, maintain_order=True, engine="streaming")
    return torch.from_numpy(spooled(part.to_series().to_numpy() for part in parts))


def frame(query: pl.LazyFrame) -> pl.DataFrame:
    """Compute a query as a stream into a file, and map the file.

    Mapping needs the package pyarrow. Without it, the result is held in memory, with a warning if it is long.
    """
    try:
        import pyarrow as arrow  # type: ignore[import-untyped]  # pyarrow has no types
    except ImportError:
        found = query.collect(engine="streaming")
        if len(found) > BLOCK:
            warnings.warn(
                f"a table of {len(found):,} rows is held in memory ({int(found.estimated_size()) >> 20:,} MiB), "
                "because pyarrow is missing; to map it from a file: pip install 'dssm-lightning[large]'",
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
    mapped = pl.from_arrow(table, rechunk=False)  # True would copy the table into memory
    assert isinstance(mapped, pl.DataFrame)
    return mapped
