"""Small runs with their bundles, which the tests of bundles share and do not change."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.small import write_config

from dssm_lightning.cli.main import main

HISTORY = {"class_path": "History", "init_args": {"name": "history", "of": "candidate_id"}}
ID = {"class_path": "Categorical", "init_args": {"name": "candidate_id"}}
TEXT = {"class_path": "HashedTrigrams", "init_args": {"name": "text", "num_buckets": 2000}}


def exported_run(place: Path, **features: list[dict[str, object]]) -> Path:
    """Train on small tables in a folder, write ``bundle`` into it, and return the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PL_GLOBAL_SEED", "0")
        main(["fit", "--config", str(write_config(place / "texts.yaml", data=features, trainer={"max_epochs": 1}))])
        main(["export", "--output", "bundle"])
    return place
