"""The page about indexes says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ROOT

from dssm_lightning.retrieval.filters import parse_filter

PAGE = (ROOT / "docs" / "how-to" / "indexes.md").read_text(encoding="utf-8")


def test_the_file_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [(name, text)] = re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```\n", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(text, name, "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("100.0% of the vectors allowed: recall 0.9")


def test_the_filters_of_the_page_are_filters() -> None:
    columns = {
        "category": ["a", None],
        "year": np.array([1, 2]),
        "genre": [["Drama"], []],
        "seen": [True, False],
        "added": np.array(["2024-06-30", "NaT"], "datetime64[s]"),
        "release year": [1990, 1],
    }
    table = PAGE[PAGE.index("| filter |") :].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines()[2:]]
    found = [max(text) for cell in cells for text in re.findall(r"`` (.+?) ``|(?<!`)`([^`]+)`", cell)]
    assert len(found) == 8
    for text in found:
        parse_filter(text).mask(columns)
