"""Tldr: the shipped tables and the published fold."""

from __future__ import annotations

import polars as pl

from dssm_lightning.data.sources import Tldr
from dssm_lightning.data.tables.tables import collapse


def test_sizes_and_the_published_fold() -> None:
    tables = Tldr().tables().resolve(["query"], ["text", "platform"])
    assert len(tables.candidates) == 7_425
    assert len(tables.interactions) == 32_136
    test = tables.interactions.filter(pl.col("heldout") == "test")
    train = tables.interactions.filter(pl.col("heldout") == "train")
    assert (len(test), test["query"].n_unique()) == (3_257, 2_848)
    assert len(test) + len(train) == 32_136
    assert not set(test["query"]) & set(train["query"])
    collapsed, dropped = collapse(tables)
    assert dropped == 2
    assert (collapsed.interactions["heldout"] == "test").sum() == 3_257


def test_a_page() -> None:
    tables = Tldr().tables().resolve([], ["text"])
    page = tables.candidates.row(by_predicate=pl.col("page_id") == "android/am", named=True)
    assert page["text"] == "am Android activity manager."
    assert (page["platform"], page["title"], page["description"]) == ("android", "am", "Android activity manager.")
    assert tables.display == ("title", "platform", "description")
    assert tables.candidates["text"].null_count() == 0


def test_the_fingerprint_is_stable() -> None:
    assert Tldr().fingerprint() == Tldr().fingerprint()
