"""A file with the best candidates of many queries."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dssm_lightning.retrieval.column_kinds import TIMES, of_kind
from dssm_lightning.utils.atomic_files import atomic_write
from dssm_lightning.utils.errors import UserError, require_choice

if TYPE_CHECKING:
    import polars as pl

    from dssm_lightning.retrieval.corpus import Corpus
    from dssm_lightning.retrieval.retriever import Hit

SUFFIXES = (".parquet", ".csv", ".jsonl")
RANK, SCORE = "rank", "score"


class TopKWriter:
    """Writes a row for each hit: the query's id, the rank from 1, the candidate's id, its score, its display columns.

    Each batch waits on the disk, as a Parquet file of its own. At the end Polars streams all of them into the output.
    A million queries thus take no more memory than a batch, in each format, and no further package is needed.

    Args:
        folder: a temporary folder for the batches.
        corpus: the candidates; they determine the types of the columns.
        display: the columns that are shown beside an answer.
        query_name: the name of the query's id.
        suffix: of the output. CSV holds lists and objects as JSON.
    """

    def __init__(self, folder: Path, corpus: Corpus, display: Sequence[str], query_name: str, suffix: str) -> None:
        key = corpus.rows.columns[0]
        self._shown = [name for name in display if name != key]
        self._names = [_free(name, (RANK, SCORE), "candidate_") for name in (key, *self._shown)]
        self._query_name = _free(query_name, (RANK, SCORE, *self._names), "query_")
        self._folder, self._suffix, self._parts = folder, suffix, 0
        columns = zip(self._names, (key, *self._shown), strict=True)
        self._types = {name: _type_of(corpus, column) for name, column in columns}

    def add(self, ids: pl.Series, answers: Sequence[Sequence[Hit]]) -> None:
        """Add the hits of some queries, whose ids (n,) are given."""
        import numpy as np
        import polars as pl

        lengths = np.array([len(hits) for hits in answers])
        hits = [hit for each in answers for hit in each]
        rank = np.concatenate([np.arange(1, length + 1, dtype=np.int64) for length in lengths])
        values: list[list[Any]] = [[hit.id for hit in hits]]
        values += [[hit.display[name] for hit in hits] for name in self._shown]
        columns = [self._series(name, own) for name, own in zip(self._names, values, strict=True)]
        scores = pl.Series(SCORE, np.array([hit.score for hit in hits], np.float32))
        queries = ids.gather(np.repeat(np.arange(len(ids)), lengths)).alias(self._query_name)
        frame = pl.DataFrame([queries, pl.Series(RANK, rank), columns[0], scores, *columns[1:]])
        frame.write_parquet(self._folder / f"{self._parts:06d}.parquet", compression="lz4")
        self._parts += 1

    def join(self, output: Path) -> None:
        """Write all hits, in the order in which they were added."""
        import polars as pl

        scan = pl.scan_parquet([self._folder / f"{number:06d}.parquet" for number in range(self._parts)], glob=False)
        if self._suffix == ".csv":
            scan.sink_csv(output)
        elif self._suffix == ".jsonl":
            scan.sink_ndjson(output)
        else:
            scan.sink_parquet(output)

    def _series(self, name: str, values: list[Any]) -> pl.Series:
        import polars as pl

        dtype, kind = self._types[name]
        if self._suffix == ".csv" and dtype.is_nested():
            values, dtype = [None if v is None else json.dumps(v, ensure_ascii=False) for v in values], pl.String()
        elif kind in TIMES:
            values = [of_kind(value, kind, name) for value in values]
        return pl.Series(name, values, dtype, strict=False)


@contextmanager
def topk_file(output: Path, corpus: Corpus, display: Sequence[str], query_name: str) -> Iterator[TopKWriter]:
    """Yield a writer; at the end its hits are in the output, or nothing has changed.

    Raises:
        OSError: the file or its folder cannot be written.
    """
    with atomic_write(output) as temporary, TemporaryDirectory(prefix="dssm-lightning-") as folder:
        writer = TopKWriter(Path(folder), corpus, display, query_name, output.suffix)
        yield writer
        writer.join(temporary)


def require_output(output: Path) -> None:
    """Refuse an output that is a folder, or whose format is not known.

    Raises:
        UserError: such an output.
    """
    if output.is_dir():
        raise UserError(f"--output {output} is a folder; name a file that ends in {', '.join(SUFFIXES)}")
    require_choice(f"--output {output}", "the suffix", output.suffix, SUFFIXES)


def _type_of(corpus: Corpus, column: str) -> tuple[pl.DataType, str]:
    """Return the type of a column of candidates, and its kind."""
    import polars as pl

    from dssm_lightning.retrieval.candidate_tables import series_of

    found = series_of(corpus.rows, column, corpus.kinds).dtype
    return (pl.String() if found == pl.Null else found), corpus.kinds.get(column, "other")


def _free(name: str, taken: Sequence[str], prefix: str) -> str:
    """Return a name that no other column has."""
    while name in taken:
        name = prefix + name
    return name
