"""One cache serves every rate of dropout, which only training reads."""

from __future__ import annotations

from pathlib import Path

from helpers.small import small_data

from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.features import Categorical, HashedWords, History, LikedBy


def data(cache: Path, rate: float, length: int | None = None) -> RetrievalDataModule:
    words = HashedWords(name="text", num_buckets=300)
    history = History(name="seen", of="candidate_id", dropout=rate, max_length=length)
    asked = LikedBy(name="asked", of="text", dropout=rate)
    return small_data(cache, query=[words, history], candidate=[Categorical(name="candidate_id"), asked])


def test_a_rate_of_dropout_has_no_cache_of_its_own(tmp_path: Path) -> None:
    plain, dropping = data(tmp_path, 0.0), data(tmp_path, 0.5)
    assert plain.prepare() == dropping.prepare()
    for each, rate in ((plain, 0.0), (dropping, 0.5)):
        found = [each.schemas.query["seen"], each.schemas.candidate["asked"]]
        assert [feature.dropout for feature in found if isinstance(feature, History | LikedBy)] == [rate, rate]
        assert all(feature.is_fitted for feature in found)
    assert data(tmp_path, 0.0, length=3).prepare() != plain.prepare(), "other settings still have theirs"


def test_the_schemas_of_a_trained_model_win(tmp_path: Path) -> None:
    trained, other = data(tmp_path, 0.5), data(tmp_path, 0.0)
    other.encode_with(trained.schemas)
    assert other.prepare() == trained.prepare()
    assert other.schemas == trained.schemas
