"""Bundles to serve where none is given: untrained models, one of texts and one of columns of many kinds."""

from __future__ import annotations

import datetime
import io
from pathlib import Path
from typing import Any

import PIL.Image
import polars as pl
import torch

from dssm_lightning import RetrievalDataModule, TwoTower
from dssm_lightning.api import load_data, load_untrained, make_retriever
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import PerQuery
from dssm_lightning.export.bundle import export_bundle
from dssm_lightning.export.run_facts import RunFacts
from dssm_lightning.features import (
    Bucketized,
    Categorical,
    CategoricalList,
    HashedTrigrams,
    HashedWords,
    History,
    Image,
    Numeric,
    Vector,
    Words,
)

ROOT = Path(__file__).resolve().parents[2]
COUNT = 60
TOWER = {"class_path": "Tower", "init_args": {"fusion": "Concat", "output_dim": 16}}
CLASSES: dict[str, Any] = {
    "query_tower": TOWER,
    "candidate_tower": TOWER,
    "scorer": {"class_path": "Dot", "init_args": {"logit_scale": 10}},
    "loss": {"class_path": "SampledSoftmax"},
    "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.01}},
}


def make_bundles(folder: Path) -> list[Path]:
    """Write two bundles into a folder, and return their places."""
    config = ROOT / "configs" / "emoji.yaml"
    data, model = load_data([config]), load_untrained([config])
    data.cache_dir = folder / "cache"
    return [_export(model, data, folder / "texts"), _export(*_columns(folder), folder / "columns")]


def _export(model: Any, data: Any, folder: Path) -> Path:
    torch.manual_seed(0)
    model.build(data.data.schemas)
    retriever = make_retriever(model.eval(), data)
    export_bundle(model, data, retriever, folder, RunFacts("", {}, {}, {}, {}))
    return folder


def _columns(folder: Path) -> tuple[TwoTower, RetrievalDataModule]:
    """A model that reads texts, pictures, numbers, dates, lists, vectors and a history, and candidates to filter."""
    items = [f"i{n}" for n in range(COUNT)]
    pairs = [(f"q{q}", items[(5 * q + step) % COUNT], step) for q in range(20) for step in range(4)]
    source = Frames(
        pl.DataFrame(pairs, schema=["search", "item", "time"], orient="row"),
        _queries(),
        _candidates(items),
        query_id="search",
        candidate_id="item",
        time="time",
        display=["title", "tags"],
    )
    data = RetrievalDataModule(
        source=source,
        query=[
            HashedWords(name="words", num_buckets=99, on_empty="allow"),
            Words(name="mood", max_length=3, on_empty="allow"),
            Categorical(name="city"),
            Numeric(name="age"),
            Bucketized(name="day", num_buckets=4),
            CategoricalList(name="likes"),
            Vector(name="place", length=3),
            Image(name="photo", size=32),
            History(name="liked", of="item"),
        ],
        candidate=[
            Categorical(name="item"),
            HashedTrigrams(name="title", num_buckets=99),
            Numeric(name="price", missing="indicator"),
            Image(name="picture", size=32),
        ],
        split=PerQuery(test=0.2, validation=0.2),
        batch_size=32,
        cache_dir=str(folder / "cache"),
    )
    return TwoTower(**CLASSES), data


def _candidates(items: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "item": items,
            "title": [f"thing number {n}" for n in range(COUNT)],
            "picture": [None if n % 3 == 0 else _picture(n) for n in range(COUNT)],
            "price": [None if n % 7 == 0 else n / 2 for n in range(COUNT)],
            "tags": [["red", "new"][: n % 3] for n in range(COUNT)],
            "made": [None if n % 5 == 0 else datetime.date(2020, 1, 1 + n % 28) for n in range(COUNT)],
            "seen at": [datetime.datetime(2020, 1, 1, n % 24, n) for n in range(COUNT)],
            "votes": [2**53 + n for n in range(COUNT)],
            "sold": [n % 2 == 0 for n in range(COUNT)],
        },
        schema_overrides={"picture": pl.Binary, "tags": pl.List(pl.String), "made": pl.Date},
    )


def _queries() -> pl.DataFrame:
    numbers = range(20)
    return pl.DataFrame(
        {
            "search": [f"q{n}" for n in numbers],
            "words": [f"number {n}" for n in numbers],
            "mood": [["happy", "sad and blue"][n % 2] for n in numbers],
            "city": [["Bonn", "Rome"][n % 2] for n in numbers],
            "age": [20.0 + n for n in numbers],
            "day": [datetime.date(2020, 1, 1 + n) for n in numbers],
            "likes": [["red", "new"] for _ in numbers],
            "place": [[n / 20, 0.5, 1.0] for n in numbers],
            "photo": [_picture(n) for n in numbers],
        }
    )


def _picture(shade: int) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (8, 6), (4 * shade % 256, 90, 200)).save(file, "PNG")
    return file.getvalue()
