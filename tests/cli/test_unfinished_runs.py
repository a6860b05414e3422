"""Runs that are not finished are told apart wherever a run is chosen, and a fit without a checkpoint says so."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.small import write_config

from dssm_lightning.cli.main import main
from dssm_lightning.training import run_folders
from dssm_lightning.training.run_status import RunStatus, read_status, write_status
from dssm_lightning.utils.errors import UserError

RUN = Path("runs/texts/version_0")
FIT = ["fit", "--config", "texts.yaml", "--trainer.max_epochs=2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("unfinished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PL_GLOBAL_SEED", "0")
        write_config(place / "texts.yaml")
        main(FIT)
        main(["test"])
    return place


@pytest.fixture(autouse=True)
def _here(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")


def known(run: Path) -> RunStatus | None:
    """The status without its times."""
    status = read_status(run)
    return None if status is None else status._replace(seconds=0.0, written=None)


# -- the status --------------------------------------------------------------------------------------------------------


def test_a_finished_fit() -> None:
    assert known(RUN) == RunStatus("finished", 2, 2)
    status = read_status(RUN)
    assert status is not None
    assert 0 < status.seconds < 60
    assert status.written is not None
    assert abs(status.written - (RUN / "status.json").stat().st_mtime) < 5


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("out of\nmemory"), RunStatus("failed", 1, 4, "RuntimeError: out of memory")),
        (SystemExit(143), RunStatus("interrupted", 1, 4)),
        (KeyboardInterrupt(), RunStatus("interrupted", 1, 4)),
    ],
)
def test_a_fit_that_does_not_end(error: BaseException, status: RunStatus, monkeypatch: pytest.MonkeyPatch) -> None:
    from dssm_lightning.training.module import TwoTower

    step = TwoTower.training_step

    def stop_in_the_second_epoch(model: TwoTower, *arguments: Any) -> Any:
        if model.current_epoch == 1:
            raise error
        return step(model, *arguments)

    monkeypatch.setattr(TwoTower, "training_step", stop_in_the_second_epoch)
    with pytest.raises((RuntimeError, SystemExit, KeyboardInterrupt)):
        main([*FIT, "--trainer.max_epochs=4"])
    assert known(Path("runs/texts/version_1")) == status
    monkeypatch.undo()


def test_a_fit_that_continues_is_finished_again(trained: Path) -> None:
    write_status(RUN, RunStatus("interrupted", 1, 2, seconds=1000.0))
    main([*FIT, "--trainer.max_epochs=3", "--ckpt_path=last"])
    assert known(RUN) == RunStatus("finished", 3, 3)
    status = read_status(RUN)
    assert status is not None
    assert 1000 < status.seconds < 1060  # the time of the earlier fit counts


# -- where a run is chosen ---------------------------------------------------------------------------------------------

CHOOSING = {
    "search": ["search", "--query=x", "--k=1"],
    "search of a file": ["search", "--query=x", "--k=1", f"--ckpt_path={RUN}/checkpoints/best.ckpt"],
    "score": ["score", "--input=in.json"],
    "summary": ["summary", "--ckpt_path=last"],
    "mine": ["mine", "--rank_range=[1, 9]"],
    "test": ["test"],
    "predict": ["predict"],
    "compare": ["compare", str(RUN), str(RUN / "checkpoints" / "best.ckpt")],
    "curves": ["curves", f"--run={RUN}", "--metric=val/mrr", "--plot=c.svg"],
}


@pytest.mark.parametrize("name", CHOOSING)
def test_an_unfinished_run_is_named(name: str, caplog: pytest.LogCaptureFixture) -> None:
    Path("in.json").write_text('{"query": "a", "positive_doc": "b", "negative_docs": []}', encoding="utf-8")
    main(CHOOSING[name])
    assert "not finished" not in caplog.text
    write_status(RUN, RunStatus("running", 3, 10))  # its process was killed
    main(CHOOSING[name])
    assert f"{RUN} is not finished: it was interrupted (epoch 3 of 10)" in caplog.text


def test_a_test_during_a_fit_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with run_folders.lock_run(RUN):
        write_status(RUN, RunStatus("running", 3, 10))
        main(["test"])
    assert f"{RUN} is not finished: it is still training (epoch 3 of 10)" in caplog.text


def test_a_run_of_an_earlier_release_is_not_suspected(caplog: pytest.LogCaptureFixture) -> None:
    (RUN / "status.json").unlink()
    main(["search", "--query=x", "--k=1"])
    assert "not finished" not in caplog.text


def test_the_chosen_run_and_a_newer_one_without_the_checkpoint_are_named(caplog: pytest.LogCaptureFixture) -> None:
    newer = Path("runs/texts/version_1")
    shutil.copytree(RUN, newer)
    (newer / "checkpoints" / "best.ckpt").unlink()
    main(["search", "--query=x", "--k=1"])
    assert f"--ckpt_path best: {RUN}/checkpoints/best.ckpt (epoch" in caplog.text
    assert f"{newer} is newer, but has no best.ckpt" in caplog.text
    caplog.clear()
    main(["search", "--query=x", "--k=1", "--ckpt_path=last"])
    assert f"--ckpt_path last: {newer}/checkpoints/last.ckpt" in caplog.text
    assert "is newer" not in caplog.text


@pytest.mark.parametrize("name", ["search", "score", "summary", "mine", "test", "predict"])
def test_the_config_chooses_the_run_of_every_command(name: str, caplog: pytest.LogCaptureFixture) -> None:
    Path("in.json").write_text('{"query": "a", "positive_doc": "b", "negative_docs": []}', encoding="utf-8")
    shutil.copytree(RUN, "runs/other/version_7")
    shutil.copy("texts.yaml", "other.yaml")
    words = [*CHOOSING[name], "--ckpt_path=last"]
    main([*words, "--config=other.yaml"])
    assert "runs/other/version_7/checkpoints/last.ckpt" in caplog.text
    caplog.clear()
    main([*words, "--config=texts.yaml"])
    assert f"{RUN}/checkpoints/last.ckpt" in caplog.text
    with pytest.raises(UserError, match=r"no run of none\.yaml.*none\.yaml is no file"):
        main([*words, "--config=none.yaml"])


# -- a fit without a checkpoint ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["limit_val_batches=0", "check_val_every_n_epoch=5"])
def test_a_fit_that_never_validates_says_what_is_there(option: str) -> None:
    with pytest.warns(
        UserWarning, match=r"best\.ckpt needs val/mrr.*version_1/checkpoints/last\.ckpt.*--ckpt_path last"
    ):
        main([*FIT, f"--trainer.{option}"])
    shutil.rmtree(RUN)
    with pytest.raises(UserError, match=r"has a best\.ckpt.*version_1/checkpoints/last\.ckpt.*--ckpt_path last"):
        main(["search", "--query=x"])
    with pytest.raises(UserError, match=r"has a best\.ckpt.*version_1/checkpoints/last\.ckpt.*--ckpt_path last"):
        main(["test"])
    assert len(main(["search", "--query=x", "--ckpt_path=last", "--k=2"])[0]) == 2


@pytest.mark.parametrize("option", ["max_epochs=0", "max_time=00:00:00:00", "max_steps=0"])
def test_a_fit_of_nothing_says_so(option: str) -> None:
    with pytest.warns(UserWarning, match=r"nothing was trained.*best\.ckpt.*last\.ckpt"):
        main([*FIT, f"--trainer.{option}"])
    assert not list(Path("runs/texts/version_1").rglob("*.ckpt"))


def test_a_dry_run_says_nothing() -> None:
    main([*FIT, "--trainer.fast_dev_run=1"])
