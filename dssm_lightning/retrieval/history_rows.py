"""The candidates in a query's own history, which a search may leave out."""

from __future__ import annotations

from dataclasses import replace

from dssm_lightning.features.categorical import Categorical
from dssm_lightning.features.history import History
from dssm_lightning.features.schema import Schema
from dssm_lightning.retrieval.candidate_rows import CandidateRows
from dssm_lightning.retrieval.raw_encoder import Record
from dssm_lightning.utils.errors import UserError


def history_rows(schema: Schema, record: Record, rows: CandidateRows) -> frozenset[int]:
    """Return the corpus rows of a query's histories, without their ``max_length``.

    Args:
        schema: the query's features.
        record: the query's values by column name.
        rows: the candidates.

    Raises:
        UserError: no query feature is a history of candidates.
    """
    key = rows.columns[0]
    histories = [each for each in schema if isinstance(each, History) and names_candidates(each, key)]
    if not histories:
        raise UserError(f"exclude_history: no query feature is a history of {key!r}; query features are {schema.names}")
    found: set[int] = set()
    for history in histories:
        whole = replace(history, max_length=None)
        found |= set(whole.encode_ids([record.get(history.source_column)], rows.find).values.tolist())
    return frozenset(found)


def names_candidates(history: History, key: str) -> bool:
    """Return whether the entries are whole candidates or their ids, and not values of an attribute.

    Args:
        history: of a query.
        key: the column of the candidates' ids.
    """
    item = history.item
    by_id = isinstance(item, Categorical) and item.source_column == key and item.prefix is None
    return item is None or by_id
