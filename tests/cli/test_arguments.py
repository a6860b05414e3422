"""Arguments before jsonargparse reads them: checkpoints become files, lists and flags become values of YAML."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch

from dssm_lightning.cli.checkpoint_arguments import find_checkpoint, first_config, option, resolve_checkpoint, without
from dssm_lightning.cli.command_arguments import as_yaml


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make(name: str, version: int = 0, *kinds: str) -> Path:
    run = Path("runs") / name / f"version_{version}"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").touch()
    for kind in kinds:
        save(run / "checkpoints" / f"{kind}.ckpt", 1)
    return run


def save(path: Path, step: int) -> None:
    torch.save({"schemas": "{}", "state_dict": {}, "epoch": 0, "global_step": step}, path)


@pytest.mark.parametrize(
    "arguments", [["test", "--ckpt_path", "x"], ["test", "--ckpt_path=x"], ["--ckpt_path", "y", "--ckpt_path=x"]]
)
def test_options_are_found_in_both_spellings_and_the_last_counts(arguments: list[str]) -> None:
    assert option(arguments, "ckpt_path") == "x"
    assert option(arguments, "config") is None
    assert without(["a", *arguments[:0], "--ckpt_path", "x", "--ckpt_path=y", "b"], "ckpt_path") == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["fit", "--config", "a.yaml", "--config", "b.yaml"], "a.yaml"),
        (["fit", "-c", "a.yaml", "--config=b.yaml"], "a.yaml"),
        (["fit", "--config=a.yaml"], "a.yaml"),
        (["fit", "--config"], None),
        (["fit", "--configure=a.yaml"], None),
    ],
)
def test_runs_are_called_after_the_first_config(arguments: list[str], found: str | None) -> None:
    assert first_config(arguments) == found


def test_test_measures_the_best_of_the_newest_run_with_its_own_config() -> None:
    run = make("emoji", 3, "best", "last")
    for verb in ("test", "validate", "predict"):
        assert resolve_checkpoint([verb, "--trainer.devices=1"]) == [
            verb,
            f"--config={run / 'config.yaml'}",
            "--trainer.devices=1",
            f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}",
        ]
    found = resolve_checkpoint(["test", "--ckpt_path", "last"])
    assert found[-1] == f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}"


def test_an_overlay_does_not_change_whose_checkpoint_is_meant() -> None:
    run = make("emoji", 0, "best", "last")
    make("ddp", 0, "best")
    asked = ["--config", "configs/emoji.yaml", "--config", "configs/ddp.yaml"]
    assert resolve_checkpoint(["test", *asked]) == ["test", *asked, f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}"]
    assert resolve_checkpoint(["fit", *asked, "--ckpt_path=last"])[-1].endswith(
        "runs/emoji/version_0/checkpoints/last.ckpt"
    )


@pytest.mark.parametrize("verb", ["test", "validate", "predict"])
def test_without_a_trained_model_nothing_is_measured(verb: str, tmp_path: Path) -> None:
    make("tldr", 0, "best")
    with pytest.raises(
        ValueError,
        match=rf"{verb}.*emoji\.yaml.*runs.*best\.ckpt",
    ):
        resolve_checkpoint([verb, "--config", "emoji.yaml"])
    with pytest.raises(ValueError, match=rf"{verb}.*any config.*runs.*last\.ckpt"):
        resolve_checkpoint([verb, "--ckpt_path=last"])


def test_fit_begins_a_new_run_where_there_is_no_last(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dssm_lightning")
    arguments = ["fit", "--config", "emoji.yaml", "--ckpt_path", "last", "--seed_everything=2"]
    assert resolve_checkpoint(arguments) == ["fit", "--config", "emoji.yaml", "--seed_everything=2"]
    assert "--ckpt_path last: no run has such a checkpoint" in caplog.text
    assert resolve_checkpoint(["fit", "--config", "emoji.yaml"]) == ["fit", "--config", "emoji.yaml"]


def test_in_place_of_a_damaged_last_the_most_trained_is_taken() -> None:
    checkpoints = make("emoji", 0, "best", "last") / "checkpoints"
    make("emoji", 1)  # has none
    save(checkpoints / "step-9.ckpt", 9)
    last = checkpoints / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-30])
    os.utime(checkpoints / "step-9.ckpt", (1, 1))  # whatever the clock was
    arguments = ["fit", "--config", "emoji.yaml", "--ckpt_path=last"]
    with pytest.warns(match=r"last\.ckpt is damaged.*step-9\.ckpt"):
        assert resolve_checkpoint(arguments)[-1] == f"--ckpt_path={checkpoints / 'step-9.ckpt'}"
    for path in checkpoints.iterdir():
        path.write_bytes(b"half")
    with pytest.raises(ValueError, match=r"last\.ckpt cannot be read.*no other checkpoint"):
        resolve_checkpoint(arguments)


def test_a_path_must_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--ckpt_path no/such\.ckpt.*best and last"):
        resolve_checkpoint(["test", "--ckpt_path", "no/such.ckpt"])
    stray = tmp_path / "stray.ckpt"
    stray.touch()
    with pytest.raises(ValueError, match=r"--ckpt_path .*stray\.ckpt.*--config"):
        resolve_checkpoint(["test", f"--ckpt_path={stray}"])
    assert resolve_checkpoint(["test", f"--ckpt_path={stray}", "--config=x.yaml"])[-1] == f"--ckpt_path={stray}"
    assert find_checkpoint(str(stray), None) == stray


@pytest.mark.parametrize("flag", ["-h", "--help", "--print_config", "--print_config=skip_default"])
def test_help_needs_no_checkpoint(flag: str) -> None:
    assert resolve_checkpoint(["test", flag]) == ["test", flag]


def command(query: list[str], also: list[str] | None = None, k: int = 3, json: bool = False) -> None:
    """What ``as_yaml`` reads."""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--query", "a cat"], ['--query=["a cat"]']),
        (["--query=a", "--query", "b", "--k", "5"], ["--k", "5", '--query=["a", "b"]']),
        (["--query", "a", "b", "--k=5"], ["--k=5", '--query=["a", "b"]']),
        (["--query", '{"query": "3"}'], ['--query=["{\\U00000022query\\U00000022: \\U000000223\\U00000022}"]']),
        (["--query", "yes: no", "--json"], ["--json=true", '--query=["yes: no"]']),
        (["--json", "false", "--query", "x"], ["--json", "false", '--query=["x"]']),
        (["--also", "x", "--k", "1"], ["--k", "1", '--also=["x"]']),
        (["--query=a=b"], ['--query=["a=b"]']),
        (["--k", "5"], ["--k", "5"]),
    ],
)
def test_lists_and_flags_become_values_of_yaml(arguments: list[str], expected: list[str]) -> None:
    assert as_yaml(arguments, command) == expected
