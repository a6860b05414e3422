"""``doctor`` on the command line: its status, its JSON, its table, and what it writes."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import polars as pl
import pytest
from helpers.planted_worlds import shop
from helpers.small import write_config
from rich.cells import cell_len

from dssm_lightning.cli.main import main
from dssm_lightning.utils.errors import UserError


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")


def test_the_table_fits_80_columns_and_only_the_cache_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(tmp_path / "c.yaml")
    findings = main(["doctor", "--config", "c.yaml", "--batches=2"])
    out = capsys.readouterr().out
    assert max(map(cell_len, out.splitlines())) <= 80
    assert not [finding for finding in findings if finding.level == "error"]
    assert "early-stopping" in out
    assert "checkpoint: {patience: 3}" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.yaml", "cache"]


def test_json_is_all_that_is_printed_and_an_error_ends_with_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(tmp_path / "c.yaml", checkpoint={"monitor": "val/mmr"})
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--config", "c.yaml", "--json", "--batches=1"])
    assert ended.value.code == 1
    findings = json.loads(capsys.readouterr().out)
    assert findings[0] == {
        "level": "error",
        "check": "monitor",
        "where": "checkpoint.monitor",
        "found": findings[0]["found"],
        "change": "checkpoint: {monitor: val/mrr}",
    }
    assert {finding["check"] for finding in findings} >= {"column", "cost", "folds"}


def test_what_fit_would_refuse_is_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_config(tmp_path / "c.yaml", data={"batch_size": 0})
    with pytest.raises(SystemExit):
        main(["doctor", "--config", "c.yaml", "--json"])
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["check"], found["where"]) == ("data-refused", "data.batch_size")


def test_rows_that_are_left_out_are_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = shop(tmp_path)
    world.candidates = pl.concat([world.candidates, world.candidates.head(3)])
    world.source["drop"] = ["repeated"]
    path = world.write()
    with caplog.at_level(logging.INFO, "dssm_lightning"):
        main(["doctor", "--config", path, "--batches=0"])
    assert len([message for message in caplog.messages if "3 of 203 rows" in message]) == 1


def test_a_warning_ends_with_status_0(tmp_path: Path) -> None:
    write_config(tmp_path / "c.yaml", data={"batch_size": 4096})
    findings = main(["doctor", "--config", "c.yaml", "--batches=0"])
    assert findings[0].check == "batch-size"
    assert findings[0].level == "warning"


def test_a_later_config_lies_over_an_earlier_one(tmp_path: Path) -> None:
    write_config(tmp_path / "c.yaml", checkpoint={"monitor": "val/mmr"})
    (tmp_path / "mend.yaml").write_text("checkpoint: {monitor: val/mrr, patience: 2}\n", encoding="utf-8")
    findings = main(["doctor", "--config", "c.yaml", "--config", "mend.yaml", "--batches=0"])
    assert not {"monitor", "early-stopping"} & {finding.check for finding in findings}


@pytest.mark.parametrize(
    ("words", "match"), [(["--config=no.yaml"], "no.yaml"), (["--config=c.yaml", "--batches=-1"], "batches.*-1")]
)
def test_arguments_that_cannot_be(tmp_path: Path, words: list[str], match: str) -> None:
    write_config(tmp_path / "c.yaml")
    with pytest.raises(UserError, match=match):
        main(["doctor", *words])
