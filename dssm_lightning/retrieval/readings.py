"""What the raw values of a query or a candidate become, with the candidates that a history may name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dssm_lightning.features.history import History
from dssm_lightning.features.readings import Reading
from dssm_lightning.features.schema import Schema
from dssm_lightning.retrieval.candidate_rows import CandidateRows


def read_record(schema: Schema, record: Mapping[str, Any], rows: CandidateRows) -> list[Reading]:
    """Return what the values of a record become in each feature; a history of candidates knows those of the corpus.

    Raises:
        UserError: a feature refuses a value.
    """
    readings = []
    for feature in schema:
        value = record.get(feature.source_column)
        if isinstance(feature, History) and feature.of_candidates:
            readings.append(feature.read(value, rows.find))
        else:
            readings.append(feature.read(value))
    return readings
