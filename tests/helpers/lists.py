"""Lists of different lengths as ragged columns."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dssm_lightning.utils.ragged import Ragged


def ragged(rows: Sequence[Sequence[int]], dtype: torch.dtype = torch.int64) -> Ragged:
    """Return one row for each list."""
    values = torch.tensor([value for row in rows for value in row], dtype=dtype)
    return Ragged.from_lengths(values, torch.tensor([len(row) for row in rows], dtype=torch.int64))
