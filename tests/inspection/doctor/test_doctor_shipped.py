"""No false alarm on the shipped configs: notes only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.paths import CONFIGS

from dssm_lightning.cli.commands.doctor import findings_of

OVERLAYS = {"ddp": "emoji", "sharded": "movielens-100k", "multimodal-emoji": "multimodal"}
WITHOUT_DATA = {"files"}
"""Templates that name files of the user."""
QUICK = {"tldr"}
NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem not in WITHOUT_DATA)
FOLDERS = {"movielens-1m": "ml-1m", "movielens-100k": "ml-100k", "multimodal": "ml-1m", "medquad": "medquad"}


def check(name: str, folder: Path) -> None:
    files = [CONFIGS / f"{each}.yaml" for each in (OVERLAYS.get(name), name) if each is not None]
    cache = folder / "cache.yaml"
    cache.write_text(f"data: {{cache_dir: {folder / 'cache'}}}\n", encoding="utf-8")
    findings = findings_of([*map(str, files), str(cache)], batches=1)
    assert not [finding for finding in findings if finding.level != "note"]
    assert {"folds", "cost", "parameters"} <= {finding.check for finding in findings}


@pytest.mark.parametrize("name", [name for name in NAMES if name in QUICK])
def test_a_shipped_config_has_nothing_wrong(name: str, tmp_path: Path) -> None:
    check(name, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in QUICK])
def test_a_larger_shipped_config_has_nothing_wrong(name: str, tmp_path: Path) -> None:
    needed = next((folder for start, folder in FOLDERS.items() if name.startswith(start)), None)
    if name == "sharded":
        needed = "ml-100k"
    if name == "multimodal-emoji":
        needed = None
    data = os.environ.get("DSSM_DATA")
    if needed is not None and (data is None or not (Path(data) / needed).is_dir()):
        pytest.skip(f"DSSM_DATA names no folder with {needed}")
    check(name, tmp_path)
