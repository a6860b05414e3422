"""The notebooks say what their pages say, and run."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from helpers.paths import ROOT
from nbclient import NotebookClient

TUTORIALS = ROOT / "docs" / "tutorials"
NOTEBOOKS = sorted(path.name for path in TUTORIALS.glob("*.ipynb"))
QUICK = " --trainer.max_epochs=1 --trainer.accelerator=cpu --trainer.enable_progress_bar=false"


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_notebooks", ROOT / "scripts" / "build_notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_notebooks_are_what_their_pages_say() -> None:
    build = builder()
    pages = build.pages()
    assert [page.with_suffix(".ipynb").name for page in pages] == NOTEBOOKS
    for page in pages:
        assert page.with_suffix(".ipynb").read_text(encoding="utf-8") == build.notebook_of(page)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """As in the repository's folder; fits are one epoch long."""
    folder = tmp_path / "docs" / "tutorials"
    folder.mkdir(parents=True)
    os.symlink(ROOT / "examples", tmp_path / "examples")
    shutil.copy(TUTORIALS / name, folder)
    monkeypatch.setenv("PATH", f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(folder / name, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = re.sub(r"(dssm_lightning fit .*)", rf"\1{QUICK}", cell.source)
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    shown = "\n".join(str(output.get("text", "")) for cell in notebook.cells for output in cell.get("outputs", []))
    assert "Traceback" not in shown
    assert (tmp_path / "runs").is_dir()
