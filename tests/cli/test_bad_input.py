"""Bad input through the command line: a clear error before any training, and no lost files.

The errors of each feature, source, split and sampler are tested beside it. The tests here check that they reach the
user, and errors that only data, model and trainer together can show.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml
from helpers.small import small_trainer, write_config
from lightning.pytorch import Trainer

from dssm_lightning.api import load_datamodule, load_untrained
from dssm_lightning.cli.main import main
from dssm_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from dssm_lightning.training.callbacks.last_checkpoint import LastCheckpoint

EVENTS = pl.DataFrame(
    {
        "query_id": [f"q{i % 8}" for i in range(40)],
        "candidate_id": [f"c{(i * 7) % 20}" for i in range(40)],
        "liked": [1, 0, 1, 1] * 10,
        "fold": ["train", "train", "train", "test"] * 10,
    }
)
QUERIES = pl.DataFrame(
    {"query_id": [f"q{i}" for i in range(8)], "text": [f"word{i}" for i in range(8)], "age": [20.0] * 8}
)
CANDIDATES = pl.DataFrame(
    {
        "candidate_id": [f"c{i}" for i in range(20)],
        "text": [f"word{i % 8} thing" for i in range(20)],
        "vector": [[1.0, 2.0, 3.0]] * 20,
        "picture": [f"{i}.png" for i in range(20)],
    }
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _no_step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error must come before the first training step."""
    if "trains" not in request.keywords:

        def step(*_: Any) -> None:
            raise AssertionError("a batch was trained on before the error")

        monkeypatch.setattr("dssm_lightning.training.module.TwoTower.training_step", step)


def files(tmp_path: Path, events: pl.DataFrame = EVENTS, **tables: pl.DataFrame) -> dict[str, Any]:
    """A Files source of Parquet files with these tables."""
    frames = {"interactions": events, "queries": QUERIES, "candidates": CANDIDATES, **tables}
    for name, frame in frames.items():
        frame.write_parquet(tmp_path / f"{name}.parquet")
    return {"class_path": "Files", "init_args": {name: f"{name}.parquet" for name in frames}}


def refused(tmp_path: Path, message: str, error: Any = ValueError, **sections: Any) -> None:
    """A fit of the config is refused with this message, and leaves no checkpoint behind."""
    path = write_config(tmp_path / "bad.yaml", **sections)
    with pytest.raises(error, match=message):
        fit(path)
    assert not list(tmp_path.glob("**/*.ckpt"))


def fit(path: Path) -> None:
    """What ``fit`` does, without its command line, which takes a second."""
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    callbacks = [BestCheckpoint(**settings["checkpoint"]), LastCheckpoint()]
    model, data = load_untrained([str(path)]), load_datamodule([str(path)])
    small_trainer(path.parent, enable_checkpointing=True, callbacks=callbacks).fit(model, datamodule=data)


PUBLISHED = {"class_path": "PublishedFold", "init_args": {"column": "fold"}}


def data(tmp_path: Path, events: pl.DataFrame = EVENTS, **changes: Any) -> dict[str, Any]:
    tables = {name: changes.pop(name) for name in ("queries", "candidates") if name in changes}
    keys = changes.pop("keys", {})
    source = files(tmp_path, events, **tables)
    source["init_args"] |= keys
    return {"source": source, "split": PUBLISHED, **changes}


def feature(kind: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": kind, "init_args": arguments}


@pytest.mark.filterwarnings("ignore:Total length of `ShardedBatches` across ranks is zero")
def test_the_data_of_these_tests_are_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    path = write_config(tmp_path / "good.yaml", data=data(tmp_path), checkpoint={"monitor": None})
    fit(path)
    assert Path("checkpoints/best.ckpt").is_file()


# -- tables ------------------------------------------------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    source = {"class_path": "Files", "init_args": {"interactions": "no/such.csv"}}
    refused(tmp_path, "no/such.csv", error=FileNotFoundError, data={"source": source})


def test_a_misspelt_column(tmp_path: Path) -> None:
    refused(
        tmp_path,
        r"query feature.*'txt'.*query_id, text, age.*'text'",
        data=data(tmp_path, query=[feature("HashedTrigrams", name="txt")]),
    )
    refused(
        tmp_path,
        "candidate feature.*'titel'.*candidate_id, text, vector, picture",
        data=data(tmp_path, candidate=[feature("HashedTrigrams", name="title", column="titel")]),
    )


@pytest.mark.parametrize("table", ["interactions", "queries", "candidates"])
def test_an_empty_table(tmp_path: Path, table: str) -> None:
    empty = {"interactions": EVENTS, "queries": QUERIES, "candidates": CANDIDATES}[table].clear()
    changes = {"events" if table == "interactions" else table: empty}
    refused(tmp_path, f"{table}.*no rows", data=data(tmp_path, **changes))


def test_ids(tmp_path: Path) -> None:
    twice = pl.concat([CANDIDATES, CANDIDATES.head(1)])
    refused(
        tmp_path,
        "candidates: 1 .*'candidate_id'.*'c0'",
        data=data(tmp_path, candidates=twice),
    )
    few = CANDIDATES.head(18)
    refused(
        tmp_path,
        r"4 of 40 interactions.*2.*'candidate_id'.*candidates \(18 rows\).*'c\d+'",
        data=data(tmp_path, candidates=few),
    )
    refused(tmp_path, "interactions.*1.*'query_id'.*queries", data=data(tmp_path, queries=QUERIES.head(7)))


def test_no_positive_is_left(tmp_path: Path) -> None:
    events = EVENTS.with_columns(liked=pl.when(fold="test").then(1).otherwise(0))
    refused(
        tmp_path,
        "positive.*40 interactions, 30 .*liked",
        data=data(tmp_path, events, keys={"label": "liked"}),
    )


def test_a_split_that_leaves_a_side_empty(tmp_path: Path) -> None:
    split = {"class_path": "RandomQueries", "init_args": {"test": 0.05, "validation": 0}}
    refused(tmp_path, "RandomQueries.*test", data=data(tmp_path, split=split))


@pytest.mark.parametrize("value", [None, float("nan")])
def test_numbers_that_are_missing(tmp_path: Path, value: float | None) -> None:
    queries = QUERIES.with_columns(age=pl.Series([20.0, value, *[30.0] * 6]))
    number = feature("Numeric", name="age")
    refused(
        tmp_path,
        "Numeric feature 'age': 5 of 30 .*missing.*`missing: mean`",
        data=data(tmp_path, queries=queries, query=[number]),
    )


@pytest.mark.parametrize("text", [None, ""])
def test_texts_that_say_nothing(tmp_path: Path, text: str | None) -> None:
    candidates = CANDIDATES.with_columns(text=pl.Series([text, *CANDIDATES["text"][1:]]))
    refused(tmp_path, "feature 'text'.*(null|empty|no text)", data=data(tmp_path, candidates=candidates))


def test_pictures_that_are_not_there_or_broken(tmp_path: Path) -> None:
    picture = [feature("Image", name="picture", size=8)]
    refused(tmp_path, r"picture.*0\.png", data=data(tmp_path, candidate=picture), error=(ValueError, OSError))
    (tmp_path / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    refused(tmp_path, r"picture.*\.png", data=data(tmp_path, candidate=picture), error=(ValueError, OSError))


def test_vectors_of_another_length(tmp_path: Path) -> None:
    refused(
        tmp_path,
        "Vector feature 'vector'.*(3.*4|4.*3)",
        data=data(tmp_path, candidate=[feature("Vector", name="vector", length=4)]),
    )


def test_negatives_without_labels_or_column(tmp_path: Path) -> None:
    shown = {"class_path": "FromShown", "init_args": {"num_negatives": 2}}
    refused(tmp_path, "FromShown.*labels", data=data(tmp_path, negatives=shown))
    column = {"class_path": "FromColumn", "init_args": {"column": "worse"}}
    refused(tmp_path, "negatives.*'worse'", data=data(tmp_path, negatives=column))


def test_hard_negatives_beyond_the_corpus_and_a_memory_without_use(tmp_path: Path) -> None:
    def hard(first: int, end: int) -> dict[str, Any]:
        return {"class_path": "Hard", "init_args": {"num_negatives": 2, "rank_range": [first, end]}}

    beyond = "Hard: rank_range.* 21.* 20 candidates"
    refused(tmp_path, beyond, data=data(tmp_path, negatives=hard(5, 21)))
    refused(tmp_path, "memory_size.*Hard", data=data(tmp_path, negatives=hard(5, 9)), model={"memory_size": 100})


def test_a_loss_that_would_have_nothing_to_compare(tmp_path: Path) -> None:
    labelled = data(tmp_path, keys={"label": "liked"}, negatives="ObservedOnly")
    refused(tmp_path, "ObservedOnly .*labels", data=labelled)


# -- settings ----------------------------------------------------------------------------------------------------------


def tower(**arguments: Any) -> dict[str, Any]:
    return {"class_path": "Tower", "init_args": {"fusion": "Concat", "output_dim": 16, **arguments}}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"batch_size": 0}}, "batch_size is 0"),
        ({"model": {"ks": [1, 100]}}, "ks.*100.* 60 candidates"),
        ({"model": {"ks": [0]}}, "ks: k is 0"),
        (
            {"checkpoint": {"monitor": "val/auroc"}},
            "checkpoint.monitor.*'val/auroc'.*labels",
        ),
        (
            {"checkpoint": {"monitor": "val/mr"}},
            "checkpoint.monitor.*'val/mr'.*train/loss, val/hit.*'val/mrr'",
        ),
        ({"model": {"query_tower": tower(output_dim=8)}}, "query 8, candidate 16"),
        ({"model": {"query_tower": tower(output_dim=0)}}, "Tower: output_dim is 0"),
        (
            {"model": {"query_tower": tower(hidden_dims=[8, -1])}},
            r"hidden_dims.*-1",
        ),
        ({"model": {"query_tower": tower(activation="Relu", hidden_dims=[4])}}, "activation 'Relu'.*'ReLU'"),
        ({"model": {"tied_embeddings": {"hist": "text"}}}, "tied_embeddings: 'hist'"),
        (
            {"data": {"split": {"class_path": "PerQuery", "init_args": {"test": 1.5}}}},
            "PerQuery: test is 1.5",
        ),
        (
            {"data": {"source": {"class_path": "Synthetic", "init_args": {"num_candidates": 3}}}},
            "num_candidates is 3",
        ),
        (
            {"model": {"scorer": {"class_path": "Dot", "init_args": {"logit_scale": -1}}}},
            r"logit_scale is -1\.0",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_impossible_settings(tmp_path: Path, sections: dict[str, Any], message: str) -> None:
    refused(tmp_path, message, **sections)


def test_an_encoder_for_an_unknown_feature(tmp_path: Path) -> None:
    encoders = {"titel": {"class_path": "EmbeddingBag"}}
    refused(
        tmp_path,
        r"encoders .*\['titel'\].*\['text'\]",
        model={"query_tower": tower(encoders=encoders)},
    )


def test_an_encoder_of_another_kind(tmp_path: Path) -> None:
    encoders = {"text": {"class_path": "ConvNet"}}
    refused(tmp_path, "ConvNet.*'text'|'text'.*ConvNet", model={"query_tower": tower(encoders=encoders)})


def test_an_unknown_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_config(tmp_path / "bad.yaml", data={"split": {"class_path": "PerQery"}})
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(path)])
    assert "did you mean 'PerQuery'?" in capsys.readouterr().err


def test_a_config_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--config", "no.yaml"])
    assert "File does not exist" in capsys.readouterr().err


# -- checkpoints -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a run."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PL_GLOBAL_SEED", "0")
        main(["fit", "--config", str(write_config(place / "texts.yaml")), "--trainer.max_epochs=1"])
    return place


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """The same run in the test's own folder."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path / "runs" / "texts" / "version_0"


@pytest.mark.parametrize(
    ("verb", "share"), [("fit", 0.7), ("test", 0.7), ("test", 0.0), ("predict", 0.999), ("search", 0.7), ("score", 0.0)]
)
def test_a_truncated_checkpoint(run: Path, verb: str, share: float) -> None:
    path = run / "checkpoints" / "best.ckpt"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    Path("in.json").write_text(json.dumps({"query": "a", "positive_doc": "b", "negative_docs": []}))
    more = {"fit": ["--config", "texts.yaml"], "search": ["--query", "x"], "score": ["--input", "in.json"]}
    with pytest.raises(ValueError, match=r"best\.ckpt.*(damaged|truncated)"):
        main([verb, *more.get(verb, []), "--ckpt_path", str(path)])


def test_a_checkpoint_of_another_schema(run: Path) -> None:
    other = ["--data.query=[{class_path: HashedTrigrams, init_args: {name: text, num_buckets: 3000}}]"]
    with pytest.raises(ValueError, match=r"schema.*query feature 'text': num_buckets 2000.*3000"):
        main(["fit", "--config", "texts.yaml", *other, "--ckpt_path=last"])
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 0  # as it was


@pytest.mark.parametrize("verb", ["fit", "test"])
@pytest.mark.filterwarnings("ignore:the checkpoint's own model settings win")
def test_a_checkpoint_of_another_config(run: Path, tmp_path: Path, verb: str) -> None:
    ids = {"candidate": [feature("Categorical", name="candidate_id")]}
    other = write_config(tmp_path / "other.yaml", data=ids)
    with pytest.raises(ValueError, match=r"schema.*candidate features \['text'\].*\['candidate_id'\]"):
        main([verb, "--config", str(other), "--ckpt_path", str(run / "checkpoints" / "best.ckpt")])


def test_a_checkpoint_of_something_else(run: Path) -> None:
    torch.save({"state_dict": {}}, run / "checkpoints" / "best.ckpt")
    with pytest.raises(ValueError, match=r"best\.ckpt.*TwoTower"):
        main(["test"])


def test_a_checkpoint_beside_no_config(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "checkpoints" / "best.ckpt", tmp_path / "alone.ckpt")
    with pytest.raises(ValueError, match=r"alone\.ckpt.*--config"):
        main(["test", "--ckpt_path", "alone.ckpt"])
    with pytest.raises(ValueError, match=r"alone\.ckpt.*config\.yaml"):
        main(["search", "--query", "x", "--ckpt_path", "alone.ckpt"])
    found = main(["test", "--ckpt_path", "alone.ckpt", "--config", "texts.yaml"])
    assert isinstance(found.trainer, Trainer)


def test_values_never_seen_are_served(run: Path) -> None:
    [hits] = main(["search", "--query", "κάτι entirely новое 新しい", "--k", "3"])
    assert len(hits) == 3


# -- nothing is lost ---------------------------------------------------------------------------------------------------


def test_an_error_while_a_batch_is_trained_on_leaves_the_last(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("out of memory")

    before = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    monkeypatch.setattr("dssm_lightning.training.module.TwoTower.training_step", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        main(["fit", "--config", "texts.yaml", "--ckpt_path=last", "--trainer.max_epochs=3"])
    after = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert after["global_step"] == before["global_step"]
    assert all(torch.equal(after["state_dict"][name], value) for name, value in before["state_dict"].items())


def test_an_unreadable_config_of_a_run(run: Path) -> None:
    settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert settings["trainer"]["max_epochs"] == 1
    (run / "config.yaml").unlink()
    with pytest.raises(ValueError, match=r"best\.ckpt.*--config"):
        main(["test"])
