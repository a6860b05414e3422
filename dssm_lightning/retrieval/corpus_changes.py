"""Another corpus for the same model: candidates that come, go, or take the place of all others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dssm_lightning.features.raw_values import shown
from dssm_lightning.features.text.joined_columns import join_text_values
from dssm_lightning.retrieval.candidate_pictures import CandidatePictures, make_pictures
from dssm_lightning.retrieval.candidate_rows import CandidateRows
from dssm_lightning.retrieval.column_kinds import id_of_kind, of_kind
from dssm_lightning.retrieval.corpus import Corpus
from dssm_lightning.retrieval.raw_encoder import RawEncoder, Record
from dssm_lightning.retrieval.raw_records import record_of
from dssm_lightning.utils.errors import UserError


def with_candidates(corpus: Corpus, encoder: RawEncoder, candidates: Sequence[Mapping[str, Any]]) -> Corpus:
    """Return the corpus with further candidates after its own.

    Args:
        corpus: the corpus.
        encoder: of the model that embedded it.
        candidates: values by column name: the id, what the candidate features read, and columns to show or filter by.

    Raises:
        UserError: an id that the corpus has, that is missing or occurs twice; an unknown column; a value that a
            feature refuses.
    """
    records = _records(corpus, encoder, candidates)
    added = _rows(corpus, records)
    rows = corpus.rows.with_rows(added)
    embeddings = encoder.embed("candidate", records, corpus.rows, corpus.embeddings)
    terms = None if corpus.terms is None else corpus.terms.extended(_texts(encoder, records))
    embeddings = np.concatenate([corpus.embeddings, embeddings])
    pictures = _pictures(corpus, encoder, records)
    if corpus.pictures is not None and pictures is not None:
        pictures = corpus.pictures.with_pictures(pictures)
    return Corpus.build(encoder.towers, rows, embeddings, terms, corpus.kinds, corpus.indexes, pictures)


def without_candidates(corpus: Corpus, encoder: RawEncoder, ids: Iterable[Any]) -> Corpus:
    """Return the corpus without some candidates.

    Raises:
        UserError: an id that the corpus does not have, or all of its ids.
    """
    gone = set()
    for candidate_id in ids:
        row = corpus.rows.find(candidate_id)
        if row is None:
            raise UserError(f"the corpus has no candidate {corpus.rows.columns[0]} = {shown(candidate_id)}")
        gone.add(row)
    if len(gone) == len(corpus.rows):
        raise UserError(f"all {len(gone):,} candidates would be removed; at least one must stay")
    kept = np.delete(np.arange(len(corpus.rows)), sorted(gone))
    terms = None if corpus.terms is None else corpus.terms.without(sorted(gone))
    embeddings = np.ascontiguousarray(corpus.embeddings[kept])
    pictures = None if corpus.pictures is None else corpus.pictures.without(gone)
    rows = corpus.rows.without(gone)
    return Corpus.build(encoder.towers, rows, embeddings, terms, corpus.kinds, corpus.indexes, pictures)


def replaced(corpus: Corpus, encoder: RawEncoder, candidates: Sequence[Mapping[str, Any]]) -> Corpus:
    """Return a corpus of these candidates in place of all others. Errors as for :func:`with_candidates`."""
    if not candidates:
        raise UserError("refresh: there is no candidate; at least one is needed")
    records = _records(corpus, encoder, candidates)
    rows = _rows(corpus, records)
    embeddings = encoder.embed("candidate", records, corpus.rows, corpus.embeddings)
    terms = None if corpus.terms is None else corpus.terms.refitted(_texts(encoder, records))
    pictures = _pictures(corpus, encoder, records)
    return Corpus.build(encoder.towers, rows, embeddings, terms, corpus.kinds, corpus.indexes, pictures)


def _records(corpus: Corpus, encoder: RawEncoder, candidates: Sequence[Mapping[str, Any]]) -> list[Record]:
    columns, key = encoder.columns["candidate"], corpus.rows.columns[0]
    others = [*corpus.rows.columns, *([] if corpus.pictures is None else [corpus.pictures.column])]
    records = []
    for candidate in candidates:
        if not isinstance(candidate, Mapping):
            raise UserError(f"candidate {shown(candidate)} is no object of columns; give its {key!r} and its values")
        record = record_of("candidate", candidate, columns, others)
        if key not in record:
            raise UserError(f"the candidate {shown(dict(record))} has no {key!r}, which is its id")
        records.append(record)
    return records


def _rows(corpus: Corpus, records: Sequence[Record]) -> CandidateRows:
    (key, id_kind), *others = ((name, corpus.kinds.get(name, "other")) for name in corpus.rows.columns)
    values = (
        [id_of_kind(record[key], id_kind, key), *(of_kind(record.get(name), kind, name) for name, kind in others)]
        for record in records
    )
    return CandidateRows.of(corpus.rows.columns, values)


def _pictures(corpus: Corpus, encoder: RawEncoder, records: Sequence[Record]) -> CandidatePictures | None:
    if corpus.pictures is None:
        return None
    column = corpus.pictures.column
    return make_pictures(encoder.schemas.candidate, column, [record.get(column) for record in records])


def _texts(encoder: RawEncoder, records: Sequence[Record]) -> list[str]:
    return join_text_values(records, encoder.schemas.candidate.text_columns)
