"""Models of labelled pairs on the command line: the parts of DSSM + SENet systems, with small made-up tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from helpers.small import write_config

from dssm_lightning.cli.main import main

USERS, FILMS = 40, 30


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")


def rated(tmp_path: Path) -> dict[str, Any]:
    """Two kinds of users; each kind likes the films whose vector has its sign, about half of the shown films."""
    rng = np.random.default_rng(0)
    direction = rng.choice([-1.0, 1.0], FILMS)
    pl.DataFrame(
        {"film": np.arange(FILMS), "vector": [[d, rng.normal()] for d in direction]},
        schema_overrides={"film": pl.Int64},
    ).write_parquet(tmp_path / "films.parquet")
    users = np.repeat(np.arange(USERS), 20)
    films = np.concatenate([rng.permutation(FILMS)[:20] for _ in range(USERS)])
    kind = np.where(users % 2 == 0, 1.0, -1.0)
    pl.DataFrame({"user": users, "film": films, "liked": (kind * direction[films] > 0).astype(int)}).write_parquet(
        tmp_path / "ratings.parquet"
    )
    pl.DataFrame({"user": np.arange(USERS), "zip": [f"{9 - i % 2}{i:04}" for i in range(USERS)]}).write_parquet(
        tmp_path / "users.parquet"
    )
    keys = {"query_id": "user", "candidate_id": "film", "label": "liked"}
    tables = {"interactions": "ratings.parquet", "queries": "users.parquet", "candidates": "films.parquet"}
    return {
        "source": {"class_path": "Files", "init_args": {**tables, **keys}},
        "split": {"class_path": "RandomRows", "init_args": {"test": 0.2, "validation": 0.2}},
        "negatives": "ObservedOnly",
        "query": [{"class_path": "Categorical", "init_args": {"name": "area", "column": "zip", "prefix": 1}}],
        "candidate": [{"class_path": "Vector", "init_args": {"name": "vector", "length": 2}}],
    }


def senet(**arguments: Any) -> dict[str, Any]:
    towers = {"fusion": "SENet", "hidden_dims": [16], "output_dim": 8, "normalize": False, **arguments}
    return {
        "query_tower": {"class_path": "Tower", "init_args": towers},
        "candidate_tower": {"class_path": "Tower", "init_args": towers},
        "scorer": "Dot",
        "loss": "BinaryCrossEntropy",
        "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.02}},
    }


def test_a_model_learns_from_labels_vectors_and_prefixes(tmp_path: Path) -> None:
    """Only the first digit shows the kind of a user, and only the vector that of a film; else AUROC is 0.5."""
    path = write_config(
        tmp_path / "rated.yaml",
        data=rated(tmp_path),
        model=senet(bias=True),
        trainer={"max_epochs": 12},
        checkpoint={"monitor": "val/auroc"},
    )
    cli = main(["fit", "--config", str(path)])
    assert cli.datamodule.schemas.query["area"].vocabulary == ("8", "9")
    assert cli.trainer.callback_metrics["val/auroc"] > 0.95
    [hits] = main(["search", "--query", "99999", "--k", "3"])  # a vector works for any film, a prefix for any user
    assert len(hits) == 3


def learning_rate(run: Path) -> float:
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    rate: float = state["optimizer_states"][0]["param_groups"][0]["lr"]
    return rate


def test_a_schedule_by_epochs_continues_after_resuming(tmp_path: Path) -> None:
    halved = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 2, "gamma": 0.5}}
    path = write_config(tmp_path / "texts.yaml", model={"lr_scheduler": halved})
    fit = ["fit", "--config", str(path)]
    run = main([*fit, "--trainer.max_epochs=3"]).run
    assert learning_rate(run) == pytest.approx(0.01 * 0.5)  # after three epochs: once
    main([*fit, "--ckpt_path=last", "--trainer.max_epochs=5"])
    assert learning_rate(run) == pytest.approx(0.01 * 0.25)
    whole = main([*fit, "--trainer.max_epochs=5"]).run
    states = [torch.load(each / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for each in (run, whole)]
    assert run != whole
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
