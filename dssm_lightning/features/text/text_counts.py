"""In how many texts each value occurs: what ``fit`` counts for encoders that weigh rare words more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dssm_lightning.features.base import Feature, has_ids, table_rows
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged_arrays import RaggedArray

if TYPE_CHECKING:
    import polars as pl

_AT_ONCE = 1 << 14
"""Number of texts that are encoded and counted at a time."""


@dataclass(frozen=True, kw_only=True)
class TextCounts:
    """The fields of a feature that can count, when it is fitted, the texts in which each of its ids occurs.

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.features import Words
        >>> feature = Words(name="title", count_texts=True).fit(pl.Series(["the cat", "the dog, the cat", "a dog"]))
        >>> feature.vocabulary, feature.text_counts
        (('the', 'cat', 'dog', 'a'), (0, 2, 2, 2, 1))
        >>> feature.num_texts, feature.mean_length
        (3, 2.6666666666666665)
    """

    count_texts: bool = False
    """Whether ``fit`` counts the texts that hold each id, as the encoder ``TermBag`` needs. For a candidate, the texts
    are the corpus."""
    text_counts: tuple[int, ...] | None = None
    """Number of texts that hold each id 0, 1, …; set by ``fit``."""
    num_texts: int | None = None
    """Number of texts; set by ``fit``."""
    mean_length: float | None = None
    """Mean number of ids of a text; set by ``fit``."""

    def __post_init__(self) -> None:
        if self.text_counts is not None:  # a list, as YAML has it, would not be hashable
            object.__setattr__(self, "text_counts", tuple(self.text_counts))

    @property
    def wants_counts(self) -> bool:
        """Whether ``fit`` has to count."""
        return self.count_texts and self.text_counts is None


def counts_of(feature: Feature, texts: pl.Series) -> dict[str, Any]:
    """Return the counts of texts as fields, for a feature that is fitted but for them.

    Raises:
        UserError: the feature has no ids.
    """
    if not has_ids(feature):
        raise UserError(
            f"{feature._label}: count_texts is true, but a {type(feature).__name__} has no ids to count; leave "
            "count_texts out, or use a feature of ids such as HashedWords"
        )
    rows = table_rows(feature)
    counts, length = np.zeros(rows, np.int64), 0
    for start in range(0, len(texts), _AT_ONCE):
        column = feature.encode_array(texts[start : start + _AT_ONCE])
        assert isinstance(column, RaggedArray)
        distinct = np.unique(column.rows * rows + column.values)  # an id counts once for each text
        counts += np.bincount(distinct % rows, minlength=rows)
        length += len(column.values)
    mean = length / max(1, len(texts))
    return {"text_counts": tuple(counts.tolist()), "num_texts": len(texts), "mean_length": mean}
