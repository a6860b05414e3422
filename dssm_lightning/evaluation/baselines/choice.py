"""Which baselines are measured: all that the data allow, or those of given names and settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dssm_lightning.evaluation.baselines.base import Baseline, BaselineData
from dssm_lightning.evaluation.baselines.candidate_content import AttributePopularity, ContentTfIdf
from dssm_lightning.evaluation.baselines.ease import EASE
from dssm_lightning.evaluation.baselines.item_knn import ItemKNN
from dssm_lightning.evaluation.baselines.label_means import LabelMeans
from dssm_lightning.evaluation.baselines.pixels import PixelCosine
from dssm_lightning.evaluation.baselines.popularity import PopularityBaseline, RecentPopularity
from dssm_lightning.evaluation.baselines.text import TermBaseline
from dssm_lightning.retrieval.term_search import BM25, TfIdf
from dssm_lightning.utils.errors import UserError, require_choice

PENALTIES = (100.0, 300.0, 1000.0)
"""Usual penalties of EASE."""
WINDOWS = (1.0, 7.0, 30.0)
"""Usual windows of the recent popularity, in days."""
ATTRIBUTES = "AttributePopularity"


def default_baselines(
    attributes: Iterable[str] = (), l2: Sequence[float] = PENALTIES, days: Sequence[float] = WINDOWS
) -> list[Baseline]:
    """Return every baseline with its usual settings: EASE and the recent popularity with three each.

    Args:
        attributes: names of categorical candidate features; each gets its own :class:`AttributePopularity`.
        l2: penalties of EASE.
        days: windows of the recent popularity.

    Example:
        >>> [str(baseline) for baseline in default_baselines(["genres"], days=[7])][:3]
        ['Popularity()', 'RecentPopularity(days=7)', "AttributePopularity(attribute='genres')"]
    """
    by_attribute = [AttributePopularity(name) for name in attributes]
    recent, eases = [RecentPopularity(each) for each in days], [EASE(each) for each in l2]
    by_content = [ContentTfIdf(), TermBaseline(TfIdf()), TermBaseline(BM25()), PixelCosine()]
    return [PopularityBaseline(), *recent, *by_attribute, ItemKNN(), *eases, LabelMeans(), *by_content]


def choose_baselines(
    known: BaselineData, only: Sequence[str] = (), l2: Sequence[float] = (), days: Sequence[float] = ()
) -> list[Baseline]:
    """Return the baselines that can rank with such data.

    Args:
        known: the data.
        only: the names that are wanted, without settings; nothing = all that the data allow.
        l2: penalties of EASE; nothing = the usual ones.
        days: windows of the recent popularity; nothing = the usual ones.

    Raises:
        UserError: an unknown name; a wanted baseline that these data do not allow, with the reason; a setting of a
            baseline that is not wanted.

    Example:
        >>> import torch
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> likes = Ragged.from_lengths(torch.tensor([0, 1]), torch.tensor([2]))
        >>> known = BaselineData(positives=likes, num_candidates=2)
        >>> [str(each) for each in choose_baselines(known, ["EASE"], l2=[500.0])]
        ['EASE(l2=500.0)']
    """
    every = default_baselines(known.attributes, l2 or PENALTIES, days or WINDOWS)
    for name in only:
        require_choice("baseline", "--only", name, list(dict.fromkeys([*map(name_of, every), ATTRIBUTES])))
    for setting, given, owner in (("--l2", l2, "EASE"), ("--days", days, "RecentPopularity")):
        if given and only and owner not in only:
            raise UserError(
                f"{setting} {given[0]:g} is a setting of {owner}, which --only leaves out: add --only {owner}"
            )
    found = [each for each in every if not only or name_of(each) in only]
    allowed = [each for each in found if each.obstacle(known) is None]
    for name in only:
        if name not in map(name_of, allowed):
            reasons = [each.obstacle(known) for each in found if name_of(each) == name]
            raise UserError(f"--only {name}: {next(iter(reasons), 'candidates have no category')}")
    return allowed


def name_of(baseline: Baseline) -> str:
    """Return the name of a baseline without its settings.

    Example:
        >>> name_of(EASE(l2=100.0))
        'EASE'
    """
    return str(baseline).partition("(")[0]
