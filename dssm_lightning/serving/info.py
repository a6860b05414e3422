"""What a bundle says of itself at ``GET /info``, on which the page is built."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

import dssm_lightning
from dssm_lightning.features.base import Feature
from dssm_lightning.features.categorical import Categorical, CategoricalList
from dssm_lightning.features.history import History
from dssm_lightning.features.image import Image
from dssm_lightning.features.liked_by import LikedBy
from dssm_lightning.features.schema import Schema
from dssm_lightning.features.vector import Vector
from dssm_lightning.retrieval.bundle.manifest import Manifest
from dssm_lightning.retrieval.bundle.reading import METRICS
from dssm_lightning.retrieval.column_kinds import TIMES
from dssm_lightning.retrieval.corpus import Corpus
from dssm_lightning.retrieval.filters.columns import NUMBERS, TEXTS, TRUTHS, Column
from dssm_lightning.retrieval.history_rows import names_candidates
from dssm_lightning.retrieval.raw_records import needed_columns
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.serving.settings import ServingSettings
from dssm_lightning.utils.errors import UserError

MOST_CHOICES = 200
"""Values of a vocabulary that are listed."""
MOST_VALUES = 50
"""A column with more distinct values has none listed."""
MOST_ROWS = 200_000
"""Columns of more candidates are not read through."""
_KINDS = {NUMBERS: "number", TEXTS: "text", TRUTHS: "truth"}


def server_info(settings: ServingSettings, bundles: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the answer to ``GET /info``.

    Args:
        settings: of the server.
        bundles: the facts of each bundle, as :func:`bundle_facts` returns them.
    """
    return {
        "version": dssm_lightning.__version__,
        "token_required": settings.token is not None,
        "limits": asdict(settings.limits),
        "bundles": list(bundles),
    }


def bundle_facts(name: str, checksum: str, retriever: Retriever, manifest: Manifest) -> dict[str, Any]:
    """Return what clients may know of a bundle; its texts are those of the manifest, and hold no path of the server."""
    corpus = retriever.corpus
    return {
        "name": name,
        "checksum": checksum,
        "candidates": len(retriever),
        "width": manifest.corpus.width,
        "scorer": manifest.scorer,
        "id_column": manifest.corpus.id_column,
        "columns": manifest.corpus.columns,
        "display": list(retriever.display),
        "source": manifest.source,
        "versions": manifest.versions,
        "metrics": _metrics(retriever),
        "hybrid": corpus.terms is not None and bool(retriever.query_texts),
        "pictures": corpus.pictures is not None,
        "history": history_column(retriever.schemas.query, manifest.corpus.id_column),
        "query_columns": query_columns(retriever.schemas.query),
        "filters": [facts for column in corpus.rows.columns if (facts := filter_facts(corpus, column)) is not None],
    }


def history_column(schema: Schema, key: str) -> str | None:
    """Return the query's column that is a history of candidates' ids; None if there is none."""
    histories = [each for each in schema if isinstance(each, History) and names_candidates(each, key)]
    return histories[0].source_column if histories else None


def query_columns(schema: Schema) -> list[dict[str, Any]]:
    """Return what a query may have, one object for each column.

    Example:
        >>> from dssm_lightning.features import HashedWords
        >>> columns = query_columns(Schema((HashedWords(name="words", num_buckets=9),)))
        >>> columns[0]["column"], columns[0]["text"], columns[0]["needed"]
        ('words', True, True)
    """
    needed = needed_columns(schema)
    columns: dict[str, list[Feature]] = {}
    for feature in schema:
        columns.setdefault(feature.source_column, []).append(feature)
    return [_column(column, features, column in needed) for column, features in columns.items()]


def _column(column: str, features: list[Feature], is_needed: bool) -> dict[str, Any]:
    choices = next((each.vocabulary for each in features if isinstance(each, Categorical | CategoricalList)), None)
    histories = [each for each in features if isinstance(each, History)]
    return {
        "column": column,
        "feature": features[0].name,
        "kind": type(features[0]).__name__,
        "needed": is_needed,
        "choices": None if choices is None else list(choices[:MOST_CHOICES]),
        "text": any(each.reads_text for each in features),
        "picture": any(isinstance(each, Image) for each in features),
        "list": any(isinstance(each, CategoricalList | History | LikedBy | Vector) for each in features),
        "age": histories[0].age if histories else None,
    }


def filter_facts(corpus: Corpus, name: str) -> dict[str, Any] | None:
    """Return by what a column of the candidates can be filtered; None if it cannot be."""
    kind = corpus.kinds.get(name, "other")
    if len(corpus.rows) > MOST_ROWS:
        return None if kind == "other" else _facts(name, kind, False, None, None, None)
    values = corpus.rows.column(name)
    if kind in TIMES:
        present = sorted({value for value in values if isinstance(value, str)})
        return _facts(name, kind, False, _few(present), *_ends(present))
    try:
        column = Column.of(name, values)
    except UserError:
        return None
    if column.kind not in _KINDS:
        return None
    distinct = np.unique(column.values).tolist()
    is_list = any(isinstance(value, list) for value in values)
    ends = _ends(distinct) if column.kind == NUMBERS else (None, None)
    return _facts(name, _KINDS[column.kind], is_list, _few(distinct), *ends)


def _facts(column: str, kind: str, is_list: bool, values: Any, least: Any, most: Any) -> dict[str, Any]:
    return {"column": column, "kind": kind, "list": is_list, "values": values, "min": least, "max": most}


def _few(distinct: list[Any]) -> list[Any] | None:
    return distinct if len(distinct) <= MOST_VALUES else None


def _ends(distinct: list[Any]) -> tuple[Any, Any]:
    return (distinct[0], distinct[-1]) if distinct else (None, None)


def _metrics(retriever: Retriever) -> dict[str, Any]:
    """Return what the bundle says of its measurements; nothing where it says nothing that can be read."""
    assert retriever.folder is not None
    try:
        found = json.loads((retriever.folder / METRICS).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
