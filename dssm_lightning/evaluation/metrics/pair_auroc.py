"""Area under the ROC curve over the pairs whose label was observed."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.classification import BinaryAUROC
from torchmetrics.utilities import dim_zero_cat


class ObservedAUROC(BinaryAUROC):
    """P(a random liked pair scores above a random not-liked pair), a tie counting half; NaN if one label is missing.

    The area is exact (no thresholds) and keeps 16 bytes a pair. torchmetrics decides for each update whether scores
    are logits: one score outside [0, 1] is enough, and its sigmoid then saturates. Scores are therefore mapped into
    (0, 1) first, in their order.

    Example:
        >>> metric = ObservedAUROC()
        >>> metric.update(torch.tensor([7.0, 2.0, 2.0]), torch.tensor([1, 1, 0]))  # one pair won, one tied
        >>> metric.compute().item()
        0.75
    """

    def __init__(self) -> None:
        super().__init__(thresholds=None, validate_args=False)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add pairs.

        Args:
            preds: (P,) finite scores of any scale, compared as float32.
            target: (P,) 1 liked, 0 shown and not liked.
        """
        super().update(order_preserving(preds), target.long())

    def compute(self) -> Tensor:  # type: ignore[override]  # BinaryAUROC, too, narrows its base class's curve to a number
        """Return () the area over all pairs of all processes."""
        labels = dim_zero_cat(self.target)
        if not 0 < int(labels.sum()) < len(labels):
            return torch.tensor(torch.nan, dtype=torch.float64, device=labels.device)
        return super().compute()


def order_preserving(scores: Tensor) -> Tensor:
    """Map float32 scores into (0, 1) as float64, strictly monotone: two different scores never become equal.

    The bits of a positive float32, read as an integer, ascend with its value; the bits of a negative one descend. The
    2^32 integers are then spread evenly over (0, 1), where float64 represents each of them. A sigmoid or softsign is
    not strictly monotone in floating point: both are flat far from zero and close to zero.
    """
    bits = (scores.float() + 0.0).view(torch.int32).long()  # + 0.0: -0.0 is 0.0
    key = torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)  # in (-2^31, 2^31)
    return key.double() / 2.0**32 + 0.5
