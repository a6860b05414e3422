"""Methods without gradients that a trained model must beat, measured by the same evaluation."""

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
    """Return every baseline with its usual settings, and EASE with three weights of its penalty.

    Args:
        attributes: names of categorical candidate features; each gets its own :class:`AttributePopularity`.

    Example:
        >>> [str(baseline) for baseline in default_baselines(["genres"])][:2]
        ['Popularity()', "AttributePopularity(attribute='genres')"]
    """
    by_attribute = [AttributePopularity(name) for name in attributes]
    eases = [EASE(l2=100.0), EASE(l2=300.0), EASE(l2=1000.0)]
    by_terms = [TermBaseline(TfIdf()), TermBaseline(BM25())]
    return [PopularityBaseline(), *by_attribute, ItemKNN(), *eases, LabelMeans(), ContentTfIdf(), *by_terms]
