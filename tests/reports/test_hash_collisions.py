"""``hashing-report``: words that letter trigrams confuse."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from helpers.small import write_config

from dssm_lightning.cli.main import main
from dssm_lightning.features import HashedTrigrams, Trigrams, WordTrigrams
from dssm_lightning.reports.hash_collisions import count_collisions

# Of "abxabyab" the two loops x and y change places: #ab abx bxa xab aby bya yab ab# in another order.
TWINS = ["abxabyab", "abyabxab"]
TEXTS = pl.Series("text", ["The cat, the dog", f"{TWINS[0]} cat", f"{TWINS[1]} CAT"])


def test_words_with_the_same_bag_of_trigrams() -> None:
    found = count_collisions("query", HashedTrigrams(name="t", num_buckets=2**31 - 1), TEXTS)
    assert (found.words, found.trigrams, found.trigrams_sharing) == (5, 3 * 3 + 8, 0)
    assert found.same_trigrams == [TWINS]
    assert found.same_rows == []


def test_the_count_of_a_trigram_distinguishes_words() -> None:
    found = count_collisions("query", HashedTrigrams(name="t"), pl.Series(["aaaa aaaaa"]))  # the same set, not bag
    assert (found.trigrams, found.same_trigrams) == (3, [])


@pytest.mark.parametrize("feature", [HashedTrigrams(name="t", num_buckets=1), WordTrigrams(name="t", num_buckets=1)])
def test_words_that_only_the_table_confuses(feature: HashedTrigrams | WordTrigrams) -> None:
    """With one row, only their numbers of trigrams distinguish words."""
    found = count_collisions("candidate", feature, TEXTS)
    assert (found.trigrams, found.trigrams_sharing, found.rows) == (17, 17, feature.cardinality)
    assert found.same_trigrams == [TWINS]
    assert found.same_rows == [
        ["cat", "dog", "the"]
    ]  # the twins have the same trigrams: the table does not confuse them


def test_trigrams_outside_a_vocabulary_share_row_0() -> None:
    feature = Trigrams(name="t", vocabulary=("\0ca", "cat", "at\0", "\0do"))
    found = count_collisions("query", feature, pl.Series(["cat dog the one"]))
    assert found.trigrams_sharing == 8  # two of `dog`, all three of `the` and of `one`
    assert found.same_rows == [["one", "the"]]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    pl.DataFrame({"query": TWINS + ["x"] * 4, "positive_doc": list("abcdef")}).write_ndjson("pairs.jsonl")
    source = {"class_path": "Files", "init_args": {"interactions": "pairs.jsonl"}}
    query = [{"class_path": "Trigrams", "init_args": {"name": "query"}}]
    candidate = [{"class_path": "HashedTrigrams", "init_args": {"name": "doc", "num_buckets": 2}}]
    split = {"class_path": "RandomRows", "init_args": {"test": 0, "validation": 0}}
    data = {"source": source, "split": split, "query": query, "candidate": candidate}
    config = write_config(tmp_path / "c.yaml", data=data)
    on_query, on_candidate = main(["hashing-report", "--config", str(config), "--examples", "1"])
    assert (on_query.side, on_query.feature, on_query.words, on_query.rows) == ("query", "query", 3, 10)
    assert (on_candidate.words, on_candidate.trigrams, on_candidate.rows) == (6, 6, 2)
    assert sum(len(group) for group in on_candidate.same_rows) in (5, 6)
    shown = capsys.readouterr().out
    assert f"query query, same trigrams: {', '.join(TWINS)}" in shown
    assert shown.count("candidate doc, same rows only: ") == 1


def test_a_config_without_trigrams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [{"class_path": "HashedWords", "init_args": {"name": "text"}}]
    config = write_config(tmp_path / "c.yaml", data={"query": words, "candidate": words})
    with pytest.raises(ValueError, match=r"c\.yaml: .*HashedTrigrams, Trigrams or WordTrigrams"):
        main(["hashing-report", "--config", str(config)])
