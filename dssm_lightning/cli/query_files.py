"""The queries of a file, in batches: raw values, or stored embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import warn
from dssm_lightning.utils.suggestions import did_you_mean

if TYPE_CHECKING:
    import polars as pl

    from dssm_lightning.retrieval.retriever import Retriever
    from dssm_lightning.retrieval.towers import Floats

ROW = "row"
"""The name of a query's id that is the number of its row, from 0."""


class QueryBatch(NamedTuple):
    """Consecutive queries of a file."""

    start: int  # row of the first one
    ids: pl.Series
    records: list[dict[str, Any]] | None  # raw values by column name
    embeddings: Floats | None  # (n, D)


class QueryFile:
    """Queries of a file.

    A table (CSV, TSV, JSON Lines, Parquet) has the raw columns of queries. A Parquet file with the columns ``id`` and
    ``vector``, which ``predict`` writes, and a safetensors file with one tensor (Q, D) hold embeddings.

    Args:
        path: the file.
        retriever: of the model that answers.
        id_column: the column that identifies a query; None = the first one that the model does not read, or else the
            number of the row.

    Raises:
        UserError: a file that cannot be read, is empty, or has none of the columns that the model reads; vectors of
            another width; a column that does not exist.
        FileNotFoundError: no such file.
    """

    def __init__(self, path: str, retriever: Retriever, id_column: str | None = None) -> None:
        self.path, self._columns = path, _columns_of(retriever)
        self._frame: pl.DataFrame | None = None
        self._embeddings: Floats | None = None
        if path.endswith(".safetensors"):
            _require_no_id(path, id_column)
            self._embeddings = _tensor_of(path)
            self.count = len(self._embeddings)
        else:
            self._frame = _table(path)
            self.count = len(self._frame)
        if not self.count:
            raise UserError(f"--queries {path} has no query: it has no row")
        if self._frame is not None:
            names = set(self._frame.columns)
            if "vector" not in self._columns and {"vector"} <= names <= {"id", "vector", "head"}:
                self._embeddings = _vectors_of(path, self._frame, retriever)
            else:
                self._columns = self._present(self._frame)
        if self._embeddings is not None:
            _require_width(path, self._embeddings, retriever)
        self.id_column = self._identified_by(id_column)

    @property
    def holds_embeddings(self) -> bool:
        """Whether the file holds embeddings, and no raw values."""
        return self._embeddings is not None

    def batches(self, size: int) -> Iterator[QueryBatch]:
        """Yield the queries in batches of at most ``size`` rows."""
        import polars as pl

        for start in range(0, self.count, size):
            stop = min(start + size, self.count)
            part = None if self._frame is None else self._frame.slice(start, stop - start)
            ids = pl.Series(ROW, range(start, stop), pl.Int64)
            if self.id_column is not None:
                assert part is not None
                ids = part[self.id_column]
            if self._embeddings is not None:
                yield QueryBatch(start, ids, None, self._embeddings[start:stop])
            else:
                assert part is not None
                yield QueryBatch(start, ids, part.select(self._columns).to_dicts(), None)

    def _present(self, frame: pl.DataFrame) -> list[str]:
        """Return the columns of the file that the model reads."""
        found = [name for name in self._columns if name in frame.columns]
        missing = [name for name in self._columns if name not in found]
        if not found:
            raise UserError(
                f"--queries {self.path} has the columns {frame.columns}, and none of those that the model reads: "
                f"{self._columns}{did_you_mean(self._columns[0], frame.columns)}"
            )
        if missing:
            others = [name for name in frame.columns if name not in found]
            warn(f"--queries {self.path} has no column {missing}: the values are missing ones; others are {others}")
        return found

    def _identified_by(self, id_column: str | None) -> str | None:
        names: Sequence[str] = [] if self._frame is None else self._frame.columns
        if id_column is not None:
            if id_column not in names:
                raise UserError(
                    f"--id_column {id_column}: --queries {self.path} has no such column; it has {list(names)}"
                    f"{did_you_mean(id_column, names)}"
                )
            if self._is_nested(id_column):
                raise UserError(f"--id_column {id_column}: lists and objects cannot identify a query")
            return id_column
        read = ["vector", "head"] if self._embeddings is not None else self._columns
        return next((name for name in names if name not in read and not self._is_nested(name)), None)

    def _is_nested(self, name: str) -> bool:
        return self._frame is not None and self._frame.schema[name].is_nested()


def embedded(file: QueryFile, retriever: Retriever, most: int) -> Floats:
    """Return the embeddings (≤ most, D) of the first queries of a file. Errors as for :func:`explained`."""
    batch = next(file.batches(most))
    if batch.embeddings is not None:
        return batch.embeddings
    assert batch.records is not None
    try:
        return retriever.encode_query(batch.records)
    except UserError as error:
        raise explained(file, batch, error) from error


def explained(file: QueryFile, batch: QueryBatch, error: UserError) -> UserError:
    """Return an error about queries with the file and the rows in which they are."""
    last = batch.start + len(batch.ids)
    return UserError(f"--queries {file.path}, in rows {batch.start + 1:,} to {last:,}: {error}")


def _columns_of(retriever: Retriever) -> list[str]:
    return list(dict.fromkeys(feature.source_column for feature in retriever.schemas.query))


def _require_no_id(path: str, id_column: str | None) -> None:
    if id_column is not None:
        raise UserError(f"--id_column {id_column} means nothing with --queries {path}: a tensor has no columns")


def _table(path: str) -> pl.DataFrame:
    from dssm_lightning.data.sources.reading import read

    return read(path, "--queries")


def _tensor_of(path: str) -> Floats:
    import numpy as np
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise UserError(f"--queries {path}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            if len(names) != 1:
                raise UserError(f"--queries {path} has the tensors {names}; it must have one, of shape (Q, D)")
            found = file.get_tensor(names[0])
    except (SafetensorError, OSError, TypeError) as error:  # the last: a type that NumPy lacks
        raise UserError(f"--queries {path} cannot be read as safetensors: {error}") from error
    if found.ndim != 2 or found.dtype.kind != "f":
        raise UserError(
            f"--queries {path}: the tensor is {found.dtype} of shape {found.shape}; it must be (Q, D) floats"
        )
    return np.ascontiguousarray(found, np.float32)


def _vectors_of(path: str, frame: pl.DataFrame, retriever: Retriever) -> Floats:
    """Return the vectors of a file of ``predict``, which must be the embeddings themselves."""
    import numpy as np
    import polars as pl

    column = frame["vector"]
    widths = column.list.len() if isinstance(column.dtype, pl.List) else None
    if column.null_count() or not isinstance(column.dtype, pl.List | pl.Array):
        raise UserError(f"--queries {path}: the column 'vector' has a row that is no list of numbers")
    if widths is not None:
        if widths.n_unique() > 1:
            raise UserError(f"--queries {path}: the lists of 'vector' are not equally long")
        column = column.list.to_array(int(widths[0]) if len(widths) else 1)
    found = np.ascontiguousarray(column.to_numpy(), np.float32)
    probe = found[:1]
    several = "head" in frame.columns
    if not several:
        _require_width(path, found, retriever)
    if several or not np.array_equal(retriever.towers.vectors(probe), probe[None], equal_nan=True):
        raise UserError(
            f"--queries {path}: the vectors of {retriever.towers.scorer}, as predict writes them, are not its "
            "embeddings; give raw values, or what Retriever.encode_query returns as a safetensors file"
        )
    return found


def _require_width(path: str, vectors: Floats, retriever: Retriever) -> None:
    width = retriever.corpus.embeddings.shape[1]
    if vectors.shape[1] != width:
        raise UserError(f"--queries {path}: the vectors are {vectors.shape[1]} wide; the model's are {width} wide")
