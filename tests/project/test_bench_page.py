"""docs/benchmarks.md as scripts/bench.py writes it, replaces its sections and compares with it; nothing is timed."""

from __future__ import annotations

import importlib
import os
import re
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest_plugins = ["helpers.bench_fixtures"]

PAGE = """# Benchmarks

Old head.

## One (`one`)

Written on 2026-01-02 by `python scripts/bench.py --write`, with one thread on a machine of 2 cores.

About one.

| comparison | unit | ours | theirs | ratio (min – max) | limit |
|---|---|---|---|---|---|
| a of 1,000, them | rows/s | 30.0 | 10.0 | **3.00** (2.50 – 3.50) | – |
| a of 1,000, them | MiB | 2.00 | 10.0 | **5.00** (5.00 – 5.00) | the weights |
| b | s | 1.00 | 1,234 | **1,234** (1,000 – 1,300) | their time: 1 |

A note with `code` and (a bracket).

## Two: more (`two`)

Written on 2026-01-03 by `python scripts/bench.py two --threads 4 --write`, with 4 threads on a machine of 8 cores.

| comparison | unit | ours | theirs | ratio (min – max) | limit |
|---|---|---|---|---|---|
| c | ms | 1.00 | 0.0387 | **0.0387** (0.0344 – 0.0499) | – |

## On a GPU (`--accelerator gpu`)

| comparison | unit | ours | theirs | ratio (min – max) | limit |
|---|---|---|---|---|---|
| d | ms | 1.00 | 2.00 | **2.00** (1.90 – 2.10) | – |
"""
ORDER = ["one", "between", "two", "--accelerator gpu"]


@pytest.fixture
def page(bench: ModuleType) -> ModuleType:
    return importlib.import_module("benchmarks.page")


@pytest.fixture
def comparison(bench: ModuleType) -> ModuleType:
    return importlib.import_module("benchmarks.comparison")


def _row(name: str, ratio: float, unit: str = "rows/s", what: str = "a of 1,000, them") -> str:
    """A section of one row."""
    table = "| comparison | unit | ours | theirs | ratio (min – max) | limit |\n|---|---|---|---|---|---|"
    return f"## T (`{name}`)\n\n{table}\n| {what} | {unit} | 1 | 1 | **{ratio}** ({ratio} – {ratio}) | – |\n"


# -- text of the page --------------------------------------------------------------------------------------------------


def test_the_table_has_medians_the_span_and_the_limit(bench: ModuleType, page: ModuleType) -> None:
    row = importlib.import_module("benchmarks.report").Row
    rows = [row("x", "rows/s", [3000.0, 1000.0, 8000.0], [10.0, 10.0, 10.0], "memory"), row("y", "s", [2.0], [1.0])]
    text = page.markdown("some", "About\nit.\n\n    More.", bench.Section("Some", rows, ["A note."]), "Written so.")
    assert text.startswith("## Some (`some`)\n\nWritten so.\n\nAbout it.\n\nMore.\n\n| comparison |")
    assert "| x | rows/s | 3,000 | 10.0 | **300** (100 – 800) | memory |\n" in text
    assert "| y | s | 2.00 | 1.00 | **0.500** (0.500 – 0.500) | – |\n\nA note.\n" in text
    assert page.ratios_of(text) == {("x", "rows/s"): 300.0, ("y", "s"): 0.5}


def test_a_section_names_its_date_command_and_threads(page: ModuleType) -> None:
    text = page.written_by("python scripts/bench.py two --threads 4 --write", 4)
    assert text.startswith(
        f"Written on {date.today()} by `python scripts/bench.py two --threads 4 --write`, with 4 thr"
    )
    assert page.threads_of(text) == 4
    assert page.threads_of(page.written_by("python scripts/bench.py --write", 1)) == 1


@pytest.mark.skipif(not hasattr(os, "getloadavg"), reason="this system tells no load")
def test_a_section_tells_how_busy_the_machine_was(page: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (2.34, 1.0, 1.0))
    assert page.written_by("python scripts/bench.py --write", 1).endswith(" cores, load average 2.3 before.")


def test_ratios_are_read_by_name_and_unit(page: ModuleType) -> None:
    sections = page.sections_of(PAGE)
    assert list(sections) == ["one", "two", "--accelerator gpu"]
    what = "a of 1,000, them"
    assert page.ratios_of(sections["one"]) == {(what, "rows/s"): 3.0, (what, "MiB"): 5.0, ("b", "s"): 1234.0}
    assert page.ratios_of(sections["two"]) == {("c", "ms"): 0.0387}


def test_a_table_that_cannot_be_read_is_refused(page: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"## T .*no row"):
        page.ratios_of("## T (`t`)\n\n| x | rows/s | 1 | 1 | **1.00** (1 – 1) |\n")
    with pytest.raises(ValueError, match=r"## T .*two rows"):
        page.ratios_of(_row("t", 1.0) + _row("t", 2.0).splitlines()[-1] + "\n")


def test_a_section_takes_the_place_of_the_one_of_its_name(page: ModuleType) -> None:
    written = page.with_sections(PAGE, {"two": "## New title (`two`)\n\n2\n"}, ORDER)
    old = page.sections_of(PAGE)
    assert written == "\n".join([page.HEAD, old["one"], "## New title (`two`)\n\n2\n", old["--accelerator gpu"]])
    assert page.with_sections(written, {}, ORDER) == written


def test_a_new_section_goes_where_its_benchmark_stands(page: ModuleType) -> None:
    written = page.with_sections(PAGE, {"between": "## B (`between`)\n\nB\n", "odd": "## O (`odd`)\n\nO\n"}, ORDER)
    assert list(page.sections_of(written)) == ["one", "between", "two", "--accelerator gpu", "odd"]
    assert list(page.sections_of(page.with_sections(written, {}, ORDER, without=["odd"]))) == ORDER


# -- comparing ---------------------------------------------------------------------------------------------------------


def test_a_ratio_more_than_a_tenth_worse_is_named(comparison: ModuleType) -> None:
    for ratio, expected in ((2.69, 1), (2.71, 0), (3.0, 0), (9.0, 0)):  # 3.00 is written
        found = comparison.compare(PAGE, {"one": PAGE.split("## Two")[0].replace("**3.00**", f"**{ratio}**")})
        assert (len(found.worse), found.new, found.vanished, found.compared) == (expected, [], [], 3)
    found = comparison.compare(PAGE, {"two": _row("two", 0.02, "ms", "c")})
    assert found.worse == ["two, c (ms): 0.0387 as written, 0.0200 now, 48% worse"]
    assert str(found).splitlines() == [
        f"worse: {found.worse[0]}",
        "1 rows compared; 1 more than 10% worse than written.",
    ]


def test_new_and_vanished_rows_are_named(comparison: ModuleType) -> None:
    found = comparison.compare(PAGE, {"two": _row("two", 2.0, "ms", "e"), "three": _row("three", 2.0)})
    assert found.new == ["two, e (ms)", "three, a of 1,000, them (rows/s)"]
    assert found.vanished == ["two, c (ms)"]
    assert (found.worse, found.compared) == ([], 0)
    assert comparison.no_longer_measured(PAGE, ["one", "two"]) == ["--accelerator gpu"]


def test_sections_of_another_number_of_threads_are_found(comparison: ModuleType) -> None:
    assert comparison.written_with_other_threads(PAGE, ["one", "two", "three"], 1) == ["two"]
    assert comparison.written_with_other_threads(PAGE, ["one", "two"], 4) == ["one"]


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command with three benchmarks, of which one lacks its rival, on a page of its own."""
    report = importlib.import_module("benchmarks.report")

    def one() -> Any:
        """About one."""
        return bench.Section("One", [report.Row("a of 1,000, them", "rows/s", [20.0], [10.0])])

    def two() -> Any:
        """About two."""
        return bench.Section("Two", [report.Row("c", "ms", [1.0], [1.0])])

    def peer() -> Any:
        raise report.SkippedError("install it by this line")

    file = tmp_path / "benchmarks.md"
    file.write_text(PAGE.replace(" --threads 4", ""), encoding="utf-8")
    monkeypatch.setattr(bench, "BENCHMARKS", {"one": one, "two": two, "peer": peer})
    monkeypatch.setattr(bench, "ORDER", ["one", "two", "peer", bench.GPU])
    monkeypatch.setattr(bench, "PAGE", file)
    monkeypatch.setattr(bench.pl, "thread_pool_size", lambda: 1)
    monkeypatch.setattr(bench.torch, "set_num_threads", lambda count: None)
    return lambda *words: (bench.main(list(words)), file.read_text(encoding="utf-8"))[1]


def test_write_replaces_the_named_sections_only(run: Any, page: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    before = page.sections_of(PAGE.replace(" --threads 4", ""))
    after = page.sections_of(run("two", "peer", "--write"))
    assert list(after) == list(before)
    assert {name for name in after if after[name] != before[name]} == {"two"}
    assert f"Written on {date.today()} by `python scripts/bench.py two peer --write`" in after["two"]
    assert "skipped: peer: install it by this line" in capsys.readouterr().out


def test_compare_ends_with_1_where_a_ratio_is_worse(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run("two", "--compare")
    assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        run("--compare")
    assert ended.value.code == 1
    told = capsys.readouterr().out
    assert "worse: one, a of 1,000, them (rows/s): 3.00 as written, 2.00 now, 33% worse" in told
    assert "vanished: one, b (s)" in told
    assert told.endswith("2 rows compared; 1 more than 10% worse than written.\n")


def test_the_page_of_this_repository_can_be_compared(bench: ModuleType, page: ModuleType) -> None:
    """Every section has a benchmark, a date and a command, and every line of its table is read."""
    text = bench.PAGE.read_text(encoding="utf-8")
    sections = page.sections_of(text)
    assert set(sections) <= set(bench.ORDER)
    assert len(sections) == text.count("\n## ")
    for section in sections.values():
        assert len(page.ratios_of(section)) == len(re.findall(r"^\| [^c-]|^\| c(?!omparison)", section, re.MULTILINE))
        assert re.search(
            r"^Written on 20\d\d-\d\d-\d\d by `python scripts/bench\.py [^`]*`, with", section, re.MULTILINE
        )
