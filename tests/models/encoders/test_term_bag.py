"""Bags that begin as BM25: against BM25 itself, a loop over occurrences, and through training, saving and resuming."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from helpers.small import small_data, small_model, small_trainer

from dssm_lightning.features import Categorical, HashedTrigrams, HashedWords, Tokens, Trigrams, Words
from dssm_lightning.features.base import Feature, table_rows
from dssm_lightning.models.encoders import EmbeddingBag, TermBag
from dssm_lightning.models.encoders.term_bag import counted
from dssm_lightning.retrieval.term_search import BM25
from dssm_lightning.training.module import TwoTower
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged, take

TEXTS = ["red red cat", "a blue dog, a dog", "red dog and a red, red bird", "bird", "one more cat of another colour"]
WORDS = Words(name="text", count_texts=True).fit(pl.Series(TEXTS))


def orthonormal(bag: TermBag) -> TermBag:
    """Give each term a direction of its own, so that nothing is random."""
    table = bag.table
    assert table is not None
    with torch.no_grad():
        table.weight.copy_(torch.diag(table.weight.norm(dim=1)))
    return bag


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.0, 0.5), (3.0, 0.0), (2.0, 1.0)])
def test_untrained_it_is_bm25(k1: float, b: float) -> None:
    """A query of plain sums of the same table: the scores are those of BM25 up to one factor."""
    queries = ["red cat", "dog dog bird", "colour of a bird"]
    bag = orthonormal(TermBag(WORDS, output_dim=table_rows(WORDS), k1=k1, b=b))
    plain = EmbeddingBag(WORDS, output_dim=table_rows(WORDS), pooling="sum")
    plain.table = bag.table
    found = plain(WORDS.encode(pl.Series(queries))) @ bag(WORDS.encode(pl.Series(TEXTS))).T
    words = BM25(k1=k1, b=b)
    words.fit(TEXTS)
    torch.testing.assert_close(found.detach(), torch.from_numpy(words.scores(queries)).float() * bag.scale)


def test_rows_are_random_directions_as_long_as_the_root_of_idf() -> None:
    torch.manual_seed(0)
    table = TermBag(WORDS, output_dim=2000).table
    assert table is not None
    counts, total = torch.tensor(WORDS.text_counts), len(TEXTS)
    rarity = torch.log1p((total - counts + 0.5) / (counts + 0.5)).sqrt()
    assert counts[0] == 0  # unknown words
    torch.testing.assert_close(table.weight[1:].norm(dim=1), rarity[1:])
    assert table.weight[0].norm() == 0
    cosines = torch.nn.functional.normalize(table.weight[1:]) @ torch.nn.functional.normalize(table.weight[1:]).T
    assert (cosines - torch.eye(len(cosines))).abs().max() < 0.1


def test_lengths_are_about_one() -> None:
    texts = pl.Series([" ".join(f"w{(7 * row + place) % 97}" for place in range(1 + row % 40)) for row in range(300)])
    feature = HashedWords(name="text", num_buckets=1000, count_texts=True).fit(texts)
    lengths = TermBag(feature, output_dim=512)(feature.encode(texts)).norm(dim=1)
    assert 0.5 < lengths.mean() < 1.5


@pytest.mark.parametrize("exporting", [False, True])
def test_occurrences_by_a_loop(exporting: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = torch.tensor([0, 5, 0, 1, 30, 0])
    column = Ragged.from_lengths(torch.randint(0, 7, (36,), dtype=torch.int32), lengths)
    rows = [Counter(row.tolist()) for row in column.values.split(lengths.tolist())]
    with monkeypatch.context() as patch:
        patch.setattr(torch.compiler, "is_exporting", lambda: exporting)
        terms, times = counted(column, 7)
        empty, none = counted(Ragged.from_lengths(column.values[:0], torch.tensor([0, 0])), 7)
    parts = zip(terms.values.split(terms.lengths.tolist()), times.split(terms.lengths.tolist()), strict=True)
    found = [list(zip(ids.tolist(), counts.tolist(), strict=True)) for ids, counts in parts]
    if exporting:
        values = [row.tolist() for row in column.values.split(lengths.tolist())]
        assert found == [[(value, row[value]) for value in ids] for row, ids in zip(rows, values, strict=True)]
    else:
        assert found == [sorted(row.items()) for row in rows]
    assert empty.lengths.tolist() == [0, 0]
    assert none.tolist() == []


def test_a_row_does_not_depend_on_its_batch() -> None:
    bag, column = TermBag(WORDS, output_dim=16), WORDS.encode(pl.Series(TEXTS))
    whole = bag(column)
    for row in range(len(TEXTS)):
        assert torch.equal(bag(take(column, torch.tensor([row])))[0], whole[row])


@pytest.mark.parametrize("sparse", [False, True])
def test_the_gradient_is_that_of_the_weighted_sum(sparse: bool) -> None:
    bag, column = TermBag(WORDS, output_dim=4, sparse=sparse), WORDS.encode(pl.Series(TEXTS))
    table = bag.table
    assert table is not None
    bag(column).sum().backward()
    assert table.weight.grad is not None
    assert table.weight.grad.is_sparse == sparse
    found = table.weight.grad.to_dense()[:, 0]
    expected = torch.zeros(len(found))
    for row in column.values.split(column.lengths.tolist()):
        length = 0.25 + 0.75 * len(row) / len(column.values) * len(TEXTS)
        for value, times in Counter(row.tolist()).items():
            expected[value] += bag.scale * 2.2 * times / (times + 1.2 * length)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("feature", "named"),
    [
        (HashedWords(name="text", num_buckets=9), "encoder of 'text'.*HashedWords.*count_texts: true"),
        (Categorical(name="city", vocabulary=("Bonn",)), "encoder of 'city'.*Categorical.*count_texts"),
        (HashedWords(name="text", num_buckets=3, text_counts=(1, 1)), "encoder of 'text'.*2 counts for 3 ids"),
    ],
)
def test_a_feature_without_counts_is_refused(feature: Feature, named: str) -> None:
    with pytest.raises(UserError, match=named):
        TermBag(feature)


@pytest.mark.parametrize(("setting", "value"), [("k1", -0.1), ("k1", float("nan")), ("b", 1.1), ("b", -1), ("b", "x")])
def test_a_wrong_setting_is_refused(setting: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"encoder of 'text'.*{setting} is {value}"):
        TermBag(WORDS, **{setting: value})


# -- through training ----------------------------------------------------------------------------------------------


def tower(encoder: str, **changes: Any) -> dict[str, Any]:
    names = "words" if encoder == "TermBag" else "asked"
    options = {"output_dim": 32, "sparse": True} | ({} if encoder == "TermBag" else {"pooling": "sum"})
    encoders = {names: {"class_path": f"dssm_lightning.models.encoders.{encoder}", "init_args": options}}
    settings = {"fusion": "dssm_lightning.models.fusion.Sum", "encoders": encoders, **changes}
    return {"class_path": "dssm_lightning.Tower", "init_args": settings}


def tied_model() -> TwoTower:
    optimizer = {"class_path": "dssm_lightning.training.optimizers.LazyAdam", "init_args": {"lr": 0.01}}
    return small_model(
        query_tower=tower("EmbeddingBag"),
        candidate_tower=tower("TermBag", normalize=False),
        tied_embeddings={"asked": "words"},
        optimizer=optimizer,
    )


PAIRS = {
    "hashed words": (HashedWords, {"num_buckets": 300}, {}),
    "hashed trigrams and words": (HashedTrigrams, {"num_buckets": 500, "max_word_n": 1}, {}),
    "words": (Words, {}, {"vocabulary_of": "words"}),
    "trigrams": (Trigrams, {}, {"vocabulary_of": "words"}),
    "tokens": (Tokens, {"vocab_size": 100}, {"vocabulary_of": "words"}),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_it_trains_and_resumes_exactly(kind: str, tmp_path: Path) -> None:
    make, both, query = PAIRS[kind]
    sides = {
        "query": [make(name="asked", column="text", **both, **query)],
        "candidate": [make(name="words", column="text", count_texts=True, **both)],
    }

    def fitted(epochs: int, path: Path | None = None) -> TwoTower:
        torch.manual_seed(7)  # the same directions
        model, trainer = tied_model(), small_trainer(tmp_path, max_epochs=epochs, limit_val_batches=0)
        trainer.fit(model, datamodule=small_data(tmp_path / "cache", **sides), ckpt_path=path, weights_only=True)
        trainer.save_checkpoint(tmp_path / f"{epochs}.ckpt")
        return model

    fitted(1)
    whole, table = fitted(2), "candidate_tower.encoders.words.table.weight"
    expected = whole.state_dict()[table]
    assert torch.equal(fitted(2, tmp_path / "1.ckpt").state_dict()[table], expected)
    assert torch.equal(whole.state_dict()["query_tower.encoders.asked.table.weight"], expected)
    loaded = TwoTower.load_from_checkpoint(tmp_path / "2.ckpt")  # without the data
    assert torch.equal(loaded.state_dict()[table], expected)
