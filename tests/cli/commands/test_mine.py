"""``mine``: hard negatives from the model's ranking, in each file format, and training on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml
from helpers.small import small_data, write_config

from dssm_lightning.api import load_run
from dssm_lightning.cli.main import main
from dssm_lightning.data.negatives import FromColumn, Mixed
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.training.teachers import ColumnTeacher

CHECKPOINT = Path("runs/texts/version_0/checkpoints/best.ckpt")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("mined")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PL_GLOBAL_SEED", "0")
        main(["fit", "--config", str(write_config(place / "texts.yaml"))])
    return place


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")


def mined(*options: str) -> pl.DataFrame:
    frame = main(["mine", *options])
    assert isinstance(frame, pl.DataFrame)
    return frame


def test_the_lists_are_the_models_ranking_without_known_positives() -> None:
    """Against a loop, with both margins: 0.5 below the mean of the positives, and 5 % below it."""
    found = mined("--rank_range", "[2, 12]", "--margin", "0.5", "--relative_margin", "0.05")
    assert pl.read_parquet("mined.parquet").equals(found)
    model, data = load_run(CHECKPOINT)
    likes, ids = data.assembler.likes.candidates, data.candidates.to_series(0).to_list()
    trained = data.data.interactions.query[data.data.interactions.fold == 0].unique()
    assert found.to_series(0).to_list() == data.data.queries.to_series(0)[trained.numpy()].to_list()
    [corpus] = data.corpus_batches()
    with torch.no_grad():
        scores = model(data.assembler.query_features(trained), corpus)
    shorter = 0
    for query, row, names in zip(trained.tolist(), scores, found["negatives"].to_list(), strict=True):
        liked = likes.values[likes.offsets[query] : likes.offsets[query + 1]].tolist()
        mean = row[liked].mean()
        ranked = [c for c in row.argsort(descending=True).tolist() if c not in liked][2:12]
        kept = [c for c in ranked if row[c] <= mean - 0.5 and row[c] <= mean - 0.05 * abs(mean)]
        assert row[[ids.index(name) for name in names]].tolist() == pytest.approx(row[kept].tolist())  # ties either way
        assert not {ids[c] for c in liked} & set(names)
        shorter += len(kept) < 10
    assert shorter > 0


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_every_format_gives_the_rows_the_same_negatives(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"mined{suffix}"
    found = mined("--rank_range", "[0, 5]", "--output", str(file), "--column", "hard", "--ckpt_path", str(CHECKPOINT))
    data = small_data(
        tmp_path, source=Synthetic(num_queries=100, num_candidates=60), negatives=FromColumn("hard", file=str(file))
    )
    negatives = data.data.interactions.negatives
    assert negatives is not None
    of_query = dict(found.iter_rows())
    ids = data.candidates.to_series(0).to_list()
    queries = data.data.queries.to_series(0)[data.data.interactions.query.numpy()].to_list()
    for query, row in zip(queries, negatives.values.split(negatives.lengths.tolist()), strict=True):
        assert [ids[candidate] for candidate in row.tolist()] == of_query.get(query, [])


def test_training_on_them(place: Path) -> None:
    """From a config; another content of the file is another cache."""
    mined("--config", "texts.yaml", "--rank_range", "[3, 20]", "--output", "hard.parquet")
    negatives = {
        "class_path": "FromColumn",
        "init_args": {"column": "negatives", "num_negatives": 4, "file": "hard.parquet"},
    }
    settings = yaml.safe_load((place / "texts.yaml").read_text(encoding="utf-8"))
    config = write_config(place / "hard.yaml", data={**settings["data"], "negatives": negatives})
    cli = main(["fit", "--config", str(config), "--trainer.max_epochs=1"])
    batch = next(iter(cli.datamodule.train_dataloader()))
    assert batch.negatives is not None
    assert batch.negatives.shape == (64, 4)
    before = cli.datamodule.recipe.fingerprint(cli.datamodule.schemas)
    mined("--rank_range", "[3, 21]", "--output", "hard.parquet", "--ckpt_path", str(CHECKPOINT))
    assert cli.datamodule.recipe.fingerprint(cli.datamodule.schemas) != before


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_scores_are_the_models_and_a_teacher_reads_them(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"scored{suffix}"
    found = mined("--rank_range", "[1, 6]", "--output", str(file), "--scores", "true", "--ckpt_path", str(CHECKPOINT))
    model, data = load_run(CHECKPOINT)
    likes, ids = data.assembler.likes.candidates, data.candidates.to_series(0).to_list()
    names = data.data.queries.to_series(0).to_list()
    [corpus] = data.corpus_batches()
    for name, negatives, candidates, scores in found.iter_rows():
        query = names.index(name)
        liked = [ids[c] for c in likes.values[likes.offsets[query] : likes.offsets[query + 1]].tolist()]
        assert candidates == negatives + liked
        with torch.no_grad():
            [row] = model(data.assembler.query_features(torch.tensor([query])), corpus)
        assert scores == pytest.approx([row[ids.index(c)].item() for c in candidates], rel=1e-4, abs=1e-4)
    teacher = ColumnTeacher(str(file))
    teacher.open()
    teacher.bind(data, torch.device("cpu"))
    rows = data.assembler.rows[:20]
    own = teacher.score(rows, data.data.interactions.candidate[rows][:, None])
    with torch.no_grad():
        logits = model(data.assembler.event_features(rows), corpus)
    torch.testing.assert_close(
        own, logits.gather(1, data.data.interactions.candidate[rows][:, None]), rtol=1e-4, atol=1e-4
    )


def test_a_column_of_the_scores_name_is_refused() -> None:
    with pytest.raises(ValueError, match="column is 'scores'"):
        main(["mine", "--column", "scores", "--scores", "true"])


def test_distilling_from_mined_scores(place: Path) -> None:
    """By YAML: the negatives of a file, and the scores of the same file."""
    mined("--config", "texts.yaml", "--rank_range", "[0, 9]", "--output", "scored.parquet", "--scores", "true")
    negatives = {"class_path": "FromColumn", "init_args": {"column": "negatives", "file": "scored.parquet"}}
    settings = yaml.safe_load((place / "texts.yaml").read_text(encoding="utf-8"))
    teacher = {"class_path": "ColumnTeacher", "init_args": {"file": "scored.parquet"}}
    config = write_config(
        place / "distilled.yaml",
        data={**settings["data"], "negatives": negatives},
        model={**settings["model"], "loss": "MarginMSE", "teacher": teacher},
    )
    cli = main(["fit", "--config", str(config), "--trainer.max_epochs=2"])
    assert cli.trainer.callback_metrics["train/rows_without_negatives"] == 0
    assert cli.trainer.callback_metrics["train/negatives"] == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "mined.txt"], r"output is '\.txt'.*\.parquet"),
        (["--rank_range", "[5, 5]"], "rank_range is 5 to 5"),
        (["--rank_range", "[0, 61]"], "rank_range.*61.*60 candidates"),
        (["--rank_range", "[0, 5]", "--margin=-1"], r"margin is -1\.0"),
        (["--rank_range", "[0, 5]", "--relative_margin=2"], r"relative_margin is 2\.0"),
        (["--config", "other.yaml"], r"other\.yaml.*best\.ckpt"),
    ],
)
def test_impossible_settings_are_refused(options: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        main(["mine", *options])


def test_without_positives_there_is_nothing_to_mine(place: Path) -> None:
    lines = [{"q": f"a{i}", "c": f"b{i}", "liked": 0} for i in range(9)]
    Path("none.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    keys = {"query_id": "q", "candidate_id": "c", "label": "liked"}
    data: dict[str, Any] = {
        "source": {"class_path": "Files", "init_args": {"interactions": "none.jsonl", **keys}},
        "query": [{"class_path": "HashedTrigrams", "init_args": {"name": "text", "column": "q", "num_buckets": 2000}}],
        "candidate": [
            {"class_path": "HashedTrigrams", "init_args": {"name": "text", "column": "c", "num_buckets": 2000}}
        ],
    }
    data["split"] = {"class_path": "RandomRows", "init_args": {"test": 0.0, "validation": 0.0}}
    config = write_config(place / "none.yaml", data=data)
    with pytest.raises(ValueError, match=r"positive.*9 interactions"):
        main(["mine", "--config", str(config), "--ckpt_path", str(CHECKPOINT), "--rank_range", "[0, 5]"])


# -- what a file of negatives may hold ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("other,negatives\nq0,[]\n", "negatives.*'query_id'.*other, negatives"),
        ("query_id,wrong\nq0,[]\n", "negatives.*'negatives'.*query_id, wrong"),
        ('query_id,negatives\n1,"[1]"\n1,"[2]"\n', "1 .*'query_id'"),
        (
            'query_id,negatives\nq0,"[""c999""]"\n',
            r"'negatives' .*\d+ candidates .*\['c999'",
        ),
        (
            "query_id,negatives\nq0,nothing\n",
            "'negatives' is String",
        ),
    ],
)
def test_a_file_without_negatives_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "n.csv").write_text(content, encoding="utf-8")
    data = small_data(tmp_path, negatives=FromColumn("negatives", file=str(tmp_path / "n.csv")))
    with pytest.raises(ValueError, match=message):
        data.prepare_data()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    data = small_data(tmp_path, negatives=FromColumn("negatives", file=str(tmp_path / "none.parquet")))
    with pytest.raises(FileNotFoundError, match=r"negatives: .*none.parquet"):
        data.prepare_data()


def test_two_files_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Mixed: .*column.* a, b"):
        Mixed([FromColumn("a", file="x.csv"), FromColumn("b", file="y.csv")])
    assert Mixed([FromColumn("a", file="x.csv"), FromColumn("a", file="x.csv")]).file == "x.csv"
