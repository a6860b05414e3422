"""Guided negatives: candidates that a guide scores too close to the positive do not count as negatives."""

from __future__ import annotations

import torch
from torch import Tensor

from dssm_lightning.data.negatives.margins import limit_below, require_margins
from dssm_lightning.training.teachers.base import Teacher


class GuidedNegatives:
    r"""Leave out in-batch, drawn and remembered negatives that a guide takes for unknown positives.

    A candidate c counts as a negative of a query with positive p only if the guide's scores g satisfy

    .. math:: g_c \le g_p - \max(\text{margin},\ \text{relative margin} \cdot |g_p|)

    Without margins, only candidates that score above the positive are left out. A row of label 0 has no positive, and
    keeps its negatives. The log has how many negatives of a row were left out in each step
    (``train/removed_negatives_step``) and in each epoch (``train/removed_negatives``). A row that has no negative left
    has no weight in a loss that compares, and is counted in ``train/rows_without_negatives``.

    Args:
        guide: a teacher; None = the model itself, with the logits that it has at the moment.
        margin: in units of the guide's scores: logits, or BM25's.
        relative_margin: the same as a fraction of the positive's score: 0.05 keeps scores of at most 95 % of it.

    Both margins mean what they mean for the sampler ``Hard``, which compares with the mean of all training positives
    when it mines; here each row's own positive is the measure, in each batch.

    Sources: Solatorio, arXiv 2402.16829 (GISTEmbed: a guide, no margin); Moreira et al., arXiv 2407.15831
    (NV-Retriever: both margins).

    Raises:
        UserError: ``margin`` is negative or not finite; ``relative_margin`` is outside [0, 1].

    Example:
        >>> import torch
        >>> guided = GuidedNegatives(margin=0.5)
        >>> scores = torch.tensor([[4.0, 3.5, 3.6, 9.0]])  # the first is the positive's
        >>> (scores <= guided.limit(scores[:, :1])).tolist()
        [[False, True, False, False]]
    """

    def __init__(
        self, guide: Teacher | None = None, margin: float | None = None, relative_margin: float | None = None
    ) -> None:
        require_margins("GuidedNegatives", margin, relative_margin)
        self.guide, self.margin, self.relative_margin = guide, margin, relative_margin

    def limit(self, positive: Tensor, label: Tensor | None = None) -> Tensor:
        """Return the greatest score that a negative of each row may have, (Q, 1).

        Args:
            positive: (Q, 1) the guide's scores of the rows' own candidates.
            label: (Q,) 0 for a row whose own candidate is not liked: it is no measure, and nothing is left out.
        """
        limit = limit_below(positive, self.margin, self.relative_margin)
        return limit if label is None else limit.masked_fill(label[:, None] <= 0, torch.inf)

    @property
    def signature(self) -> str:
        """What the choice of negatives depends on, beside data and model."""
        return self._described("the model itself" if self.guide is None else self.guide.signature)

    def __str__(self) -> str:
        """Return the guide and the margins, for messages."""
        return self._described("the model itself" if self.guide is None else str(self.guide))

    def _described(self, guide: str) -> str:
        margins = {"margin": self.margin, "relative margin": self.relative_margin}
        return ", ".join([f"guided by {guide}", *(f"{name} {m}" for name, m in margins.items() if m is not None)])
