"""Groupings of the training events as files of the cache, so that a fit maps what it would have to sort.

They follow from the encoded interactions beside them and from nothing else. What a setting outside of the cache's
fingerprint decides is decided by the name of the file: a fit that trains on liked rows only reads ``liked#rows``,
another one ``all#rows``. A cache of an earlier version has no such files: its events are grouped in memory.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from dssm_lightning.data.grouped_events import LIKED_BY, group_events, named_events, rows_by_candidate
from dssm_lightning.data.interactions import Interactions
from dssm_lightning.features import History, LikedBy
from dssm_lightning.features.schema import Schemas

GROUPED = "grouped."
"""With what the names of these files begin."""


def save_groupings(
    folder: Path, interactions: Interactions, schemas: Schemas, num_queries: int, num_candidates: int
) -> None:
    """Write the groupings that a fit may read, one file for each part: ``grouped.liked#candidates.npy``.

    Args:
        folder: the unfinished folder of the cache.
        interactions: the whole table.
        schemas: the features; those that are assembled from training events need further groupings.
        num_queries: number of rows of the query table.
        num_candidates: N.

    Raises:
        OSError: the disk is full.
    """
    for name, array in group_events(interactions, num_queries, names_of(interactions, schemas)).items():
        _save(folder, name, array)
    if any(isinstance(feature, LikedBy) for feature in schemas.candidate):
        rows = rows_by_candidate(interactions, num_candidates)
        _save(folder, f"{LIKED_BY}#rows", rows.values)
        _save(folder, f"{LIKED_BY}#offsets", rows.offsets)


def names_of(interactions: Interactions, schemas: Schemas) -> list[str]:
    """Return the names of the groupings by query that a fit with these features may read.

    Example:
        >>> import torch
        >>> from dssm_lightning.features.schema import Schema
        >>> events = Interactions(*torch.zeros(3, 1).long())
        >>> names_of(events, Schemas(Schema(()), Schema(())))
        ['all#rows', 'all#offsets', 'all#candidates']
    """
    liked = named_events(interactions, "liked")
    names = [f"{events}#{part}" for events in ("all", liked) for part in ("rows", "offsets")]  # batches by query
    names.append(f"{liked}#candidates")  # known positives
    for feature in schemas.query:
        if isinstance(feature, History) and (interactions.label is not None or feature.events != "shown"):
            parts = ["candidates", "offsets"]
            if interactions.time is not None:
                parts += ["before"] * (feature.order == "time") + ["times"] * (feature.age == "seconds")
            names += [f"{named_events(interactions, feature.events)}#{part}" for part in parts]
    return list(dict.fromkeys(names))


def _save(folder: Path, name: str, array: Tensor) -> None:
    np.save(folder / f"{GROUPED}{name}.npy", array.numpy())
