"""Every verb that reads a model takes the same options, and chooses the same run: the newest finished one."""

from __future__ import annotations

import inspect
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from helpers.small import write_config

from dssm_lightning import api
from dssm_lightning.cli import trainer_verbs
from dssm_lightning.cli.commands.registry import COMMANDS, function_of
from dssm_lightning.cli.main import main
from dssm_lightning.training.run_status import RunStatus, write_status
from dssm_lightning.utils.errors import UserError

RUN, NEWER = Path("runs/texts/version_0"), Path("runs/texts/version_1")
WITHOUT_A_MODEL = {
    "init": "tables",
    "doctor": "a config before training",
    "tune": "a config whose fits it makes",
    "runs": "all runs",
    "compare": "two runs by their names, or two configs",
    "inspect": "a bundle",
    "index": "a bundle",
    "push": "a bundle",
    "pull": "a bundle",
    "serve": "bundles",
    "completion": "nothing",
}
"""The commands that read no checkpoint, and what they read."""
READING = {
    "validate": [],
    "test": [],
    "predict": [],
    "baseline": ["--only=Popularity"],
    "search": ["--query=x", "--k=1"],
    "similar": ["--id=c3", "--k=1"],
    "score": ["--input=in.json"],
    "rank": ["--input=lists.jsonl"],
    "export": ["--output=bundle"],
    "summary": ["--ckpt_path=best"],
    "curves": ["--metric=val/mrr", "--plot=c.svg"],
    "report": [],
    "mine": ["--rank_range=[1, 9]"],
    "hashing-report": ["--ckpt_path=best"],
}
"""Options of each verb that reads a run."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, and a newer one that was interrupted; both configs have a run of another config beside them."""
    place = tmp_path_factory.mktemp("chosen")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PL_GLOBAL_SEED", "0")
        write_config(place / "texts.yaml")
        main(["fit", "--config=texts.yaml", "--trainer.max_epochs=1"])
        main(["test"])
    shutil.copytree(place / RUN, place / NEWER)
    write_status(place / NEWER, RunStatus("interrupted", 1, 10))
    shutil.copytree(place / RUN, place / "runs/other/version_7")
    shutil.copy(place / "texts.yaml", place / "other.yaml")
    (place / "in.json").write_text('{"query": "a", "positive_doc": "b", "negative_docs": []}', encoding="utf-8")
    (place / "lists.jsonl").write_text('{"query": "a", "candidates": ["c1", "c2"]}\n', encoding="utf-8")
    return place


@pytest.fixture(autouse=True)
def _here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setattr(api, "export_bundle", _stop)  # the run is chosen, and the rest takes seconds


class ChosenError(Exception):
    """The run is chosen."""


def _stop(*arguments: Any, **options: Any) -> None:
    raise ChosenError


def call(*words: str) -> None:
    with suppress(ChosenError):
        main(list(words))


def test_no_verb_is_forgotten() -> None:
    assert set(READING) | set(WITHOUT_A_MODEL) == {*trainer_verbs.ABOUT, *COMMANDS} - {"fit"}


@pytest.mark.parametrize("name", [name for name in READING if name in COMMANDS])
def test_the_options_are_those_of_every_verb(name: str) -> None:
    found = inspect.signature(function_of(name)).parameters
    assert str(found["config"].annotation) == "list[str] | None"
    assert str(found["ckpt_path"].annotation) in ("str | None", "str")
    assert found["config"].default is None
    assert found["ckpt_path"].default in (None, "best")
    about = re.search(r"ckpt_path: (.*\n(?: {12}.*\n)*)", inspect.getdoc(function_of(name)) or "")
    assert "a checkpoint file" in str(inspect.getdoc(function_of(name)))
    assert about is not None


@pytest.mark.parametrize("name", READING)
def test_the_newest_finished_run_is_taken_and_newer_ones_are_named(name: str, caplog: pytest.LogCaptureFixture) -> None:
    words = [name, *READING[name], "--config=texts.yaml"]
    call(*words)
    assert re.search(rf"{RUN}/checkpoints/best\.ckpt \(epoch 1; its run is finished, 1 of 1 epochs\)", caplog.text)
    way = rf"--ckpt_path {NEWER}/checkpoints/best\.ckpt"
    assert re.search(rf"{NEWER} is newer, but it was interrupted \(epoch 1 of 10\); to take it: {way}", caplog.text)
    caplog.clear()
    asked = [word for word in words if not word.startswith(("--ckpt_path", "--config"))]
    call(*asked, f"--ckpt_path={NEWER}/checkpoints/best.ckpt")
    assert re.search(rf"{way} \(epoch 1\)", caplog.text)
    assert f"{NEWER} is not finished: it was interrupted (epoch 1 of 10)" in caplog.text
    assert "is newer" not in caplog.text


@pytest.mark.parametrize("name", READING)
def test_another_config_names_another_run(name: str, caplog: pytest.LogCaptureFixture) -> None:
    words = [name, *(word for word in READING[name] if not word.startswith("--ckpt_path"))]
    call(*words, "--config=other.yaml", "--ckpt_path=last")
    assert "runs/other/version_7/checkpoints/last.ckpt" in caplog.text
    with pytest.raises(UserError, match=r"none\.yaml"):
        main([*words, "--config=none.yaml", "--ckpt_path=last"])


def test_a_config_stands_for_its_run(caplog: pytest.LogCaptureFixture) -> None:
    differences = main(["compare", "texts.yaml", "other.yaml"])
    assert differences[0].difference == 0
    assert f"{RUN}/checkpoints/best.ckpt" in caplog.text
    assert "runs/other/version_7/checkpoints/best.ckpt" in caplog.text
    found = main(["curves", "--run", "texts.yaml", "other.yaml", "--metric=val/mrr", "--plot=c.svg"])
    assert list(found) == ["texts.yaml", "other.yaml"]
    main(["report", "--runs", "texts.yaml", "other.yaml", "--output=two.html"])
    with pytest.raises(UserError, match=r"none\.yaml"):
        main(["compare", "texts.yaml", "none.yaml"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["curves", "--run=runs/texts/version_0", "--config=a.yaml"], r"--run .*--config a\.yaml"),
        (["curves", "--run=runs/texts/version_0", "--ckpt_path=last"], "--run .*--ckpt_path last"),
        (["report", "--run=runs/texts/version_0", "--config=a.yaml"], r"--run .*--config a\.yaml"),
        (["report", "--run=runs/texts/version_0", "--ckpt_path=a.ckpt"], r"--run .*--ckpt_path a\.ckpt"),
        (["report", "--runs", "a", "b", "--config=a.yaml"], r"--runs .*--config a\.yaml"),
    ],
)
def test_two_names_for_a_run_are_refused(words: list[str], message: str) -> None:
    also = ["--metric=val/mrr", "--plot=c.svg"] if words[0] == "curves" else []
    with pytest.raises(UserError, match=message):
        main([*words, *also])


def test_a_resumed_fit_continues_the_newest_run_however_it_ended(caplog: pytest.LogCaptureFixture) -> None:
    main(["fit", "--config=texts.yaml", "--trainer.max_epochs=1", "--ckpt_path=last"])
    assert f"--ckpt_path last: {NEWER}/checkpoints/last.ckpt (epoch 1)" in caplog.text
    assert "not finished" not in caplog.text


def test_baseline_before_any_run_writes_nothing_beside_the_cache() -> None:
    shutil.rmtree("runs")
    before = set(Path().iterdir())
    assert main(["baseline", "--config=texts.yaml", "--only=Popularity"])
    assert set(Path().iterdir()) == before
    with pytest.raises(UserError, match=r"best\.ckpt: fit first"):
        main(["baseline"])
