"""Area under the ROC curve over the pairs whose label was observed."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.classification import BinaryAUROC
from torchmetrics.utilities import dim_zero_cat


class ObservedAUROC(BinaryAUROC):
    """P(a random liked pair scores above a random not-liked one), a tie counting half; NaN if one kind is missing.

    Exact (no thresholds): 16 bytes a pair are kept. torchmetrics takes scores for logits as soon as one leaves [0, 1],
    decides so for each update, and its sigmoid saturates; hence scores are first mapped into (0, 1) by their order.
    """

    def __init__(self) -> None:
        super().__init__(thresholds=None, validate_args=False)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Adds pairs.

        Args:
            preds: (P,) finite scores of any scale, compared as float32.
            target: (P,) 1 liked, 0 shown and not liked.
        """
        super().update(order_preserving(preds), target.long())

    def compute(self) -> Tensor:  # type: ignore[override]  # BinaryAUROC, too, narrows its base class's curve to a number
        """() the area over all pairs of all ranks."""
        labels = dim_zero_cat(self.target)
        if not 0 < int(labels.sum()) < len(labels):
            return torch.tensor(torch.nan, dtype=torch.float64, device=labels.device)
        return super().compute()


def order_preserving(scores: Tensor) -> Tensor:
    """Maps float32 scores into (0, 1) as float64, strictly monotone: no two different scores become equal.

    The bits of a positive float32, read as an integer, ascend with its value, and those of a negative one descend.
    The 2^32 integers are then spread evenly over (0, 1), where float64 tells them all apart. A sigmoid or softsign
    does not: both are flat, in any floating-point format, far from and close to zero.
    """
    bits = (scores.float() + 0.0).view(torch.int32).long()  # + 0.0: -0.0 is 0.0
    key = torch.where(bits < 0, -(bits & 0x7FFFFFFF), bits)  # in (-2^31, 2^31)
    return key.double() / 2.0**32 + 0.5
