"""Baselines: methods without gradients, measured by the evaluation that a model goes through."""

from collections.abc import Iterable

from dssm_lightning.evaluation.baselines.base import Baseline, BaselineData
from dssm_lightning.evaluation.baselines.candidate_content import AttributePopularity, ContentTfIdf
from dssm_lightning.evaluation.baselines.collaborative import EASE, ItemKNN, PopularityBaseline
from dssm_lightning.evaluation.baselines.label_means import LabelMeans
from dssm_lightning.evaluation.baselines.text import TermBaseline
from dssm_lightning.retrieval.term_search import BM25, TfIdf

__all__ = [
    "EASE",
    "AttributePopularity",
    "Baseline",
    "BaselineData",
    "ContentTfIdf",
    "ItemKNN",
    "LabelMeans",
    "PopularityBaseline",
    "TermBaseline",
    "default_baselines",
]


def default_baselines(attributes: Iterable[str] = ()) -> list[Baseline]:
    """Return every baseline with its usual settings, EASE with three weights of its penalty.

    Args:
        attributes: names of the candidates' categories, each with a popularity of its own.
    """
    eases = [EASE(l2=100.0), EASE(l2=300.0), EASE(l2=1000.0)]
    of_attributes = [AttributePopularity(name) for name in attributes]
    by_terms = [TermBaseline(TfIdf()), TermBaseline(BM25())]
    return [PopularityBaseline(), *of_attributes, ItemKNN(), *eases, LabelMeans(), ContentTfIdf(), *by_terms]
