"""The files that help strangers to join parse, and name commands, files and versions that exist."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.paths import PACKAGE, ROOT, TESTS
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import dssm_lightning

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GITHUB = ROOT / ".github"
FORMS = [path for path in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
HABITS = [
    *(CONTRIBUTING, ROOT / "justfile", ROOT / "CITATION.cff", ROOT / ".editorconfig", ROOT / ".pre-commit-config.yaml"),
    *(path for path in sorted(GITHUB.rglob("*")) if path.is_file()),
]
TARGETS = {"help", "check", "test", "test-fast", "docs", "bench"}
BLOCK = re.compile(r"<!-- file: (\S+) -->\n```python\n(.*?)```\n", re.DOTALL)


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


# -- versions ----------------------------------------------------------------------------------------------------------


def test_the_version_is_the_same_everywhere(project: dict[str, Any]) -> None:
    version = project["project"]["version"]
    assert str(read_yaml(ROOT / "CITATION.cff")["version"]) == version
    assert dssm_lightning.__version__ == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_citation_has_what_its_format_requires(project: dict[str, Any]) -> None:
    citation = read_yaml(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["license"] == project["project"]["license"]
    assert citation["repository-code"] in project["project"]["urls"].values()


def test_the_hooks_satisfy_the_pins(project: dict[str, Any]) -> None:
    pins = {pin.name: pin.specifier for pin in map(Requirement, project["project"]["optional-dependencies"]["test"])}
    repos = read_yaml(ROOT / ".pre-commit-config.yaml")["repos"]
    hooks = {hook["id"]: repo for repo in repos for hook in repo["hooks"]}
    assert set(hooks) == {"check-added-large-files", "ruff-check", "ruff-format", "codespell", "mypy"}
    for hook, tool in (("ruff-check", "ruff"), ("ruff-format", "ruff"), ("codespell", "codespell")):
        assert pins[tool].contains(hooks[hook]["rev"].removeprefix("v")), f"{hook}: {hooks[hook]['rev']}, {pins[tool]}"
    assert hooks["mypy"]["repo"] == "local"
    assert "mypy" in pins


def test_the_workflow_runs_supported_versions_of_python(project: dict[str, Any]) -> None:
    supported = SpecifierSet(project["project"]["requires-python"])
    versions = read_yaml(GITHUB / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert all(supported.contains(version) for version in versions)
    assert str(supported).removeprefix(">=") in versions, "the oldest one is tested"


def test_the_editors_lines_are_as_long_as_ruffs(project: dict[str, Any]) -> None:
    parser = configparser.ConfigParser()
    parser.read_string("[top]\n" + (ROOT / ".editorconfig").read_text(encoding="utf-8"))
    assert parser.getint("*.py", "max_line_length") == project["tool"]["ruff"]["line-length"]
    assert parser.getboolean("*", "insert_final_newline")


# -- commands ----------------------------------------------------------------------------------------------------------


def recipes() -> dict[str, list[str]]:
    """The lines of each recipe of the justfile, by its name."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "justfile").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([\w-]+)[^:=]*:(?!=)", line):
            found[match[1]] = []
        elif line.startswith("    "):
            next(reversed(found.values())).append(line.strip())
    return found


def check_command(command: str) -> None:
    """Check that the module, the script and the folders that a command names exist."""
    for module in re.findall(r"-m (\w+)", command):
        assert find_spec(module) is not None or module == "mkdocs", f"{command}: no module {module}"  # an extra
    for path in re.findall(r"(?<![\w./])[\w-]+/[\w./-]+\.(?:sh|py|yaml|md)\b", command):
        assert (ROOT / path).is_file(), f"{command}: no file {path}"


def test_every_recipe_names_what_exists() -> None:
    found = recipes()
    assert set(found) == TARGETS
    for name, lines in found.items():
        assert lines, f"{name} does nothing"
        for line in lines:
            check_command(line)


@pytest.mark.skipif(shutil.which("just", path=Path(sys.executable).parent) is None, reason="just is not installed")
def test_just_reads_its_file() -> None:
    just = shutil.which("just", path=Path(sys.executable).parent)
    assert just is not None
    done = subprocess.run([just, "--summary"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert set(done.stdout.split()) == TARGETS


def test_the_workflow_runs_the_steps_of_the_ci_script() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    script = {re.sub(r"^(\w+=\S+ )+", "", line) for line in lines if re.match(r"(\w+=\S+ )*(bash|\.venv|python)", line)}
    steps = read_yaml(GITHUB / "workflows" / "ci.yml")["jobs"]["test"]["steps"]
    commands = {line for step in steps if "run" in step for line in step["run"].strip().splitlines()}
    assert script
    assert commands == script
    for command in commands:
        check_command(command)


def test_the_spelling_is_right() -> None:
    line = ["timeout", "-k", "5", "100", sys.executable, "-m", "codespell_lib"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout


# -- forms -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_complete(path: Path) -> None:
    form = read_yaml(path)
    assert form["name"]
    assert form["description"]
    assert {field["type"] for field in form["body"]} <= {"textarea", "input", "checkboxes", "dropdown", "markdown"}
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids)
    assert all(field["attributes"]["label"] for field in form["body"])
    assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_there_are_forms_for_bugs_and_wishes() -> None:
    assert [path.stem for path in FORMS] == ["bug", "feature"]
    assert isinstance(read_yaml(GITHUB / "ISSUE_TEMPLATE" / "config.yml")["blank_issues_enabled"], bool)


def test_the_pull_request_names_commands_that_exist() -> None:
    text = (GITHUB / "PULL_REQUEST_TEMPLATE.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`just ([\w-]+)`", text)) <= TARGETS
    check_command(text)


# -- what contributors read --------------------------------------------------------------------------------------------


def test_the_page_names_every_command() -> None:
    text = CONTRIBUTING.read_text(encoding="utf-8")
    assert set(re.findall(r"`just ([\w-]+)", text)) == TARGETS - {"help"}
    check_command(text)


def test_the_table_of_rooms_is_the_package() -> None:
    named = re.findall(r"^\| `(\w+)/` \|", CONTRIBUTING.read_text(encoding="utf-8"), re.MULTILINE)
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert set(named) == rooms
    order = import_module("test_imports").ROOMS
    assert named == [room for room in order if room in rooms]


def test_what_is_added_has_a_base_class_and_a_folder() -> None:
    rows = re.findall(
        r"^\| [\w ]+ \| `([\w.]+)` \| `([\w/]+)` \|", CONTRIBUTING.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(rows) > 8
    for path, folder in rows:
        module, _, name = path.rpartition(".")
        assert hasattr(import_module(f"dssm_lightning.{module}"), name), path
        assert (ROOT / folder).is_dir()
        assert (TESTS / Path(folder).relative_to("dssm_lightning")).is_dir(), f"no tests beside {folder}"


def test_the_links_and_files_exist() -> None:
    text = re.sub(r"```.*?```", "", CONTRIBUTING.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)#\s]+)", text):
        assert "://" in link or (ROOT / link).exists(), link
    for path in re.findall(r"`((?:dssm_lightning|tests|docs|configs|scripts|examples)/[\w/.-]*)`", text):
        assert (ROOT / path).exists(), path


def test_the_loss_of_the_page_passes_its_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = dict(BLOCK.findall(CONTRIBUTING.read_text(encoding="utf-8")))
    assert list(blocks) == ["squared_hinge.py", "test_squared_hinge.py"]
    assert len(blocks["squared_hinge.py"].splitlines()) <= 20
    for name, text in blocks.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        module = import_module("test_squared_hinge")
        tests = [value for name, value in vars(module).items() if name.startswith("test_")]
        assert len(tests) == 2
        for test in tests:
            test()
    finally:
        sys.modules.pop("squared_hinge", None)
        sys.modules.pop("test_squared_hinge", None)


def test_the_code_of_the_page_is_formatted(tmp_path: Path) -> None:
    for name, text in BLOCK.findall(CONTRIBUTING.read_text(encoding="utf-8")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    ruff = ["timeout", "-k", "5", "100", sys.executable, "-m", "ruff"]
    config = ["--config", str(ROOT / "pyproject.toml"), str(tmp_path)]
    for verb in (["format", "--check"], ["check", "--ignore=I001"]):  # I001: these files know no first party
        done = subprocess.run([*ruff, *verb, *config], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", HABITS, ids=lambda path: path.name)
def test_no_path_of_a_machine_is_named(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.])/(?:home|Users|tmp|opt|root)/|pypi\.|://[\w.]*download", text)
