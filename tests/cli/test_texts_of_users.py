"""Texts that users give and store reach the commands and the screen as they are, or are refused in one line."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from pathlib import Path

import pytest
from helpers.small import write_config
from rich.cells import cell_len

from dssm_lightning import __main__
from dssm_lightning.cli.command_arguments import as_yaml
from dssm_lightning.cli.commands.registry import COMMANDS, function_of, without_result
from dssm_lightning.cli.hit_tables import show_table
from dssm_lightning.cli.main import main
from dssm_lightning.cli.spelling_parser import SpellingParser
from dssm_lightning.retrieval.retriever import Hit

TEXTS = [
    *(
        "💥",
        "𠮷野家",
        "😸",
        "a\u2028b",
        "a\u2029b",
        "a\u0085b",
        "a\x7fb",
        "a\x1b[31mb",
        "\u202eabc",
        "שלום\u200f",
        "\ufeffx",
    ),
    *(
        "yes",
        "12",
        "null",
        "1e3",
        "[a, b]",
        "a: b",
        "{a: 1, a: 2}",
        "- x",
        "'q\"",
        "\\U0001f4a5",
        " x ",
        "",
        "a\nb\tc",
        "#",
    ),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a run of a config whose name is full of patterns."""
    place = tmp_path_factory.mktemp("texts")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PL_GLOBAL_SEED", "0")
        write_config(place / "😸 [a]*?.yaml")
        main(["fit", "--config", "😸 [a]*?.yaml", "--trainer.max_epochs=1"])
    return place


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


# -- given -------------------------------------------------------------------------------------------------------------


BUNDLES = {"similar": ["--id=i"], "export": ["--output=o"], "index": ["--bundle=b"], "rank": ["--input=i"], "runs": []}


@pytest.mark.parametrize(
    "name",
    [
        "search",
        "baseline",
        "doctor",
        "tune",
        "curves",
        "mine",
        "summary",
        "score",
        "hashing-report",
        "report",
        *BUNDLES,
    ],
)
def test_a_list_of_texts_takes_any_text(name: str) -> None:
    function = without_result(function_of(name))
    option = {"search": "query", "curves": "label", "report": "runs", "similar": "filter", "index": "factory"}.get(
        name, "config"
    )
    needed = {"curves": ["--run=r", "--metric=m", "--plot=p.svg"], "score": ["--input=i"], **BUNDLES}.get(name, [])
    parser = SpellingParser(exit_on_error=False)
    parser.add_function_arguments(function, as_group=False)
    words = as_yaml([*needed, *(f"--{option}={text}" for text in TEXTS)], function)
    assert parser.parse_args(words)[option] == TEXTS


def test_every_command_is_tried_above() -> None:
    lists = {name for name in COMMANDS if "list[str]" in str(function_of(name).__annotations__)}
    assert lists == set(COMMANDS) - {"compare", "completion", "init", "inspect", "push", "pull"}


@pytest.mark.parametrize("text", ["💥", "𠮷野家", "a\u2028b", "a\x7fb", "a\x1b[31mb", "\u202eabc"])
def test_search_answers_and_shows_it_as_it_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["search", "--query", text, "--k=1", "--json"])
    assert json.loads(capsys.readouterr().out)["query"] == text
    main(["search", "--query", text, "--k=1"])
    shown = capsys.readouterr().out
    assert not [each for each in shown if unicodedata.category(each) == "Cc" and each != "\n"]
    assert "\u2028" not in shown
    assert "\u202e" not in shown


def test_a_config_of_any_name(place: Path) -> None:
    name = "😸 [a]*?.yaml"
    run = Path("runs") / "😸 [a]*?" / "version_0"
    assert (run / "checkpoints" / "last.ckpt").is_file()
    cli = main(["fit", "--config", name, "--trainer.max_epochs=1", "--ckpt_path=last"])
    assert cli.run == run  # and no second run
    assert len(main(["search", "--query", "x", "--config", name, "--k=2"])[0]) == 2
    main(["baseline", "--config", name])
    assert (run / "baselines.json").is_file()


@pytest.mark.parametrize("words", [["search", "--query", "\udcff"], ["fit", "--config", "caf\udce9.yaml"], ["\udc80"]])
def test_bytes_that_are_no_text_are_one_line(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["dssm-lightning", *words])
    with pytest.raises(SystemExit, match=r"error: the argument '.*\\udc.*' is not UTF-8") as stopped:
        __main__.run()
    assert len(str(stopped.value.code).splitlines()) == 1


def test_an_error_steers_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["dssm-lightning", "search", "--query", "x", "--ckpt_path", "a\x1b[31m\nb"])
    with pytest.raises(SystemExit) as stopped:
        __main__.run()
    code = str(stopped.value.code)
    assert "a\\u001b[31m b" in code
    assert len(code.splitlines()) == 1


# -- numbers and flags -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["True", "2.0", '"2"', "None", "x", "[1]", "1e1", ""])
def test_a_number_of_answers_that_is_none(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["search", "--query", "x", f"--k={value}"])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2  # and the tip
    assert re.search(r"error: --k: .*int", lines[1])
    assert value in lines[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "--query=x", "--hybrid_weight=2"], "--hybrid_weight 2.*--hybrid"),
        (["search", "--query=x", "--hybrid", "false", "--hybrid_weight=2"], "--hybrid_weight 2.*--hybrid"),
        (["test", "--hybrid_weight=2"], "--hybrid_weight 2.*--hybrid"),
        (["test", "--trec_depth=5"], "--trec_depth 5.*--trec"),
        (["fit", "--config=😸 [a]*?.yaml", "--seed_everything=-1"], "seed_everything is -1.*4294967295"),
        (["fit", "--config=😸 [a]*?.yaml", "--seed_everything=4294967296"], "seed_everything is 4294967296"),
        (["search", "--query", "[" * 9], "text"),
        (["search", "--query", '{"a":' * 3000], "--query.*nested too deeply|--query.*JSON"),
        (["search", "--query", '{"text": "a", "text": "b"}'], "--query.*'text' is given twice"),
        (["search", "--query", r'{"text": "\ud83d"}'], "--query.*half of a character"),
    ],
    ids=range(10),
)
def test_options_that_cannot_be_meant(words: list[str], message: str) -> None:
    if words[-1] == "[" * 9:
        assert len(main([*words, "--k=1"])[0]) == 1  # a text like any other
        return
    with pytest.raises(ValueError, match=message):
        main(words)


def test_a_hint_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["fit", "--config=😸 [a]*?.yaml", "--data.batch_sze=3"],
        ["fit", "--config=😸 [a]*?.yaml", "--model.loss=SampledSoftmx"],
        ["search", "--query=x", "--ckpt_pth=best"],
    ):
        with pytest.raises(SystemExit):
            main(words)
        assert capsys.readouterr().err.count("did you mean") == 1


# -- configs and files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["fit", "baseline", "summary"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"data: {}\nmodel: {}\ndata: {}\n", r"bad\.yaml, line 3: the key 'data'.*line 1"),
        (b"data: {source: caf\xe9}\n", r"bad\.yaml, line 1: byte 0xe9.*Latin-1"),
        (b"data: [\n", r"bad\.yaml, line 2"),
        (b"[" * 5000, r"bad\.yaml"),
        (b"- data\n", r"bad\.yaml.*sections.*list"),
    ],
    ids=["twice", "latin", "open", "deep", "list"],
)
def test_a_config_that_is_refused(tmp_path: Path, verb: str, content: bytes, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        main([verb, "--config", str(path)])


def test_a_setting_that_is_refused_names_its_config(tmp_path: Path) -> None:
    path = write_config(tmp_path / "typo.yaml", data={"batch_sze": 3})
    with pytest.raises(ValueError, match=r"typo\.yaml.*'batch_sze'"):
        main(["baseline", "--config", str(path)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"query": "café"'.encode("latin-1"), r"in\.json, line 1: byte 0xe9"),
        (b"[" * 100_000, r"in\.json.*nested"),
        (b'{"query": 1, "query": 2}', r"in\.json.*'query' is given twice"),
        (b"{", r"in\.json is not valid JSON"),
    ],
    ids=["latin", "deep", "twice", "open"],
)
def test_an_input_of_score_that_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "in.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        main(["score", "--input", str(path)])


# -- stored ------------------------------------------------------------------------------------------------------------

TITLES = [
    "red [/sale] shoes",
    "[new] shoes",
    ":cat:",
    "a\x1b[31mb\x07",
    "line\nbreak",
    "\u202eright",
    "💥",
    "https://x.y/1?a=b",
]


def test_titles_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    hits = [Hit(title, 1.0, {"ti[/x]tle": title}) for title in TITLES]
    show_table("[red]query[/red] :dog: \x1b[2J", hits)
    shown = capsys.readouterr().out
    assert "[red]query[/red] :dog: \\u001b[2J\n" in shown
    assert "ti[/x]tle" in shown
    for text in (
        "red [/sale] shoes",
        "[new] shoes",
        ":cat:",
        "a\\u001b[31mb\\u0007",
        "line\\nbreak",
        "\\u202eright",
        "💥",
    ):
        assert shown.count(text) == 2, text
    assert not [each for each in shown if unicodedata.category(each) == "Cc" and each != "\n"]


def test_many_columns_and_long_texts_fit_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    display = {f"column {number} of many": f"value{number} " * (50 if number == 3 else 1) for number in range(30)}
    show_table("query", [Hit("x" * 5000, 0.5, display), Hit(2, 0.25, display)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert len(lines) < 100
    for number in range(30):
        assert sum(f"column {number} of many: value{number}" in line for line in lines) == 2


def test_no_answers(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("query", [])
    assert "no answers" in capsys.readouterr().out
