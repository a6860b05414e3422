"""Rebuild the small tables of examples/tables, on which the templates and the tutorials run.

    python scripts/build_example_tables.py --data "$DSSM_DATA"

``search/`` and ``images/`` are cut from the data that ship with the package, ``rerank/`` from ``medquad/qa.jsonl`` in
``--data``. ``recommend/`` and ``labels/`` are a made-up shop: who buys what follows tastes, series, seasons and what is
new, all drawn from a fixed seed. The same input gives the same files.
"""

from __future__ import annotations

import argparse
import io
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from example_shop import Shop
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "dssm_lightning" / "data" / "sources" / "shipped"
TABLES = ROOT / "examples" / "tables"
PAGES, PICTURES, PIXELS = 1_200, 400, 32
QUESTIONS, LONGEST, LISTED = 600, 240, 6
"""Questions, characters of an answer, and answers of a list."""

Tables = dict[str, pl.DataFrame]


def search_tables() -> Tables:
    """Searches, the pages that they led to, and the pages: what people want to do, and commands that do it."""
    pages = pl.read_parquet(SHIPPED / "tldr_pages.parquet").filter(pl.col("platform").is_in(["common", "linux"]))
    chosen = _sample(pages["page_id"].to_list(), PAGES, 1)
    pages = pages.filter(pl.col("page_id").is_in(chosen)).select("page_id", "title", "description")
    clicks = pl.read_parquet(SHIPPED / "tldr_examples.parquet").filter(pl.col("page_id").is_in(chosen))
    return {"searches.csv": clicks.select("query", "page_id"), "pages.csv": pages}


def image_tables(folder: Path) -> Tables:
    """Names and the pictures that they name; writes the pictures."""
    emoji = pl.read_parquet(SHIPPED / "emoji.parquet")
    emoji = emoji.filter(pl.col("unified").is_in(_sample(emoji["unified"].to_list(), PICTURES, 2)))
    emoji = emoji.with_columns(file="pictures/" + pl.col("unified").str.to_lowercase() + ".png")
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for name, picture in emoji.select("file", "picture").iter_rows():
        small = Image.open(io.BytesIO(picture)).convert("RGBA").resize((PIXELS, PIXELS), Image.Resampling.LANCZOS)
        small.quantize(64).save(folder / name, optimize=True)
    names = pl.read_parquet(SHIPPED / "emoji_queries.parquet").filter(pl.col("lang") == "en")
    names = names.join(emoji.select("unified", "file"), on="unified", maintain_order="left")
    return {
        "names.csv": names.select("query", "file").unique(maintain_order=True),
        "pictures.csv": emoji.select("file", "category"),
    }


def rerank_tables(data: Path) -> Tables:
    """Questions, each with a list of answers of which one or more are right."""
    lines = (data / "medquad" / "qa.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["question"] and row["answer"]]
    by_focus: dict[str, list[Any]] = {}
    for row in rows:
        by_focus.setdefault(row["focus"], []).append(row)
    several = [focus for focus, found in by_focus.items() if len({row["answer"] for row in found}) >= 3]
    draw = random.Random(3)
    chosen = [row for focus in _sample(several, QUESTIONS // 3, 3) for row in by_focus[focus]][:QUESTIONS]
    answers: dict[str, int] = {}
    judged = []
    for number, row in enumerate(chosen):
        others = {each["answer"] for each in by_focus[row["focus"]]} - {row["answer"]}
        texts = [row["answer"], *draw.sample(sorted(others), min(LISTED - 1, len(others)))]
        judged += [
            (number, answers.setdefault(_cut(text), len(answers)), int(not place)) for place, text in enumerate(texts)
        ]
    return {
        "questions.csv": pl.DataFrame({"question_id": range(len(chosen)), "question": [r["question"] for r in chosen]}),
        "answers.csv": pl.DataFrame({"answer_id": list(answers.values()), "answer": list(answers)}),
        "judged.csv": pl.DataFrame(judged, schema=["question_id", "answer_id", "right"], orient="row").unique(
            ["question_id", "answer_id"], maintain_order=True
        ),
    }


def _cut(text: str) -> str:
    return " ".join(text.split())[:LONGEST]


def _sample(values: Sequence[str], number: int, seed: int) -> list[str]:
    return random.Random(seed).sample(sorted(set(values)), min(number, len(set(values))))


def build(data: Path, out: Path) -> dict[str, int]:
    """Write all files, and return the bytes of each table.

    Args:
        data: folder that holds medquad.
        out: folder to write into.
    """
    shop = Shop(seed=4)
    folders = {
        "search": search_tables(),
        "recommend": shop.purchases(),
        "labels": shop.impressions(),
        "rerank": rerank_tables(data),
        "images": image_tables(out / "images"),
    }
    sizes = {}
    for folder, tables in folders.items():
        (out / folder).mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            table.write_csv(out / folder / name)
            sizes[f"{folder}/{name}"] = (out / folder / name).stat().st_size
    return sizes


def main(args: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds medquad/")
    parser.add_argument("--out", type=Path, default=TABLES, help="folder to write into (default: examples/tables)")
    options = parser.parse_args(args)
    for name, size in build(options.data, options.out).items():
        print(f"{size:>10,}  {name}")


if __name__ == "__main__":
    main()
