"""Weights of an earlier run for other data: matched by value or by shape, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from helpers.small import small_data, small_model, small_trainer, write_config
from torch import Tensor

from dssm_lightning import RetrievalDataModule, TwoTower
from dssm_lightning.cli.main import main
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import PerQuery
from dssm_lightning.features import Categorical, CategoricalList, Feature, HashedWords, History, Numeric, Words
from dssm_lightning.training.warm_start import warm_start

TAGS = ["a", "b", "c", "d", "e", "f"]


def tower(**encoders: dict[str, Any]) -> dict[str, Any]:
    return {"class_path": "Tower", "init_args": {"fusion": "Concat", "output_dim": 16, "encoders": encoders}}


HISTORY = tower(history={"class_path": "EmbeddingBag", "init_args": {"output_dim": 32}})
TIED: dict[str, Any] = {"query_tower": HISTORY, "tied_embeddings": {"history": "item"}}


def shop(folder: Path, first: int, query: list[Feature] | None = None, **changes: Any) -> RetrievalDataModule:
    """Items first … first + 9, and tags that start later for a later shop: two shops share some of both."""
    items = [f"i{number:02}" for number in range(first, first + 10)]
    shift = first // 5
    events = [(f"u{user}", items[(user + step) % 10]) for user in range(20) for step in range(4)]
    corpus = {
        "item": items,
        "tags": [[TAGS[shift + n % 3], TAGS[shift + (n + 1) % 3]] for n in range(10)],
        "title": [f"word{first + n} thing" for n in range(10)],
        "price": [float(first + n) for n in range(10)],
    }
    source = Frames(
        pl.DataFrame(events, schema=["user", "item"], orient="row"),
        candidates=pl.DataFrame(corpus),
        query_id="user",
        candidate_id="item",
    )
    settings: dict[str, Any] = {
        "source": source,
        "query": query or [History(name="history", of="item")],
        "candidate": [
            Categorical(name="item"),
            CategoricalList(name="tags"),
            Words(name="title"),
            HashedWords(name="hashed", column="title", num_buckets=20),
            Numeric(name="price"),
        ],
        "split": PerQuery(test=0.25, validation=0.25),
        "batch_size": 16,
        "cache_dir": str(folder / "cache"),
    }
    return RetrievalDataModule(**(settings | changes))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run on items 0 to 9."""
    folder = tmp_path_factory.mktemp("earlier")
    trainer = small_trainer(folder)
    trainer.fit(small_model(**TIED), datamodule=shop(folder, 0))
    trainer.save_checkpoint(folder / "earlier.ckpt")
    return folder / "earlier.ckpt"


def built(data: RetrievalDataModule, **changes: Any) -> TwoTower:
    data.prepare_data()
    data.setup("fit")
    model = small_model(**(TIED | changes))
    model.build(data.schemas)
    return model


def rows(state: dict[str, Tensor], side: str, feature: Feature) -> dict[str | None, list[float]]:
    """Return the row of each value; None = the unknown value."""
    table = state[f"{side}_tower.encoders.{feature.name}.table.weight"]
    item: Any = getattr(feature, "item", None) or feature
    return dict(zip([None, *item.vocabulary], table.tolist(), strict=True))


def test_rows_follow_their_values_and_layers_their_shapes(tmp_path: Path, earlier: Path) -> None:
    data = shop(tmp_path, 5)
    model = built(data)
    fresh = {key: value.clone() for key, value in model.state_dict().items()}
    news = warm_start(earlier, model, model.towers, data.schemas)
    found, content = model.state_dict(), torch.load(earlier, weights_only=True)
    old_data = shop(tmp_path, 0)
    old_data.prepare_data()
    old_data.setup("fit")
    counts = {}
    for side, name in (("query", "history"), ("candidate", "item"), ("candidate", "tags"), ("candidate", "title")):
        feature, before = getattr(data.schemas, side)[name], getattr(old_data.schemas, side)[name]
        now, started, then = (
            rows(state, side, f) for state, f in ((found, feature), (fresh, feature), (content["state_dict"], before))
        )
        kept = set(now) & set(then)
        assert all(now[value] == then[value] for value in kept)
        assert all(now[value] == started[value] for value in set(now) - kept)
        counts[name] = (len(kept), len(now))
    assert counts == {"history": (6, 11), "item": (6, 11), "tags": (3, 4), "title": (7, 12)}
    for key in ("candidate_tower.encoders.hashed.table.weight", "candidate_tower.output.1.weight"):
        torch.testing.assert_close(found[key], content["state_dict"][key], rtol=0, atol=0)
    assert "candidate feature 'item': 5 of 11 rows are new" in news
    assert model.query_tower.encoders["history"].table is model.candidate_tower.encoders["item"].table


def test_codes_of_both_sides_stay_equal(tmp_path: Path) -> None:
    """Items of both runs keep their codes, and both sides have the same code for every item."""
    codes: dict[str, Any] = {"class_path": "Codes", "init_args": {"output_dim": 8}}
    plain = {"output_dim": 4, "fusion": "Concat"}
    towers: dict[str, Any] = {
        f"{side}_tower": {"class_path": "Tower", "init_args": {**plain, "bypass": [name], "encoders": {name: codes}}}
        for side, name in (("query", "shown"), ("candidate", "code"))
    }
    changes: dict[str, Any] = {
        "query": [History(name="history", of="item"), History(name="shown", of="item")],
        "candidate": [Categorical(name="item"), Categorical(name="code", column="item")],
    }
    trainer = small_trainer(tmp_path)
    trainer.fit(small_model(**towers), datamodule=shop(tmp_path, 0, **changes))
    trainer.save_checkpoint(tmp_path / "codes.ckpt")
    data = shop(tmp_path, 5, **changes)
    model = built(data, tied_embeddings=None, **towers)
    warm_start(tmp_path / "codes.ckpt", model, model.towers, data.schemas)
    tables = [model.query_tower.encoders["shown"].table, model.candidate_tower.encoders["code"].table]
    assert torch.equal(tables[0].weight, tables[1].weight)
    old = torch.load(tmp_path / "codes.ckpt", weights_only=True)["state_dict"][
        "candidate_tower.encoders.code.table.weight"
    ]
    assert torch.equal(tables[0].weight[1:6], old[6:])  # i05 … i09


def test_new_features_and_layers_of_another_shape_keep_initial_weights_and_are_named(
    tmp_path: Path, earlier: Path
) -> None:
    data = shop(tmp_path, 0, query=[History(name="history", of="item"), Categorical(name="user")])
    model = built(data)
    before = model.query_tower.output[1].weight.clone()
    news = warm_start(earlier, model, model.towers, data.schemas)
    assert "query feature 'user' is new" in news
    assert [line for line in news if f"query_tower.output.1.weight {tuple(before.shape)}" in line]
    torch.testing.assert_close(model.query_tower.output[1].weight, before, rtol=0, atol=0)
    fewer = shop(tmp_path, 0, candidate=[Categorical(name="item")])
    model = built(fewer)
    assert [line for line in warm_start(earlier, model, model.towers, fewer.schemas) if "'tags'" in line]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (Categorical(name="title"), "candidate feature 'title': Words against Categorical"),
        (Words(name="title", max_length=3), "candidate feature 'title': max_length None against 3"),
        (HashedWords(name="hashed", column="title", num_buckets=30), "'hashed': num_buckets 20 against 30"),
    ],
)
def test_a_feature_with_another_declaration_is_refused(
    tmp_path: Path, earlier: Path, changed: Feature, message: str
) -> None:
    data = shop(tmp_path, 0, candidate=[Categorical(name="item"), changed])
    model = built(data)
    with pytest.raises(ValueError, match=message):
        warm_start(earlier, model, model.towers, data.schemas)


def test_another_encoder_is_refused(tmp_path: Path, earlier: Path) -> None:
    data = shop(tmp_path, 0)
    narrow = tower(tags={"class_path": "EmbeddingBag", "init_args": {"output_dim": 7}})
    model = built(data, candidate_tower=narrow)
    with pytest.raises(ValueError, match=r"'tags'.*table.weight \(4, 128\)"):
        warm_start(earlier, model, model.towers, data.schemas)
    model = built(data, candidate_tower=tower(title={"class_path": "BiLSTM"}))
    with pytest.raises(ValueError, match=r"'title'.*\['table.weight'\] against \['lstm"):
        warm_start(earlier, model, model.towers, data.schemas)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    with pytest.raises(ValueError, match=r"warm_start .*gone\.ckpt: no such file"):
        small_trainer(tmp_path).fit(small_model(warm_start=str(tmp_path / "gone.ckpt")), datamodule=data)


def test_a_warm_start_happens_once_and_is_not_saved(tmp_path: Path, earlier: Path) -> None:
    copy = tmp_path / "copy.ckpt"
    copy.write_bytes(earlier.read_bytes())
    still = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.0}}
    model = small_model(**TIED, optimizer=still, warm_start=str(copy))
    trainer = small_trainer(tmp_path)
    trainer.fit(model, datamodule=shop(tmp_path, 0))
    content = torch.load(earlier, weights_only=True)["state_dict"]
    for key, value in content.items():  # the same data, and a learning rate of 0
        torch.testing.assert_close(model.state_dict()[key], value, rtol=0, atol=0)
    trainer.save_checkpoint(tmp_path / "warm.ckpt")
    copy.unlink()
    assert "warm_start" not in torch.load(tmp_path / "warm.ckpt", weights_only=True)["hyper_parameters"]
    TwoTower.load_from_checkpoint(tmp_path / "warm.ckpt", weights_only=True)
    resumed = small_model(**TIED, optimizer=still, warm_start=str(copy))
    small_trainer(tmp_path, max_epochs=2).fit(
        resumed, datamodule=shop(tmp_path, 0), ckpt_path=tmp_path / "warm.ckpt", weights_only=True
    )


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trigrams = {"class_path": "HashedTrigrams", "init_args": {"name": "text", "num_buckets": 2000}}
    by_id = [trigrams, {"class_path": "Categorical", "init_args": {"name": "candidate_id"}}]
    config = write_config(tmp_path / "shop.yaml", data={"candidate": by_id}, trainer={"max_epochs": 1})
    main(["fit", "--config", str(config)])
    first = tmp_path / "runs/shop/version_0/checkpoints/best.ckpt"
    fit = ["fit", "--config", str(config), "--data.source.init_args.num_candidates", "80"]
    cli = main([*fit, "--model.warm_start", str(first)])
    first.unlink()
    assert cli.run == Path("runs/shop/version_1")
    main(["test"])
    main([*fit, "--model.warm_start", str(first), "--ckpt_path", "last", "--trainer.max_epochs", "2"])


def test_rows_of_an_inner_encoder_are_matched_by_value(tmp_path: Path) -> None:
    """Also in tables of equal size, in which a match by row number would be possible."""
    embedding = {"class_path": "Embedding", "init_args": {"output_dim": 4}}
    dense = {"class_path": "Dense", "init_args": {"encoder": embedding, "output_dim": 8}}
    item = Categorical(name="item", num_embeddings=30)
    changes = {"query_tower": HISTORY, "candidate_tower": tower(item=dense), "tied_embeddings": {}}
    trainer, before = small_trainer(tmp_path), shop(tmp_path, 0, candidate=[item])
    trained = small_model(**changes)
    trainer.fit(trained, datamodule=before)
    trainer.save_checkpoint(tmp_path / "dense.ckpt")
    data = shop(tmp_path, 5, candidate=[item])
    model = built(data, **changes)
    warm_start(tmp_path / "dense.ckpt", model, model.towers, data.schemas)
    encoders: list[Any] = [each.candidate_tower.encoders["item"] for each in (trained, model)]
    tables = [each.encoder.table.weight for each in encoders]
    assert torch.equal(tables[1][1:6], tables[0][6:11])  # items 5 to 9, which are the first of the new shop
