"""The baseline that compares pictures pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.baselines.base import Baseline, BaselineData
from dssm_lightning.utils.errors import require_whole

MAX_PICTURES = 200_000
"""Largest corpus whose small pictures are compared (0.6 GB)."""


@dataclass(eq=False)
class PixelCosine(Baseline):
    """Cosine of a query's picture with each candidate's: small pictures, pixel by pixel.

    Both pictures are reduced to ``side`` × ``side`` mean colours, and the mean of the corpus is subtracted, since most
    pictures have the same background. A missing picture scores 0.

    Args:
        side: height and width of the small pictures.

    Raises:
        UserError: a side below 1.

    Example:
        >>> from dssm_lightning.evaluation.baselines.base import Pictures
        >>> from dssm_lightning.utils.ragged import Ragged
        >>> pixels = torch.randint(0, 256, (3, 4, 16, 16), dtype=torch.uint8)
        >>> pixels[:, -1] = 255  # the coverage
        >>> nothing = Ragged.from_lengths(torch.tensor([], dtype=torch.int64), torch.tensor([0, 0]))
        >>> baseline = PixelCosine(side=8)
        >>> known = BaselineData(positives=nothing, num_candidates=3, pictures=Pictures(pixels[1:], pixels))
        >>> baseline.fit(known)
        >>> batch = EvaluationBatch({}, torch.tensor([0, 1]), nothing, nothing, shown=None)
        >>> baseline.scores(batch).argmax(1).tolist()
        [1, 2]
    """

    side: int = 16

    def __post_init__(self) -> None:
        require_whole("PixelCosine", "side", self.side)

    def obstacle(self, data: BaselineData) -> str | None:
        """Return that the sides have no pictures of one kind, or that they are too many, or None."""
        if data.pictures is None:
            return "queries and candidates have no pictures of one size and mode"
        if data.num_candidates > MAX_PICTURES:
            return f"{data.num_candidates:,} pictures are too many (limit: {MAX_PICTURES:,})"
        return None

    def fit(self, data: BaselineData) -> None:
        """Reduce the pictures of the corpus."""
        assert data.pictures is not None
        self._queries, pixels, self._by_event = data.pictures
        small = torch.cat([self._small(part) for part in torch.split(pixels, 1024)])
        present = _present(pixels)
        self._mean = small[present].mean(0) if present.any() else small.new_zeros(small.shape[1])
        self._corpus = self._directions(small, present)

    def scores(self, batch: EvaluationBatch) -> Tensor:
        """Return the cosines (Q, N)."""
        rows = batch.row if self._by_event else batch.query_row
        assert rows is not None, "columns of events are ranked by event"
        pixels = self._queries.index_select(0, rows.cpu())
        return self._directions(self._small(pixels), _present(pixels)) @ self._corpus.T

    def _small(self, pixels: Tensor) -> Tensor:
        """(B, channels, height, width) uint8 -> (B, colours · side²) mean colours."""
        return F.adaptive_avg_pool2d(pixels[:, :-1].float(), self.side).flatten(1)

    def _directions(self, small: Tensor, present: Tensor) -> Tensor:
        """(B, d) of length 1 after the corpus' mean is subtracted; 0 without a picture."""
        return F.normalize(small - self._mean) * present[:, None]


def _present(pixels: Tensor) -> Tensor:
    """(B,) bool: whether the row has a picture, that is, any coverage."""
    return pixels[:, -1].flatten(1).amax(1) > 0
