"""A small run with hostile texts, trained, tested and compared with baselines, for the tests of reports."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from helpers.small import TEXT_CONFIG

from dssm_lightning.cli.main import main

SCRIPT = "<script>document.title='hacked'</script>"
IMAGE = '"><img src=x onerror="document.title=\'hacked\'">'
COLUMN = "<b onclick=alert(1)>kind</b>"
FORMULA = "$\\frac{1}{0}$ \x07 \u202e abc \U0001f600 </title><style>*{display:none}</style>"


def write_tables(folder: Path) -> None:
    """90 queries and 30 candidates whose titles, kinds and column names are hostile."""
    random.seed(1)
    words = ["red", "blue", "green", "shoe", "boot", "hat", "coat", "sock", "tie", "belt"]
    evil = [SCRIPT, IMAGE, FORMULA]
    titles = [f"{words[n % 10]} {words[n // 3 % 10]} {evil[n % 3]}" for n in range(30)]
    queries = [f"{words[n % 10]} {words[n // 4 % 10]} {evil[n % 3]}" for n in range(90)]
    events = [
        (f"q{n}", f"c{(n % 10 + 10 * m + m // 3) % 30}") for n in range(90) for m in range(4)
    ]  # by the first word
    pl.DataFrame(events, schema=["query_id", "candidate_id"], orient="row").write_csv(folder / "events.csv")
    pl.DataFrame({"query_id": [f"q{n}" for n in range(90)], "text": queries}).write_csv(folder / "queries.csv")
    kinds = [f"{evil[n % 3]} {n % 4}" for n in range(30)]
    candidates = {"candidate_id": [f"c{n}" for n in range(30)], "title": titles, COLUMN: kinds}
    pl.DataFrame(candidates).write_csv(folder / "candidates.csv")


def hostile_config(**trainer: Any) -> dict[str, Any]:
    """A config of these tables."""
    files = {
        "interactions": "events.csv",
        "queries": "queries.csv",
        "candidates": "candidates.csv",
        "display": ["title"],
    }
    keys = {"query_id": "query_id", "candidate_id": "candidate_id"}
    text = {"class_path": "HashedTrigrams", "init_args": {"num_buckets": 500}}

    def feature(name: str) -> dict[str, Any]:
        return {**text, "init_args": {**text["init_args"], "name": name}}

    adam = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.05}}
    model = {**TEXT_CONFIG["model"], "optimizer": adam}
    data = {
        "source": {"class_path": "Files", "init_args": {**files, **keys}},
        "split": {"class_path": "PerQuery", "init_args": {"test": 0.25, "validation": 0.25}},
        "batch_size": 16,
        "query": [feature("text"), {"class_path": "Categorical", "init_args": {"name": "query_id"}}],
        "candidate": [
            feature("title"),
            {"class_path": "Categorical", "init_args": {"name": "candidate_id"}},
            {"class_path": "Categorical", "init_args": {"name": "kind", "column": COLUMN}},
        ],
    }
    return {**TEXT_CONFIG, "data": data, "trainer": {**TEXT_CONFIG["trainer"], **trainer}, "model": model}


def reported_run(place: Path) -> Path:
    """Fit, test and measure baselines in a folder, and return the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PL_GLOBAL_SEED", "0")
        write_tables(place)
        (place / "shop.yaml").write_text(
            yaml.safe_dump(hostile_config(log_every_n_steps=1, max_epochs=8)), encoding="utf-8"
        )
        main(["fit", "--config", "shop.yaml"])
        main(["test"])
        main(["baseline", "--config", "shop.yaml"])
    return place / "runs" / "shop" / "version_0"
