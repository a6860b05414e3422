"""Teachers, which score the pairs that a model trains on, and guided negatives, which ask a teacher what counts."""

from dssm_lightning.training.teachers.base import Teacher
from dssm_lightning.training.teachers.checkpoint import CheckpointTeacher
from dssm_lightning.training.teachers.column import ColumnTeacher
from dssm_lightning.training.teachers.ensemble import Ensemble
from dssm_lightning.training.teachers.guided_negatives import GuidedNegatives
from dssm_lightning.training.teachers.terms import BM25Teacher

__all__ = ["BM25Teacher", "CheckpointTeacher", "ColumnTeacher", "Ensemble", "GuidedNegatives", "Teacher"]
