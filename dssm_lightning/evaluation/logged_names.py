"""The names of the metrics that each validation logs, which a checkpoint or a stop can watch."""

from __future__ import annotations

from dssm_lightning.data.interactions import VALIDATION
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.evaluation.embedding_geometry import GEOMETRY
from dssm_lightning.evaluation.evaluator import Evaluation


def logged_names(evaluation: Evaluation, data: RetrievalData) -> list[str]:
    """Return the names, without those of objectives that no validation row is a positive of.

    Args:
        evaluation: of the validation rows.
        data: prepared.
    """
    never = tuple(f"{name}/" for name in unmeasured_objectives(data))
    names = (*evaluation.names, *GEOMETRY)
    return ["train/loss", *(f"val/{name}" for name in names if not name.startswith(never))]


def unmeasured_objectives(data: RetrievalData) -> list[str]:
    """Return the objectives that none of the validation rows is a positive of; without such rows, none."""
    prepared = data.data
    rows = prepared.interactions.rows(VALIDATION)
    if prepared.interactions.objectives is None or not len(rows):
        return []
    measured = prepared.interactions.objectives[rows].any(0).tolist()
    return [name for name, found in zip(prepared.objectives, measured, strict=True) if not found]
