"""Two small healthy worlds as tables and a config: a search log and ratings of films. Faults are planted into them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import yaml

WORDS = [
    a + b for a in ("ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo", "zu") for b in ("den", "lum", "por", "ris")
]
START = 1_600_000_000


@dataclass
class World:
    """Tables and a config, which a fault changes before they are written."""

    interactions: pl.DataFrame
    queries: pl.DataFrame
    candidates: pl.DataFrame
    config: dict[str, Any]
    folder: Path
    files: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = self.config["data"]
        return found

    @property
    def source(self) -> dict[str, Any]:
        found: dict[str, Any] = self.data["source"]["init_args"]
        return found

    @property
    def model(self) -> dict[str, Any]:
        found: dict[str, Any] = self.config["model"]
        return found

    def feature(self, side: str, number: int = 0) -> dict[str, Any]:
        """The arguments of a feature."""
        found: dict[str, Any] = self.data[side][number]["init_args"]
        return found

    def tower(self, side: str) -> dict[str, Any]:
        """The arguments of a tower."""
        found: dict[str, Any] = self.model[f"{side}_tower"]["init_args"]
        return found

    def add(self, side: str, class_path: str, **init_args: Any) -> None:
        """Add a feature."""
        self.data[side].append({"class_path": class_path, "init_args": init_args})

    def set(self, path: str, value: Any) -> None:
        """Set a setting of the config by its keys, joined by dots; None removes it."""
        *keys, last = path.split(".")
        section = self.config
        for key in keys:
            section = section.setdefault(key, {})
        if value is None:
            section.pop(last, None)
        else:
            section[last] = value

    def write(self) -> str:
        """Write tables and config; return the path of the config."""
        for name in ("interactions", "queries", "candidates"):
            path = self.folder / f"{name}.csv"
            getattr(self, name).write_csv(path)
            self.source[name] = str(path)
        self.data["cache_dir"] = str(self.folder / "cache")
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return str(path)


def _tower() -> dict[str, Any]:
    return {"class_path": "Tower", "init_args": {"fusion": "Concat", "output_dim": 16}}


def _config(source: dict[str, Any], split: dict[str, Any], **data: Any) -> dict[str, Any]:
    return {
        "seed_everything": 1,
        "data": {"source": {"class_path": "Files", "init_args": source}, "split": split, "batch_size": 64, **data},
        "model": {
            "query_tower": _tower(),
            "candidate_tower": _tower(),
            "scorer": {"class_path": "Dot", "init_args": {"logit_scale": 20}},
            "loss": "SampledSoftmax",
            "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.003}},
        },
        "trainer": {"max_epochs": 10, "accelerator": "cpu"},
        "checkpoint": {"monitor": "val/mrr", "patience": 3},
    }


def shop(folder: Path) -> World:
    """400 search queries, each with two products that were bought, among 200."""
    draw = random.Random(1)
    titles = [" ".join(draw.sample(WORDS, 3)) for _ in range(200)]
    products = pl.DataFrame(
        {
            "product": [f"p{number}" for number in range(200)],
            "title": [f"{title} {number}" for number, title in enumerate(titles)],
            "brand": [draw.choice(["acme", "blue", "core", "dune"]) for _ in range(200)],
            "price": [round(draw.uniform(1, 100), 2) for _ in range(200)],
        }
    )
    texts = [f"{draw.choice(WORDS)} {draw.choice(WORDS)} {number}" for number in range(400)]
    queries = pl.DataFrame({"query": [f"q{number}" for number in range(400)], "text": texts})
    pairs = [(f"q{query}", f"p{product}") for query in range(400) for product in draw.sample(range(200), 2)]
    bought = pl.DataFrame(pairs, schema=["query", "product"], orient="row")
    words = {"num_buckets": 2048}
    config = _config(
        {"query_id": "query", "candidate_id": "product"},
        {"class_path": "RandomQueries", "init_args": {"test": 0.15, "validation": 0.15}},
        query=[{"class_path": "HashedWords", "init_args": {"name": "text", **words}}],
        candidate=[
            {"class_path": "HashedWords", "init_args": {"name": "title", **words}},
            {"class_path": "Categorical", "init_args": {"name": "brand"}},
        ],
    )
    config["model"]["tied_embeddings"] = {"text": "title"}
    return World(bought, queries, products, config, folder)


def films(folder: Path) -> World:
    """100 users, each with 12 rated films of 120, one after the other."""
    draw = random.Random(2)
    genres = ["Drama", "Comedy", "Action", "Crime"]
    table = pl.DataFrame(
        {
            "film": [f"f{number}" for number in range(120)],
            "name": [f"{' '.join(draw.sample(WORDS, 2))} {number}" for number in range(120)],
            "genres": ["|".join(sorted(draw.sample(genres, draw.randint(1, 3)))) for _ in range(120)],
            "year": [draw.randint(1950, 2020) for _ in range(120)],
        }
    )
    users = pl.DataFrame(
        {
            "user": [f"u{number}" for number in range(100)],
            "age": [draw.randint(18, 80) for _ in range(100)],
            "job": [draw.choice(["artist", "doctor", "nurse", "pilot"]) for _ in range(100)],
        }
    )
    rows = []
    for user in range(100):
        for film in draw.sample(range(120), 12):
            rows.append((f"u{user}", f"f{film}", START + draw.randrange(10_000_000), draw.choice([3, 4, 5])))
    rated = pl.DataFrame(rows, schema=["user", "film", "time", "stars"], orient="row")
    config = _config(
        {"query_id": "user", "candidate_id": "film", "time": "time"},
        {"class_path": "LeaveLastN", "init_args": {"test": 1, "validation": 1}},
        query=[
            {"class_path": "History", "init_args": {"name": "history", "of": "film", "order": "time"}},
            {"class_path": "Categorical", "init_args": {"name": "job"}},
        ],
        candidate=[
            {"class_path": "Categorical", "init_args": {"name": "film"}},
            {"class_path": "CategoricalList", "init_args": {"name": "genres", "separator": "|"}},
        ],
    )
    return World(rated, users, table, config, folder)
