"""``hashing-report``: its table on a terminal. tests/reports/test_hash_collisions.py checks the counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.small import write_config
from rich.cells import cell_len

from dssm_lightning.cli.main import main


def test_the_table_fits_a_terminal_with_whole_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    text = {"column": "text", "num_buckets": 2_000_000}
    features = [
        {"class_path": "HashedTrigrams", "init_args": {"name": name, **text}}
        for name in ("query_trigrams", "other_trigrams")
    ]
    found = main(["hashing-report", "--config", str(write_config(tmp_path / "c.yaml", data={"query": features}))])
    lines = capsys.readouterr().out.splitlines()
    table = lines[: next(place for place, line in enumerate(lines) if line.startswith("sharing a row:"))]
    assert max(map(cell_len, table)) <= 80
    words = {word for line in table for word in line.split()}
    assert {"query_trigrams", "other_trigrams", "2,000,000"} <= words
    assert {"words", "trigrams", "rows", "sharing", "same", "only"} <= words
    assert {f"{each.trigrams:,}" for each in found} <= words
