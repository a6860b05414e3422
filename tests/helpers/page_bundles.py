"""A bundle for the page with everything that it can show: fields of each kind, pictures, hostile and foreign texts."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import polars as pl
import torch
from helpers.bundles import export
from helpers.small import small_data, small_model
from PIL import Image as Picture

from dssm_lightning.data.sources import Frames
from dssm_lightning.features import (
    Categorical,
    CategoricalList,
    HashedWords,
    History,
    Image,
    Numeric,
    Words,
)

HOSTILE = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>'
HOSTILE_ID = "'\"><svg onload=window.hurt=1>"
HOSTILE_COLUMN = "<b onclick=window.hurt=1>of</b>"
ARABIC = "قطة مبتسمة"
LONG = "A very long story of a cat that goes on and on. " * 12


def film_table(folder: Path) -> pl.DataFrame:
    """20 candidates with posters in a folder, hostile, right-to-left and long titles, and very large whole numbers."""
    titles = [HOSTILE, ARABIC, LONG, *(f"Film {n} of the sea" for n in range(17))]
    ids = [HOSTILE_ID, *(str(9007199254740993 + n) for n in range(19))]
    posters = [folder / f"{n}.png" for n in range(20)]
    for n, path in enumerate(posters):
        path.write_bytes(_png(["red", "green", "blue", "gold", "teal"][n % 5], 20 + n))
    return pl.DataFrame(
        {
            "film": ids,
            "title": titles,
            HOSTILE_COLUMN: [f"<i>{n}</i>" for n in range(20)],
            "votes": [9007199254740993 + 2 * n for n in range(20)],
            "genres": [[["War", "It's \\ odd"], ["Drama"], []][n % 3] for n in range(20)],
            "released": [f"20{10 + n}-02-03" for n in range(20)],
            "poster": [str(path) for path in posters],
        }
    ).with_columns(pl.col("released").str.to_date())


def _png(colour: str, size: int) -> bytes:
    target = io.BytesIO()
    Picture.new("RGB", (size, size), colour).save(target, "PNG")
    return target.getvalue()


def film_sides() -> dict[str, Any]:
    """Features that give the page a field of each kind."""
    return {
        "query": [
            HashedWords(name="words", num_buckets=300),
            Words(name="mood", max_length=3),
            Categorical(name="city"),
            Numeric(name="age"),
            CategoricalList(name="likes"),
            Image(name="photo", size=32),
            History(name="seen", of="film"),
        ],
        "candidate": [
            Categorical(name="film"),
            HashedWords(name="title", num_buckets=300),
            Image(name="poster", size=32),
        ],
    }


def make_film_bundle(folder: Path) -> Path:
    """The bundle of an untrained model over the films."""
    table = film_table(folder)
    ids = table["film"].to_list()
    pairs = [(f"q{q}", ids[(3 * q + step) % len(ids)], step) for q in range(12) for step in range(4)]
    queries = pl.DataFrame(
        {
            "search": [f"q{q}" for q in range(12)],
            "words": [f"film {q} sea" for q in range(12)],
            "mood": [["happy", "sad and blue"][q % 2] for q in range(12)],
            "city": [["Bonn", "Rome"][q % 2] for q in range(12)],
            "age": [20.0 + q for q in range(12)],
            "likes": [["red", "new"] for _ in range(12)],
            "photo": [_png("red", 16 + q) for q in range(12)],
        }
    )
    source = Frames(
        pl.DataFrame(pairs, schema=["search", "film", "time"], orient="row"),
        queries,
        table,
        query_id="search",
        candidate_id="film",
        time="time",
        display=["title", HOSTILE_COLUMN, "genres", "votes", "released"],
    )
    model, data = small_model(), small_data(folder / "cache", source=source, **film_sides())
    torch.manual_seed(0)
    model.build(data.data.schemas)
    return export(model.eval(), data, folder / "films")
