"""A query's text feature that takes the vocabulary of a candidate's, so that both can share a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from dssm_lightning.features.base import Feature
from dssm_lightning.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class SharedVocabulary:
    """The field of a feature that can take the vocabulary of another one."""

    vocabulary_field: ClassVar[str] = "vocabulary"
    """Name of the field that holds the vocabulary."""

    vocabulary_of: str | None = None
    """Name of the candidate feature, of the same class, whose vocabulary a query feature takes; None = its own. Only
    features with equal vocabularies can share a table (``tied_embeddings``)."""


def take_vocabulary(feature: Feature, candidates: Iterable[Feature]) -> Feature:
    """Return a query feature with the vocabulary of the fitted candidate feature that its ``vocabulary_of`` names.

    Any other feature is returned unchanged.

    Raises:
        UserError: no candidate feature has this name, or it is of another class.

    Example:
        >>> from dssm_lightning.features import Words
        >>> title = Words(name="title", vocabulary=("red", "shoe"))
        >>> take_vocabulary(Words(name="query", vocabulary_of="title"), [title]).vocabulary
        ('red', 'shoe')
    """
    if not isinstance(feature, SharedVocabulary) or feature.vocabulary_of is None:
        return feature
    known = {each.name: each for each in candidates}
    owner, kind = known.get(feature.vocabulary_of), type(feature)
    if type(owner) is not kind:
        fitting = [name for name, each in known.items() if type(each) is kind]
        found = "is no candidate feature" if owner is None else f"is a {type(owner).__name__}"
        raise UserError(
            f"query feature {feature.name!r}: vocabulary_of names {feature.vocabulary_of!r}, which {found}; it must "
            f"name a {kind.__name__} of the candidate ({', '.join(fitting) or 'there is none'})"
        )
    return replace(feature, **{feature.vocabulary_field: getattr(owner, feature.vocabulary_field)})
