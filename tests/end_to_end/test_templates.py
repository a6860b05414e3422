"""The templates are what `init` writes for the small tables that ship, and each trains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT

from dssm_lightning.cli.main import main

TEMPLATES = ROOT / "configs" / "templates"
NAMES = ["images", "labels", "recommend", "rerank", "search"]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.accelerator=cpu"]


def test_the_templates_are_what_init_writes(tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "scripts" / "build_templates.py"), str(tmp_path)]
    subprocess.run(words, cwd=ROOT, check=True, timeout=300, capture_output=True)
    assert sorted(path.stem for path in TEMPLATES.glob("*.yaml")) == NAMES
    for name in NAMES:
        written = (tmp_path / f"{name}.yaml").read_text(encoding="utf-8")
        assert (TEMPLATES / f"{name}.yaml").read_text(encoding="utf-8") == written


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_template_trains_and_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    os.symlink(ROOT / "examples", "examples")
    fit = main(["fit", f"--config={TEMPLATES}/{name}.yaml", "--trainer.max_epochs=1", *QUIET])
    assert fit.trainer.current_epoch == 1
    test = main(["test", *QUIET])
    monitor = fit.trainer.checkpoint_callback.monitor.removeprefix("val/")
    assert 0 < test.trainer.callback_metrics[f"test/{monitor}"] <= 1
