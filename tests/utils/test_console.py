"""What users wrote is shown as it is, and nothing of it steers the terminal."""

from __future__ import annotations

import io
import json
import logging
import unicodedata

import pytest
from rich.table import Table

from dssm_lightning.utils import progress
from dssm_lightning.utils.console import cell, printable, show, show_text, write_line
from dssm_lightning.utils.logger import log_file, show_messages

MARKUP = ["red [/sale] shoes", "[new] shoes", ":cat: and [link=x]", r"back\[slash]", "3 'x' 1.5 http://a.b", "[bold]"]
STEERING = ["\x1b[31mred", "a\x07b", "c\rd", "\x9b2J", "\x7f", "\u2028", "\u202eabc", "\u2066x", "\udcff", "\t"]


@pytest.mark.parametrize("text", MARKUP)
def test_nothing_is_markup(text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    table = Table(text, title=text)
    table.add_row(text)
    show(table, text)
    show_text(text)
    assert capsys.readouterr().out.count(text) == 5


@pytest.mark.parametrize("text", STEERING)
def test_nothing_steers_the_terminal(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(text, title=text)
    table.add_row(text)
    table.add_row(cell(text))
    show(table, text)
    show_text(text)
    shown = capsys.readouterr().out
    assert not [each for each in shown if unicodedata.category(each) in ("Cc", "Cs") and each != "\n"]
    assert shown.count(printable(text)) == 6


@pytest.mark.parametrize("text", [*STEERING, "💥", "שלום\u200f", "👩\u200d🚀", "\n"])
def test_json_stays_the_same_json(text: str) -> None:
    assert json.loads(printable(json.dumps({text: [text]}, ensure_ascii=False))) == {text: [text]}


@pytest.mark.parametrize("text", ["日本語", "é", "💥", "שלום\u200f", "👩\u200d🚀"])
def test_letters_and_joiners_stay(text: str) -> None:
    assert printable(text) == text


def test_a_cell_is_one_line() -> None:
    assert cell("a\nb\r\nc") == "a\\nb\\r\\nc"
    assert (cell(None), cell(7), cell("abcdef", 4)) == ("", "7", "abc…")


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "é → 💥"), ("latin-1", r"é \u2192 \ud83d\udca5")])
def test_a_stream_of_another_encoding(encoding: str, shown: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    write_line(stream, "é → 💥")
    stream.flush()
    assert raw.getvalue().decode(encoding) == f"{shown}\n"


def test_the_log_steers_no_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("dssm_lightning")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    show_messages()
    log_file("the [red] file", "a\x1b[31m:cat:.png")
    assert capsys.readouterr().err == "the [red] file: a\\u001b[31m:cat:.png\n"


def test_a_bar_shows_its_name_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("rich._console", None, raising=False)
    assert list(progress.track(range(3), "pictures of [/x] :cat:\x1b[2J", 3)) == [0, 1, 2]
    shown = capsys.readouterr().out
    assert "pictures of [/x] :cat:\\u001b[2J" in shown
