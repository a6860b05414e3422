"""What ``search`` says of a query under its table, and the pictures that ``export`` keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.exported_runs import TEXT, exported_run

from dssm_lightning.cli.main import main
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.utils.errors import UserError

WORDS = {"class_path": "Words", "init_args": {"name": "words", "column": "text", "max_length": 2}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose queries have a vocabulary, and ``bundle``."""
    return exported_run(tmp_path_factory.mktemp("words"), query=[WORDS], candidate=[TEXT])


@pytest.fixture
def known(place: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A word of the vocabulary."""
    monkeypatch.chdir(place)
    with Retriever.load("bundle") as retriever:
        words = json.loads((place / "bundle" / "schema.json").read_text(encoding="utf-8"))["query"][0]["vocabulary"]
        assert retriever.read(words[0])[0].unknown == []
    return str(words[0])


def test_a_line_says_what_is_unknown_and_what_is_cut_off(known: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["search", "--bundle", "bundle", "--query", f"zebra {known} cat", "--query", known, "--k", "2"])
    first, second = capsys.readouterr().out.split(f"\n{known}\n")
    assert "unknown: zebra (words)\n" in first
    assert "cut off: feature 'words' reads 2 of 3 words of column 'text'\n" in first
    assert "unknown" not in second
    assert "cut off" not in second


def test_json_says_it_too(known: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["search", "--bundle", "bundle", "--query", f"zebra {known} cat", "--k", "1", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["unknown"] == [{"feature": "words", "column": "text", "text": "zebra"}]
    assert found["truncated"] == [{"feature": "words", "column": "text", "kept": 2, "total": 3, "unit": "words"}]
    main(["search", "--bundle", "bundle", "--query", known, "--k", "1", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["unknown"], found["truncated"]) == ([], [])


def test_many_unknown_words_are_counted(known: str, capsys: pytest.CaptureFixture[str]) -> None:
    from dssm_lightning.cli.hit_tables import show_readings
    from dssm_lightning.features import Words

    show_readings([Words(name="words", vocabulary=()).read(" ".join(f"w{number}" for number in range(25)))])
    assert "w19 (words) and 5 more\n" in capsys.readouterr().out.replace("\n and", " and")


def test_export_keeps_the_pictures_of_a_column(known: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--bundle", "bundle", "--json"])["pictures"] == 0
    main(["export", "--output", "with", "--picture", "picture"])
    capsys.readouterr()
    found = main(["inspect", "--bundle", "with"])
    assert "pictures   60 small ones, from column picture" in capsys.readouterr().out
    assert (found["pictures"], found["corpus"]["picture_column"]) == (60, "picture")
    with Retriever.load("with") as retriever:
        assert retriever.picture(retriever.corpus.rows.id(3)) is not None
    main(["inspect", "--bundle", "bundle"])
    assert "pictures   none: export --picture COLUMN keeps small ones" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("column", "message"), [("poster", "picture is 'poster'"), ("size", "picture is 'size'.*paths")]
)
def test_a_wrong_column_is_refused_before_anything_is_embedded(
    known: str, column: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dssm_lightning.api.make_retriever", None)
    with pytest.raises(UserError, match=message):
        main(["export", "--output", "with", "--picture", column])
