"""The command `init`: what it writes, what it shows, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from dssm_lightning.api import init_config
from dssm_lightning.cli.main import main
from dssm_lightning.utils.errors import UserError


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ratings of 40 people with times, and 30 films with titles."""
    monkeypatch.chdir(tmp_path)
    rows = [
        (f"u{user}", film, 1 + (user * film) % 5, 1_700_000_000 + 60 * (40 * place + user))
        for user in range(40)
        for place, film in enumerate(range(user % 7, 30, 2))
    ]
    ratings = pl.DataFrame(rows, schema=["person", "film", "stars", "when"], orient="row")
    ratings.write_csv("stars.csv", separator=";")
    titles = [f"the {colour} {thing}" for colour in ("red", "blue", "old") for thing in "abcdefghij"]
    pl.DataFrame({"film": range(30), "title": titles}).write_csv("films.csv")
    return tmp_path


def config_of(path: str | Path) -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    return made


def test_it_writes_a_commented_config_and_shows_what_was_decided(
    tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = main(["init", "--interactions", "stars.csv", "--candidates", "films.csv", "--output", "my films.yaml"])
    shown = capsys.readouterr().out
    assert path == "my films.yaml"
    assert max(map(len, shown.splitlines())) <= 80
    for word in ("stars.csv", "separator ';'", "stars >= ", "title", "LeaveLastN", "val/ndcg@10", "recommendation"):
        assert word in shown
    assert "fit --config 'my films.yaml'" in shown
    text = Path(path).read_text(encoding="utf-8")
    assert text.startswith("# Recommendation: ")
    assert text.count(" # ") > 10
    source = config_of(path)["data"]["source"]["init_args"]
    assert (source["query_id"], source["candidate_id"], source["time"]) == ("person", "film", "when")


def test_fit_reads_the_config(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = main(["init", "--interactions", "stars.csv", "--candidates", "films.csv"])
    assert path == "stars.yaml"
    with pytest.raises(SystemExit) as done:
        main(["fit", "--config", path, "--print_config"])
    assert done.value.code in (0, None)
    assert "patience: 3" in capsys.readouterr().out


def test_columns_that_are_named_take_the_place_of_those_that_are_found(tables: Path) -> None:
    named = ["--query_id", "film", "--candidate_id", "person", "--positive", "stars >= 2"]
    main(["init", "--interactions", "stars.csv", "--output", "a.yaml", *named])
    source = config_of("a.yaml")["data"]["source"]["init_args"]
    assert (source["query_id"], source["candidate_id"], source["positive"]) == ("film", "person", "stars >= 2")


def test_an_existing_config_is_replaced_only_by_force(tables: Path) -> None:
    Path("my.yaml").write_text("mine")
    words = ["init", "--interactions", "stars.csv", "--output", "my.yaml"]
    with pytest.raises(UserError, match=r"my\.yaml exists already.*--force"):
        main(words)
    assert Path("my.yaml").read_text() == "mine"
    main([*words, "--force"])
    assert "data" in config_of("my.yaml")


@pytest.mark.parametrize(
    ("output", "match"),
    [("none/my.yaml", "no folder 'none'"), ("my.txt", r"my\.txt.*\.yaml"), ("there.yaml", "is a folder")],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_tables_are_read(
    tables: Path, output: str, match: str
) -> None:
    Path("there.yaml").mkdir()
    with pytest.raises(UserError, match=match):
        main(["init", "--interactions", "missing.csv", "--output", output])


def test_nothing_is_written_if_the_tables_are_refused(tables: Path) -> None:
    with pytest.raises((UserError, FileNotFoundError), match=r"missing\.csv"):
        main(["init", "--interactions", "missing.csv", "--output", "my.yaml"])
    assert not Path("my.yaml").exists()


def test_frames_are_written_and_the_config_names_them(tables: Path) -> None:
    stars, films = pl.read_csv("stars.csv", separator=";"), pl.read_csv("films.csv")
    made = yaml.safe_load(init_config(stars, candidates=films, folder="tables"))
    source = made["data"]["source"]["init_args"]
    assert source["interactions"] == str(Path("tables", "interactions.parquet"))
    assert pl.read_parquet(source["candidates"]).equals(films)
    assert yaml.safe_load(init_config(stars, candidates=films, folder="tables")) == made  # the same files
    with pytest.raises(UserError, match=r"candidates\.parquet exists.*folder"):
        init_config(stars, candidates=films.head(3), folder="tables")
    assert pl.read_parquet(source["candidates"]).equals(films)
    with pytest.raises(UserError, match=r"interactions is a frame.*folder"):
        init_config(stars)
    assert init_config("stars.csv", candidates="films.csv").startswith("# Recommendation")


def test_a_task_that_is_named_takes_the_place_of_the_one_that_follows(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [(f"what is {n // 5} of {n % 7}", f"answer {n % 30} is {n}", int(n % 5 == 0)) for n in range(400)]
    pl.DataFrame(rows, schema=["question", "answer", "right"], orient="row").write_csv("judged.csv")
    pl.DataFrame({"answer": [row[1] for row in rows], "page": [f"p{n % 9}" for n in range(400)]}).write_csv("a.csv")
    words = ["init", "--interactions", "judged.csv", "--candidates", "a.csv", "--force"]
    assert config_of(main(words))["data"]["evaluate"] == "query"
    assert config_of(main([*words, "--task", "rerank"]))["data"]["evaluate"] == "listed"


def test_a_task_that_the_data_do_not_allow(tables: Path) -> None:
    with pytest.raises(UserError, match=r"--task is search.*no column"):
        main(["init", "--interactions", "stars.csv", "--task", "search"])
    pl.DataFrame({"person": [n // 9 for n in range(360)], "film": [n % 30 for n in range(360)]}).write_csv("likes.csv")
    with pytest.raises(UserError, match=r"--task is rerank.*--label"):
        main(["init", "--interactions", "likes.csv", "--task", "rerank"])


def test_columns_are_shown_by_their_names_in_the_files(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    films = pl.read_csv("films.csv", schema_overrides=[pl.String, pl.String])
    films.rename({"film": "number"}).write_csv("films.csv")
    main(["init", "--interactions", "stars.csv", "--candidates", "films.csv", "--output", "made.yaml"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert config_of("made.yaml")["data"]["source"]["init_args"]["rename"] == {"candidates.number": "film"}
    assert [row[1] for row in rows if row[:1] == ["candidates"]][1:3] == ["number", "title"]


@pytest.mark.parametrize(("column", "needed"), [("person", "person or film"), ("stars", "person, film or judgement")])
def test_a_few_missing_values_are_named_with_what_they_lack(
    column: str, needed: str, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ratings = pl.read_csv("stars.csv", separator=";")
    kept = ratings if column == "stars" else ratings.drop("stars")
    kept.with_columns(pl.when(pl.int_range(pl.len()) != 5).then(pl.col(column))).write_csv("stars.csv", separator=";")
    main(["init", "--interactions", "stars.csv", "--candidates", "films.csv", "--output", "made.yaml"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "< 1%" in shown
    assert f"1 of {len(ratings):,} interactions have no {needed} and are left out" in shown
