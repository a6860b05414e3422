"""Answer a file of queries, batch by batch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dssm_lightning.cli.query_files import ROW, QueryBatch, QueryFile, explained
from dssm_lightning.cli.topk_files import topk_file
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.progress import track

if TYPE_CHECKING:
    from dssm_lightning.retrieval.retriever import Hit, Retriever, SearchOptions

MOST_QUERIES, MOST_HITS = 8192, 1 << 18
"""Queries and hits of a batch: they bound the memory."""


def answer_file(
    retriever: Retriever, queries: str, output: Path, id_column: str | None, k: int, options: SearchOptions
) -> int:
    """Write the hits of a file of queries, whole or not at all, and return the number of queries.

    Raises:
        UserError: as for :class:`~dssm_lightning.cli.query_files.QueryFile` and
            :meth:`~dssm_lightning.retrieval.retriever.Retriever.search_all`; an option that needs raw values, for a
            file of vectors.
    """
    file = QueryFile(queries, retriever, id_column)
    if file.holds_embeddings:
        for name, given in (
            ("--hybrid", options["hybrid"] is not None),
            ("--exclude_history", options["exclude_history"]),
        ):
            if given:
                raise UserError(f"{name} needs the raw values of queries, and --queries {queries} holds vectors")
    size = max(1, min(MOST_QUERIES, MOST_HITS // k))
    with topk_file(output, retriever.corpus, retriever.display, file.id_column or ROW) as writer:
        for batch in track(file.batches(size), "answering queries", -(-file.count // size)):
            writer.add(batch.ids, _answers(retriever, file, batch, k, options))
    return file.count


def _answers(
    retriever: Retriever, file: QueryFile, batch: QueryBatch, k: int, options: SearchOptions
) -> list[list[Hit]]:
    try:
        if batch.embeddings is not None:
            return retriever.search_vectors(
                batch.embeddings,
                k,
                exclude=options["exclude"],
                filter=options["filter"],
                diversity=options["diversity"],
            )
        assert batch.records is not None
        return retriever.search_all(batch.records, k, **options)
    except UserError as error:
        raise explained(file, batch, error) from error
