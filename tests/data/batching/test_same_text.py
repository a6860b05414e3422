"""A text with several ids is never a negative of a query that likes it, whichever sampler draws it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from helpers.small import small_data

from dssm_lightning import RetrievalDataModule
from dssm_lightning.data.negatives import Mixed, Uniform
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import PublishedFold, RandomRows
from dssm_lightning.features import Categorical, HashedWords
from dssm_lightning.losses.masks import valid_columns
from dssm_lightning.utils.seeding import Counter


def world(tmp_path: Path, **changes: Any) -> RetrievalDataModule:
    """Queries 0 and 1 have the same text; so have pages 10 and 11, and pages 12 and 13, with different kinds."""
    interactions = pl.DataFrame({"q": [0, 1, 2, 3], "c": [10, 12, 11, 14], "fold": ["train", "train", "train", "test"]})
    queries = pl.DataFrame({"q": [0, 1, 2, 3], "asks": ["cat", "cat", "dog", "cat"]})
    pages = pl.DataFrame({"c": [10, 11, 12, 13, 14], "says": ["a", "a", "b", "b", "c"], "kind": list("xyxyx")})
    settings: dict[str, Any] = {
        "source": Frames(interactions, queries, pages, "q", "c"),
        "query": [HashedWords(name="asks", num_buckets=50)],
        "candidate": [HashedWords(name="says", num_buckets=50), Categorical(name="kind")],
        "split": PublishedFold("fold"),
        "mask_duplicates": True,
    }
    return small_data(tmp_path, **(settings | changes))


def every_page() -> Mixed:
    """Draw often enough that all five pages are in the batch."""
    return Mixed([Uniform(5) for _ in range(40)])


def valid(data: RetrievalDataModule) -> list[list[int]]:
    """Return the pages that may be negatives of each training row; all five pages are in the batch."""
    batch = data.assembler.batch(torch.tensor([0, 1, 2]), Counter(0))
    chosen = valid_columns(batch.target, batch.negatives, batch.known, batch.candidates.id)
    chosen[torch.arange(3), batch.target] = False
    return [[10 + int(i) for i in batch.candidates.id[row]] for row in chosen]


def test_by_hand(tmp_path: Path) -> None:
    """Query 0 likes 10, query 1 with the same text likes 12: only 14 has another text. Test rows do not count."""
    assert valid(world(tmp_path, negatives=every_page())) == [[14], [14], [12, 13, 14]]


def test_by_id_alone_a_text_is_its_own_negative(tmp_path: Path) -> None:
    """Without the option, only the ids of known positives are masked."""
    found = valid(world(tmp_path, negatives=every_page(), mask_duplicates=False))
    assert found == [[11, 12, 13, 14], [10, 11, 13, 14], [10, 12, 13, 14]]


def test_the_columns_of_all_texts_decide(tmp_path: Path) -> None:
    """With the kind as a second text, no two pages have the same texts."""
    features = [HashedWords(name="says", num_buckets=50), HashedWords(name="kind", num_buckets=50)]
    data = world(tmp_path, candidate=features, negatives=every_page())
    assert valid(data) == [[11, 13, 14], [11, 13, 14], [10, 12, 13, 14]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query": [Categorical(name="q")]}, "query feature"),
        ({"candidate": [Categorical(name="kind")]}, "candidate feature"),
    ],
)
def test_a_side_without_a_text_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"mask_duplicates .*no {message}"):
        world(tmp_path, **changes).setup()


def test_a_text_of_events_is_refused(tmp_path: Path) -> None:
    events = pl.DataFrame({"q": [0, 0, 1, 1], "c": [0, 1, 0, 1], "asks": ["a", "b", "c", "d"], "says": list("xyxy")})
    data = small_data(
        tmp_path,
        source=Frames(events, None, None, "q", "c"),
        query=[HashedWords(name="asks")],
        candidate=[HashedWords(name="says")],
        split=RandomRows(test=0, validation=0),
        evaluate="event",
        mask_duplicates=True,
    )
    with pytest.raises(ValueError, match=r"mask_duplicates .*'asks' .*interactions"):
        data.setup()


def test_it_needs_what_it_extends(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mask_duplicates .*mask_known"):
        world(tmp_path, mask_known=False)
