"""A room imports only from itself and from rooms before it, and what serves loads neither Lightning nor training."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import PACKAGE, ROOT

ROOMS = (
    *("utils", "features", "data", "models", "losses", "retrieval", "evaluation"),
    *("training", "export", "inspection", "serving", "api", "reports", "cli"),
)
AT_THE_ROOT = {"__init__.py", "__main__.py", "api.py", "py.typed"}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.name == "api.py")
PRESENT = [room for room in ROOMS if (PACKAGE / room).is_dir() or (PACKAGE / f"{room}.py").is_file()]


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh process holds after a statement."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    line = ["timeout", "-k", "5", "100", sys.executable, "-c", code]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def modules_of(name: str) -> list[str]:
    """Every module of a room, by its dotted name."""
    if (PACKAGE / f"{name}.py").is_file():
        return [f"dssm_lightning.{name}"]
    paths = sorted((PACKAGE / name).rglob("*.py"))
    dotted = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    return [each.removesuffix(".__init__") for each in dotted]


def test_the_root_holds_rooms_only() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} == AT_THE_ROOT
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders <= set(ROOMS)
    assert len(FILES) > 100


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_from_rooms_before_its_own(path: Path) -> None:
    """Inside functions as well."""
    own = ROOMS.index(room(path))
    for name in imported(path):
        parts = name.split(".")
        assert parts[0] != "pytorch_lightning", "its classes are not those of lightning.pytorch"
        if parts[0] == "dssm_lightning" and len(parts) > 1 and parts[1] in ROOMS:
            assert ROOMS.index(parts[1]) <= own, f"{room(path)} imports {name}"


@pytest.mark.parametrize("name", PRESENT)
def test_a_room_loads_only_rooms_before_it(name: str) -> None:
    """Transitively: a process that imports all of a room."""
    found = loaded_by("import " + ", ".join(modules_of(name)))
    rooms = {module.split(".")[1] for module in found if module.startswith("dssm_lightning.")}
    later = [each for each in rooms if ROOMS.index(each) > ROOMS.index(name)]
    assert not later, later


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_there_is_no_circle(path: Path) -> None:
    """Each module can be the first to be imported, and none waits for ``TYPE_CHECKING`` to see another of ours."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    for node in guarded:
        for inner in ast.walk(node):
            if isinstance(inner, ast.ImportFrom) and str(inner.module).startswith("dssm_lightning"):
                mine = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                there = ROOT / (str(inner.module).replace(".", "/") + ".py")
                assert not there.is_file() or mine not in {name.rpartition(".")[0] for name in imported(there)}


@pytest.mark.parametrize("name", ["utils", "features", "models", "losses", "retrieval"])
def test_what_serves_never_loads_lightning(name: str) -> None:
    found = loaded_by("import " + ", ".join(modules_of(name)))
    assert not found & {"lightning", "lightning.pytorch", "torchmetrics", "rich"}
    if name == "retrieval":
        assert not {module for module in found if module.startswith("dssm_lightning.data")}


def test_a_bundle_is_served_without_torch_and_polars() -> None:
    """All of ``retrieval`` can be imported without what training needs, and without what one feature alone needs."""
    found = loaded_by("import dssm_lightning.features, " + ", ".join(modules_of("retrieval")))
    assert not found & {
        "torch",
        "polars",
        "onnxruntime",
        "tokenizers",
        "PIL",
        "faiss",
        "qdrant_client",
        "fsspec",
        "lark",
    }
    assert not {module for module in found if module.startswith(("dssm_lightning.models", "dssm_lightning.data"))}
    everything = loaded_by("import " + ", ".join(modules_of("features") + modules_of("retrieval")))
    assert not everything & {"torch", "polars"}
