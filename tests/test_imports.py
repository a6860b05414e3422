"""The folder is the data flow: a group imports only from itself and from groups before it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dssm_lightning"
GROUPS = [
    {"atomic", "batch", "counter", "schema", "features"},
    {"data"},
    {"encoders", "fusion", "towers", "scorers", "pairing", "two_sides"},
    {
        "chunks",
        "compilation",
        "losses",
        "agreement",
        "metrics",
        "evaluation",
        "measured",
        "distributed",
        "memory",
        "mining",
        "objective",
        "optimizers",
        "schedules",
        "factories",
        "frozen",
        "module",
        "sharded",
        "checkpoints",
        "warm_start",
        "without_negatives",
    },
    {"baselines", "hybrid", "nearest", "retriever"},
    {
        "runs",
        "callbacks",
        "embeddings",
        "interrupts",
        "finite",
        "averaging",
        "settings",
        "results",
        "measure",
        "trec",
        "comparison",
        "collisions",
    }
    | {"layers", "summary", "svg", "plot", "curves", "pictures", "spelling"},
    {"commands", "mined", "arguments", "parser", "two_tower_cli", "expected_warnings", "cli", "__main__"},
]
WITHOUT_LIGHTNING = {
    *("encoders", "fusion", "towers", "scorers", "two_sides"),
    *("losses", "retriever", "features", "schema", "batch"),
}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def top(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def level(part: str) -> int:
    found = [number for number, group in enumerate(GROUPS) if part in group]
    assert found, f"{part} belongs to no group: add it to GROUPS where the data flow has it"
    return found[0]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_files_are_found() -> None:
    assert len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_from_earlier_groups(path: Path) -> None:
    own = level(top(path))
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "dssm_lightning" and len(parts) > 1:
            assert level(parts[1]) <= own, f"{path.name} (group {own}) imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_serves_never_imports_lightning(path: Path) -> None:
    if top(path) in WITHOUT_LIGHTNING:
        assert not {name for name in imported(path) if name.split(".")[0] in ("lightning", "pytorch_lightning")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_never_pytorch_lightning(path: Path) -> None:
    """Its classes are not those of ``lightning.pytorch``."""
    assert not {name for name in imported(path) if name.startswith("pytorch_lightning")}
