"""The final model: trained on validation rows as well, in a run folder that all commands then take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.resuming import Stop, StopAt, assert_same_training
from helpers.small import TEXT_CONFIG

from dssm_lightning import api
from dssm_lightning.cli.lightning_cli import TwoTowerCLI
from dssm_lightning.cli.main import main
from dssm_lightning.data.interactions import TEST, TRAIN, VALIDATION
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.training.callbacks.stop_between_batches import StopBetweenBatches
from dssm_lightning.utils.errors import UserError

RUNS = Path("runs/shop")
BY_VALIDATION = {
    "class_path": "lightning.pytorch.cli.ReduceLROnPlateau",
    "init_args": {"monitor": "val/ndcg@10", "mode": "max"},
}
STOPPER = {
    "class_path": "lightning.pytorch.callbacks.EarlyStopping",
    "init_args": {"monitor": "val/ndcg@10", "mode": "max"},
}
QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_model_summary=false", "--trainer.enable_progress_bar=false"]


def config(**checkpoint: Any) -> str:
    found = {
        **TEXT_CONFIG,
        "data": {
            **TEXT_CONFIG["data"],
            "query": [
                {"class_path": "Categorical", "init_args": {"name": "query_id"}},
                *TEXT_CONFIG["data"]["query"],
            ],
            "split": {"class_path": "RandomQueries", "init_args": {"test": 0.2, "validation": 0.2}},
        },
        "trainer": {"max_epochs": 3},
        "checkpoint": {"monitor": "val/ndcg@10", "patience": 1, **checkpoint},
    }
    Path("shop.yaml").write_text(yaml.safe_dump(found), encoding="utf-8")
    return "--config=shop.yaml"


def pairs(data: RetrievalData, fold: int) -> set[tuple[int, int]]:
    """Query and candidate ids of the rows of a fold."""
    interactions = data.data.interactions
    rows = interactions.rows(fold)
    queries = data.data.queries.to_series(0)[interactions.query[rows].numpy()]
    return set(zip(queries, data.candidates.to_series(0)[interactions.candidate[rows].numpy()], strict=True))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a refitted run; do not change it."""
    found = tmp_path_factory.mktemp("refit")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(found)
        patch.setenv("PL_GLOBAL_SEED", "0")
        main(["fit", config(), "--refit", *QUIET])
    return found


def test_validation_rows_are_trained_on_and_test_rows_are_not(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    _, before = api.load_run(RUNS / "version_0/checkpoints/best.ckpt")
    final, after = api.load_run(RUNS / "version_1/checkpoints/best.ckpt")
    assert pairs(before, VALIDATION)
    assert pairs(after, TRAIN) == pairs(before, TRAIN) | pairs(before, VALIDATION)
    assert not pairs(after, VALIDATION)
    assert pairs(after, TEST) == pairs(before, TEST)
    assert final.schemas is not None
    known = final.schemas.query["query_id"].vocabulary  # fitted anew
    assert isinstance(known, tuple | list)
    assert {str(each) for each in known} == {str(query) for query, _ in pairs(after, TRAIN)}


def test_the_run_says_what_it_is(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    chosen = torch.load(RUNS / "version_0/checkpoints/best.ckpt", weights_only=True)["epoch"] + 1
    settings = yaml.safe_load((RUNS / "version_1/config.yaml").read_text(encoding="utf-8"))
    assert settings["trainer"]["max_epochs"] == chosen
    assert settings["data"]["split"]["class_path"].endswith("WithValidation")
    assert settings["data"]["split"]["init_args"]["split"]["class_path"].endswith("RandomQueries")
    assert "version_0" in (RUNS / "version_1/refit.yaml").read_text(encoding="utf-8")
    assert torch.load(RUNS / "version_1/checkpoints/last.ckpt", weights_only=True)["epoch"] + 1 == chosen


@pytest.mark.parametrize("chosen", [[], ["--config=shop.yaml"]])
def test_it_is_the_run_that_other_commands_take(
    place: Path, monkeypatch: pytest.MonkeyPatch, chosen: list[str]
) -> None:
    monkeypatch.chdir(place)
    tested = main(["test", *chosen, *QUIET])
    assert isinstance(tested, TwoTowerCLI)
    assert tested.run is None
    assert (RUNS / "version_1/metrics.json").is_file()
    assert not pairs(tested.datamodule, VALIDATION)  # also where the config holds them out
    assert [len(hits) for hits in main(["search", *chosen, '--query={"text": "shoes"}', "--k=3"])] == [3]


def test_an_interrupted_final_fit_is_continued(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stop = StopAt("on_train_batch_start", 2)
    ends = iter([StopBetweenBatches(), StopBetweenBatches()])

    def refitted(self: TwoTowerCLI) -> None:
        before(self)
        if self.refit_of is not None and next(ends, None) is not None:
            self._add_callbacks([stop], first=True)

    before = TwoTowerCLI.before_fit
    monkeypatch.setattr(TwoTowerCLI, "before_fit", refitted)
    with pytest.raises(Stop):
        main(["fit", config(), "--refit", *QUIET])
    main(["fit", config(), "--refit", "--ckpt_path=last", *QUIET])
    assert not (RUNS / "version_2").exists()
    last = "checkpoints/last.ckpt"
    assert_same_training(RUNS / "version_1" / last, place / RUNS / "version_1" / last)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data.split.init_args.validation=0"], "--refit.*validation rows"),
        (["--checkpoint.monitor=null", "--checkpoint.patience=null"], r"--refit.*checkpoint\.monitor is None"),
        (["--trainer.fast_dev_run=true"], "--refit.*fast_dev_run"),
        (["--trainer.logger=false"], r"--refit.*trainer\.logger"),
        (
            [f"--model.lr_scheduler={json.dumps(BY_VALIDATION)}"],
            r"--refit.*model\.lr_scheduler waits for val/ndcg@10",
        ),
        (
            ["--checkpoint.patience=null", f"--trainer.callbacks={json.dumps([STOPPER])}"],
            r"--refit.*EarlyStopping by val/ndcg@10.*checkpoint\.patience",
        ),
    ],
)
def test_it_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        main(["fit", config(), "--refit", *options, *QUIET])
    assert not list(Path().glob("runs/shop/*/checkpoints/*.ckpt"))
