"""Pages of help: an example at the end of each, `fit` on one screen, 80 columns, and Lightning's options by section."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.paths import ROOT
from helpers.small import write_config

from dssm_lightning.cli import trainer_verbs
from dssm_lightning.cli.commands.registry import COMMANDS, arguments_of
from dssm_lightning.cli.help_pages import SECTIONS
from dssm_lightning.cli.main import main
from dssm_lightning.utils.errors import UserError

EXAMPLES = {**trainer_verbs.EXAMPLES, **{name: command.example for name, command in COMMANDS.items()}}


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def page(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(list(words))
    assert not stopped.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", ["", *trainer_verbs.ABOUT, *COMMANDS])
def test_no_line_is_longer_than_80_columns(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = page(capsys, *filter(None, [verb, "--help"]))
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("verb", [*trainer_verbs.ABOUT, *COMMANDS])
def test_each_page_ends_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert EXAMPLES[verb].split(" ")[0] == verb
    assert page(capsys, verb, "--help").rstrip().endswith(f"\nexample:\n  dssm-lightning {EXAMPLES[verb]}")


@pytest.mark.parametrize("verb", COMMANDS)
def test_the_examples_are_parsed(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(EXAMPLES[verb].partition(" > ")[0])
    assert arguments_of(words)


@pytest.mark.parametrize("verb", trainer_verbs.ABOUT)
def test_the_examples_of_the_trainer_are_parsed(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    words = [*shlex.split(EXAMPLES[verb]), "--print_config"]
    words += [] if "--config" in words else ["--config=configs/tldr.yaml"]
    assert "class_path" in page(capsys, *words)


@pytest.mark.parametrize("verb", trainer_verbs.ABOUT)
def test_the_options_of_the_short_pages_exist(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that the command line takes away before the parser sees them are tested where they work."""
    own = {"--verbose", "--trust", "--help", "--data.split.fold", "--baselines", "--refit"}
    named = [name.split(" ")[0].split("=")[0] for name in (*trainer_verbs.OPTIONS[verb], *trainer_verbs.EVERY)]
    everything = page(capsys, verb, "--help=all")
    for name in set(named) - own:
        assert f"{name} " in everything or f"{name}[" in everything, name


def test_the_window_of_a_split_is_a_short_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data.split=ByTime", "--data.split.folds=3", "--data.split.fold", "1", "--print_config"]
    shown = yaml.safe_load(page(capsys, "fit", f"--config={write_config(tmp_path / 'a.yaml')}", *words))
    assert shown["data"]["split"]["class_path"].endswith("ByTime")
    assert shown["data"]["split"]["init_args"] == {"test": 0.2, "validation": 0.2, "folds": 3, "fold": 1}


def test_fit_fits_on_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(page(capsys, "fit", "--help").splitlines()) <= 45


@pytest.mark.parametrize(("section", "other"), [("trainer", "data"), ("data", "model"), ("checkpoint", "trainer")])
def test_a_section_shows_its_options_alone(section: str, other: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = page(capsys, "fit", f"--help={section}")
    assert f"\n  --{section}." in shown
    assert f"--{other}." not in shown
    assert not shown.startswith("usage")
    assert max(map(len, shown.splitlines())) <= 80


def test_all_sections_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    shown = page(capsys, "test", "--help-all")  # the earlier name of --help=all
    for section in SECTIONS[:-1]:
        assert f"\n  --{section}." in shown
    assert "--hybrid_weight" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_an_unknown_section_is_named() -> None:
    with pytest.raises(UserError, match=r"--help=trainr.*trainer, model.*did you mean 'trainer'"):
        main(["fit", "--help=trainr"])


@pytest.mark.parametrize("verb", ["fit", "search"])
def test_help_starts_quickly(verb: str, tmp_path: Path) -> None:
    """Below a second of processor time, the start of Python included."""
    code = "import sys, time\nfrom dssm_lightning.__main__ import run\ntry:\n    run()\nfinally:\n"
    code += "    print(time.process_time(), file=sys.stderr)"
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    line = ["timeout", "-k", "5", "60", sys.executable, "-c", code, verb, "--help"]
    times = []
    for _ in range(2):  # the first may compile
        done = subprocess.run(line, capture_output=True, check=True, cwd=tmp_path, text=True, env=environment)
        times.append(float(done.stderr.split()[-1]))
    assert min(times) < 1
