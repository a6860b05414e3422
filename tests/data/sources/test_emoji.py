"""Emoji: the shipped tables, the languages, and the queries."""

from __future__ import annotations

import struct

import polars as pl
import pytest

from dssm_lightning.data.sources import Emoji
from dssm_lightning.data.tables.tables import collapse


def test_english_is_the_default() -> None:
    tables = Emoji().tables().resolve(["query"], ["name", "category", "subcategory", "picture"])
    assert len(tables.candidates) == 1911
    assert len(tables.interactions) == 12_058
    assert tables.queries["lang"].unique().to_list() == ["en"]
    assert tables.queries["query"].is_unique().all()
    assert (tables.keys.query_id, tables.keys.candidate_id) == ("query_id", "unified")
    assert tables.display == ("emoji", "name")


def test_a_candidate_is_its_code_points_and_a_picture() -> None:
    candidates = Emoji().tables().resolve([], ["picture"]).candidates
    grin = candidates.row(by_predicate=pl.col("unified") == "1F600", named=True)
    assert (grin["emoji"], grin["name"], grin["category"]) == ("😀", "grinning face", "Smileys & Emotion")
    # width and height follow the signature and the length and name of the header chunk
    sizes = {struct.unpack(">II", picture[16:24]) for picture in candidates["picture"]}
    assert sizes == {(64, 64)}
    assert all(picture.startswith(b"\x89PNG\r\n\x1a\n") for picture in candidates["picture"])
    joined = candidates.row(by_predicate=pl.col("unified") == "0023-FE0F-20E3", named=True)
    assert joined["emoji"] == "#\ufe0f\u20e3"


def test_a_text_that_is_a_label_of_any_emoji_is_a_label() -> None:
    queries = Emoji().tables().resolve(["query"], []).queries
    kinds = dict(queries.select("query", "kind").rows())
    assert kinds["grinning face"] == "label"
    assert kinds["cheerful"] == "tag"
    # a tag of several emoji, and the label of one emoji
    assert kinds["cat"] == "label"
    assert dict(queries["kind"].value_counts().rows()) == {"label": 1911, "tag": 3403}


def test_one_text_in_two_languages_is_two_queries() -> None:
    tables = Emoji(["en", "de"]).tables().resolve(["query", "lang"], ["name"])
    assert {"en:cat", "de:Katze"} <= set(tables.queries["query_id"])
    same = tables.queries.filter(pl.col("query").is_duplicated())
    assert len(same) > 0
    assert same["query_id"].is_unique().all()


def test_the_order_of_languages_does_not_matter_to_the_rows() -> None:
    assert Emoji(["de", "en"]).tables().interactions.equals(Emoji(["en", "de"]).tables().interactions)


def test_labels_that_are_also_tags_collapse() -> None:
    raw = Emoji().tables()
    collapsed, dropped = collapse(raw.resolve([], []))
    assert dropped == raw.interactions.height - raw.interactions.n_unique() == 11
    assert len(collapsed.interactions) == 12_047


def test_unknown_languages() -> None:
    with pytest.raises(ValueError, match=r"Emoji: languages .*xx, tlh; .*bn, da, de, .*zh-hant"):
        Emoji(["en", "xx", "tlh"]).tables()
    with pytest.raises(ValueError, match=r"Emoji: languages is empty; .*bn"):
        Emoji([]).tables()


def test_the_fingerprint_follows_the_languages() -> None:
    assert Emoji().fingerprint() == Emoji(["en"]).fingerprint() != Emoji(["ru"]).fingerprint()
