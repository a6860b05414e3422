"""What reads a column of a CSV file: features of every kind, splits, slices, negatives and the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from dssm_lightning.data.interactions import TEST
from dssm_lightning.data.negatives import SameAttribute
from dssm_lightning.data.negatives.base import SamplerTables
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.data.sources import Files
from dssm_lightning.data.splits import HashedQueries, PublishedFold, RandomQueries, Split
from dssm_lightning.features import Bucketized, Categorical, CategoricalList, Feature, HashedWords, Numeric
from dssm_lightning.utils.ragged import Ragged

ZIPS = ["01234", "1234", "1E5", "100000", "000"]


def made(
    folder: Path, candidate: list[Feature] | None = None, split: Split | None = None, **settings: Any
) -> RetrievalData:
    users = [(f"u{user}", f"{user % 2:02}", user % 5, "train" if user < 8 else "test") for user in range(10)]
    events = pl.DataFrame(users, schema=["query_id", "kind", "visits", "fold"], orient="row")
    events.join(pl.DataFrame({"candidate_id": range(5)}), how="cross").write_csv(folder / "e.csv")
    tags = ["1|02", "3", "4|1", "02", "5"]
    items = {"candidate_id": range(5), "zip": ZIPS, "tags": tags, "price": ["1.50", "2", None, "1e1", "4"]}
    pl.DataFrame(items).write_csv(folder / "c.csv")
    source = Files(str(folder / "e.csv"), candidates=str(folder / "c.csv"), display=["zip"])
    query: list[Feature] = [Categorical(name="kind"), Numeric(name="visits")]
    candidate = candidate or [Categorical(name="zip")]
    split = split or PublishedFold("fold")
    return RetrievalData(source, query, candidate, split, cache_dir=str(folder / "cache"), **settings)


def test_features_of_every_kind_read_one_table(tmp_path: Path) -> None:
    candidate: list[Feature] = [
        Categorical(name="zip"),
        Numeric(name="zip_number", column="zip"),
        HashedWords(name="zip_words", column="zip", num_buckets=1000),
        CategoricalList(name="tags", separator="|"),
        Numeric(name="price", missing="indicator"),
        Bucketized(name="price_bucket", column="price", num_buckets=2, missing="bucket"),
        Categorical(name="price_category", column="price"),
        Categorical(name="candidate_id"),
    ]
    data = made(tmp_path, candidate)
    prepared = data.data
    schema = prepared.schemas.candidate
    assert set(schema["zip"].vocabulary) == set(ZIPS)  # type: ignore[attr-defined]
    assert set(schema["tags"].vocabulary) == {"1", "02", "3", "4", "5"}  # type: ignore[attr-defined]
    assert set(schema["price_category"].vocabulary) == {"1.50", "2", "1e1", "4"}  # type: ignore[attr-defined]
    numbers = prepared.candidate["zip_number"]
    assert isinstance(numbers, torch.Tensor)
    assert len(numbers.flatten().unique()) == 3  # 1234 twice, 100000 twice, 0
    words = prepared.candidate["zip_words"]
    assert isinstance(words, Ragged)
    assert words.lengths.tolist() == [1] * 5
    assert prepared.candidates["zip"].to_list() == ZIPS
    assert prepared.display == ["zip"]
    assert prepared.schemas.query["kind"].vocabulary == ("00", "01")  # type: ignore[attr-defined]


def test_search_finds_the_category_as_written(tmp_path: Path) -> None:
    schema = made(tmp_path).data.schemas.candidate
    ids = schema["zip"].encode(pl.Series(["01234", "1234", "1E5", "1.5"]))
    assert isinstance(ids, torch.Tensor)
    known = schema["zip"].encode(pl.Series(ZIPS))
    assert isinstance(known, torch.Tensor)
    assert ids[0] != ids[1]
    assert ids[:3].tolist() == [known[0], known[1], known[2]]
    assert ids[3] not in known


@pytest.mark.parametrize(("value", "held_out"), [("01", True), ("00", True), ("1", False), (1, False)])
@pytest.mark.parametrize("kind", [RandomQueries, HashedQueries])
def test_among_compares_text_as_written(tmp_path: Path, kind: Any, value: Any, held_out: bool) -> None:
    split = kind(test=0.3, validation=0.0, among={"kind": value})
    if not held_out:
        with pytest.raises(ValueError, match=r"'kind' = .*'00', '01'"):
            made(tmp_path, split=split).data  # noqa: B018
        return
    data = made(tmp_path, split=split).data
    assert (data.interactions.fold == TEST).any()


def test_a_number_of_a_config_finds_its_text(tmp_path: Path) -> None:
    among: Any = {"visits": 1}
    assert (made(tmp_path, split=RandomQueries(0.5, 0.0, among=among)).data.interactions.fold == TEST).any()


def test_slices_and_shared_attributes(tmp_path: Path) -> None:
    data = made(tmp_path, slice_by=["kind", "price"])
    ranking = data.ranking(TEST)
    assert {"kind=00", "kind=01"} <= set(ranking.query_groups)
    assert ranking.groups["without_price"].tolist() == [False, False, True, False, False]
    sampler = SameAttribute("zip", num_negatives=1)
    tables = SamplerTables(data.data.interactions, num_queries=10, num_candidates=5, candidates=data.candidates)
    with pytest.raises(ValueError, match="no two candidates share"):  # 01234 is not 1234
        sampler.bind(tables)
