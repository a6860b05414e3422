"""A small run with its bundle, which the tests of bundles share and do not change."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.small import write_config

from dssm_lightning.cli.main import main

HISTORY = {"class_path": "History", "init_args": {"name": "history", "of": "candidate_id"}}
ID = {"class_path": "Categorical", "init_args": {"name": "candidate_id"}}
TEXT = {"class_path": "HashedTrigrams", "init_args": {"name": "text", "num_buckets": 2000}}


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a run of texts, and ``bundle``."""
    return _exported(tmp_path_factory.mktemp("exported"), query=[TEXT], candidate=[TEXT])


@pytest.fixture(scope="session")
def exported_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with queries of a text and a history of candidate ids."""
    return _exported(tmp_path_factory.mktemp("exported"), query=[TEXT, HISTORY], candidate=[ID, TEXT])


def _exported(place: Path, **features: list[dict[str, object]]) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PL_GLOBAL_SEED", "0")
        main(["fit", "--config", str(write_config(place / "texts.yaml", data=features, trainer={"max_epochs": 1}))])
        main(["export", "--output", "bundle"])
    return place
