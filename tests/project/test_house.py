"""What the house promises: short functions and files, examples that run, one logger, few exceptions from types."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest
from helpers.paths import PACKAGE, ROOT

FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FUNCTION, LONGEST_FILE, MOST_IGNORED = 45, 250, 15


def trees() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in FILES]


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function without its docstring."""
    docstring = ast.get_docstring(node, clean=False)
    last = node.end_lineno or node.lineno
    return last - node.lineno + 1 - (0 if docstring is None else docstring.count("\n") + 1)


def test_functions_are_short() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": code_lines(node)
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and code_lines(node) > LONGEST_FUNCTION
    }
    assert not long


def test_files_are_short() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not {name: lines for name, lines in long.items() if lines > LONGEST_FILE}


def test_each_exception_from_the_types_has_its_reason_and_they_are_few() -> None:
    ignored = [
        line for path in FILES for line in path.read_text(encoding="utf-8").splitlines() if "type: ignore" in line
    ]
    assert len(ignored) <= MOST_IGNORED
    for line in ignored:
        assert re.search(r"# type: ignore\[[\w, -]+\]  # \w+", line), line


def test_library_code_never_prints() -> None:
    """Tables and texts go through utils/console.py, messages through utils/logger.py."""
    for path, tree in trees():
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert not [func for func in calls if isinstance(func, ast.Name) and func.id == "print"], path
        if path.name != "console.py":
            assert not [func for func in calls if isinstance(func, ast.Name) and func.id == "Console"], path


def test_no_private_english_is_left_in_the_code() -> None:
    banned = re.compile(r"\b(so many|likewise|alike|as said|as there)\b", re.IGNORECASE)
    found = {
        f"{path.relative_to(ROOT)}:{number}": line.strip()
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if banned.search(line)
    }
    assert not found


def exporting() -> list[str]:
    packages = [path.parent for path in FILES if path.name == "__init__.py" and "__all__" in path.read_text("utf-8")]
    return [".".join(path.relative_to(ROOT).parts) for path in packages]


def test_packages_export() -> None:
    assert len(exporting()) > 8


@pytest.mark.parametrize("name", exporting())
def test_every_public_class_has_an_example(name: str) -> None:
    """The examples run as doctests of this suite."""
    module = import_module(name)
    classes = [getattr(module, each) for each in module.__all__ if inspect.isclass(getattr(module, each))]
    ours = [each for each in classes if each.__module__.startswith("dssm_lightning")]
    without = [each.__name__ for each in ours if ">>>" not in (each.__dict__.get("__doc__") or "")]
    assert not without
