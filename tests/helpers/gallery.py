"""A bundle with pictures on both sides, a history, and columns of each kind that a filter reads."""

from __future__ import annotations

import datetime
import io
from pathlib import Path
from typing import Any

import PIL.Image
import polars as pl
import torch
from helpers.bundles import export
from helpers.small import small_data, small_model

from dssm_lightning.data.sources import Frames
from dssm_lightning.features import Categorical, HashedWords, History, Image

COUNT = 12


def picture_file(shade: int = 100, width: int = 8, height: int = 6, kind: str = "PNG") -> bytes:
    """A picture of one colour."""
    file = io.BytesIO()
    PIL.Image.new("RGB", (width, height), (shade % 256, 90, 200)).save(file, kind)
    return file.getvalue()


def make_gallery(folder: Path, **options: Any) -> Path:
    """Export an untrained model over 12 candidates, of which every third has no picture.

    Queries give a text, a photo and what they liked; the photos' ``root`` exists here, and nowhere else.
    """
    root = folder / "photos"
    root.mkdir(parents=True)
    items = [f"i{n}" for n in range(COUNT)]
    candidates = pl.DataFrame(
        {
            "item": items,
            "title": [f"thing number {n}" for n in range(COUNT)],
            "picture": [None if n % 3 == 0 else picture_file(20 * n) for n in range(COUNT)],
            "price": [None if n == 0 else n / 2 for n in range(COUNT)],
            "tags": [["red", "new"][: n % 3] for n in range(COUNT)],
            "made": [datetime.date(2020, 1, 1 + n) for n in range(COUNT)],
            "sold": [n % 2 == 0 for n in range(COUNT)],
        },
        schema_overrides={"picture": pl.Binary, "tags": pl.List(pl.String)},
    )
    queries = pl.DataFrame(
        {
            "user": [f"u{n}" for n in range(8)],
            "words": [f"number {n}" for n in range(8)],
            "photo": [picture_file(30 * n) for n in range(8)],
        }
    )
    pairs = [(f"u{u}", items[(5 * u + step) % COUNT], step) for u in range(8) for step in range(4)]
    interactions = pl.DataFrame(pairs, schema=["user", "item", "time"], orient="row")
    source = Frames(
        interactions, queries, candidates, query_id="user", candidate_id="item", time="time", display=["title"]
    )
    query = [
        HashedWords(name="words", num_buckets=99, on_empty="allow"),
        Image(name="photo", size=32, root=str(root)),
        History(name="liked", of="item"),
    ]
    candidate = [Categorical(name="item"), HashedWords(name="title", num_buckets=99), Image(name="picture", size=32)]
    data = small_data(folder / "cache", source=source, query=query, candidate=candidate)
    model = small_model()
    torch.manual_seed(0)
    model.build(data.data.schemas)
    bundle = export(model.eval(), data, folder / "bundle", **options)
    root.rmdir()
    return bundle
