"""Commands load only the libraries that they need: each check runs in a new process and lists its modules."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT
from helpers.small import write_config

from dssm_lightning.cli.commands.registry import COMMANDS, function_of
from dssm_lightning.cli.main import main
from dssm_lightning.cli.trainer_verbs import ABOUT

HEAVY = {"torch", "lightning", "polars", "torchmetrics", "numpy", "rich"}
RUN_MAIN = "from dssm_lightning.cli.main import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit as stopped:\n"
RUN_MAIN += "    assert not stopped.code"


def loaded(statements: str, *arguments: str, cwd: Path | None = None) -> set[str]:
    """Return the top-level modules that a new process holds after some statements."""
    code = f"import sys\n{statements}\nprint(*{{name.partition('.')[0] for name in sys.modules}}, file=sys.stderr)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = ["timeout", "-k", "5", "120", sys.executable, "-c", code, *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=environment, cwd=cwd)
    return set(done.stderr.splitlines()[-1].split())


def test_importing_the_package_loads_no_library() -> None:
    found = loaded("import dssm_lightning")
    assert "dssm_lightning" in found
    assert not found & (HEAVY | {"jsonargparse", "yaml"})


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in (*ABOUT, *COMMANDS))], ids=" ".join)
def test_help_loads_no_library(words: list[str]) -> None:
    found = loaded(RUN_MAIN, *words)
    assert "dssm_lightning" in found
    assert not found & HEAVY


def test_a_spelling_mistake_loads_no_library() -> None:
    fail = "from dssm_lightning.cli.main import main\ntry:\n    main(['fti'])\nexcept ValueError:\n    pass"
    assert not loaded(fail) & HEAVY


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a run."""
    place = tmp_path_factory.mktemp("light")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PL_GLOBAL_SEED", "0")
        main(["fit", "--config", str(write_config(place / "texts.yaml")), "--trainer.max_epochs=1"])
    (place / "in.json").write_text(json.dumps({"query": "a", "positive_doc": "b", "negative_docs": []}), "utf-8")
    return place


@pytest.mark.parametrize(
    "words",
    [
        ["search", "--query", "bada", "--k", "2"],
        ["search", "--query", "bada", "--json", "--hybrid"],
        ["score", "--input", "in.json", "--output", "out.json"],
    ],
    ids=" ".join,
)
def test_answers_need_neither_lightning_nor_torchmetrics(place: Path, words: list[str]) -> None:
    found = loaded(RUN_MAIN, *words, cwd=place)
    assert "torch" in found
    assert not found & {"lightning", "lightning_fabric", "pytorch_lightning", "torchmetrics"}


@pytest.mark.parametrize("words", [["runs"], ["runs", "--json"]], ids=" ".join)
def test_runs_are_listed_without_torch(place: Path, words: list[str]) -> None:
    found = loaded(RUN_MAIN, *words, cwd=place)
    assert "yaml" in found
    assert not found & {"torch", "lightning", "polars", "numpy", "torchmetrics"}


SEARCH = ["search", "--bundle=bundle"]
OF_A_BUNDLE = {
    "search": [*SEARCH, "--query=bada"],
    "search, filtered": [*SEARCH, "--query=bada", "--filter", "group = 'group-1'", "--hybrid", "--json"],
    "similar": ["similar", "--bundle=bundle", "--id=c7"],
    "score": ["score", "--bundle=bundle", "--input=in.json"],
    "inspect": ["inspect", "--bundle=bundle"],
    "push": ["push", "--bundle=bundle", "--url=memory://bundle"],
    "index": ["index", "--bundle=copy", "--precision=int8", "--factory=HNSW8"],
    "pull": ["pull", "--url=FILE", "--output=pulled"],
    "rank": ["rank", "--bundle=bundle", "--input=lists.jsonl", "--output=ranked.jsonl"],
    "a file": [*SEARCH, "--queries=queries.csv", "--output=topk.parquet"],
    "a file of vectors": [*SEARCH, "--queries=bundle/query_sample.safetensors", "--output=topk.csv"],
}


@pytest.mark.parametrize("name", OF_A_BUNDLE)
def test_a_bundle_needs_no_torch(name: str, exported: Path, tmp_path: Path) -> None:
    """Polars is only needed for files."""
    shutil.copytree(exported / "bundle", tmp_path / "bundle")
    shutil.copytree(exported / "bundle", tmp_path / "copy")
    (tmp_path / "in.json").write_text(json.dumps({"query": "a", "positive_doc": "b", "negative_docs": []}), "utf-8")
    given = json.dumps({"query": "a", "candidates": ["c3", {"text": "b"}], "labels": [1, 0]})
    (tmp_path / "lists.jsonl").write_text(f"{given}\n", "utf-8")
    (tmp_path / "queries.csv").write_text("text\nbada\ntude\n", "utf-8")
    words = [word.replace("FILE", f"file://{tmp_path}/bundle") for word in OF_A_BUNDLE[name]]
    found = loaded(RUN_MAIN, *words, cwd=tmp_path)
    assert "numpy" in found
    assert not found & {"torch", "lightning", "torchmetrics", "torchvision", "tokenizers", "PIL", "pandas", "sklearn"}
    assert ("polars" in found) == name.startswith("a file")
    assert ("onnxruntime" in found) == (name not in ("inspect", "push", "pull"))


def test_search_starts_quickly(exported: Path) -> None:
    """With compiled files, the process takes about .4 s of processor time, most of it imports."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": ""}
    line = ["timeout", "-k", "5", "120", sys.executable, "-m", "dssm_lightning", *SEARCH, "--query=bada"]
    seconds = []
    for _ in range(3):  # the first one may compile
        before = os.times()
        subprocess.run(line, capture_output=True, check=True, env=environment, cwd=exported, timeout=120)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(seconds) < 2, seconds


@pytest.mark.parametrize("name", COMMANDS)
def test_the_overview_shows_the_first_line_of_each_docstring(name: str) -> None:
    """The registry repeats the line, since the overview must not import the commands."""
    assert COMMANDS[name].about == (inspect.getdoc(function_of(name)) or "").partition("\n")[0]
