"""Clicks, purchases and ratings of a small shop by YAML: every command, and what each of them refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.shop import objectives, shop_log
from helpers.small import write_config

from dssm_lightning.cli.commands.doctor import findings_of
from dssm_lightning.cli.main import main
from dssm_lightning.inspection.doctor.findings import Finding
from dssm_lightning.losses import Objectives

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.max_epochs=1"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shop_log().write_csv(tmp_path / "log.csv")


def config(loss: Any = None, **data: Any) -> Path:
    files = {"interactions": "log.csv", "query_id": "visitor", "candidate_id": "item"}
    settings = {
        "source": {"class_path": "Files", "init_args": files},
        "split": {"class_path": "RandomRows", "init_args": {"test": 0.2, "validation": 0.2}},
        "query": [{"class_path": "Categorical", "init_args": {"name": "visitor"}}],
        "candidate": [{"class_path": "Categorical", "init_args": {"name": "item"}}],
        "objectives": {"click": "clicked", "buy": "price > 0"},
        **data,
    }
    return write_config(
        Path("shop.yaml"),
        data=settings,
        model={"loss": loss or objectives({"click": 1.0, "buy": 3.0})},
        checkpoint={"monitor": "val/buy/mrr"},
    )


def test_fit_test_and_summary(capsys: pytest.CaptureFixture[str]) -> None:
    loss = objectives("learned", click="SampledSoftmax", buy="SampledSoftmax", stars="RatingHead")
    path = config(loss, rating="stars")
    trained = main(["fit", "--config", str(path), *QUIET])
    assert isinstance(trained.model.loss, Objectives)
    assert "train/weight_buy" in trained.trainer.callback_metrics
    capsys.readouterr()
    main(["test"])
    shown = capsys.readouterr().out
    assert " buy " in shown
    assert " click " in shown
    main(["summary", "--ckpt_path", "best"])
    assert "Objectives" in capsys.readouterr().out


def test_print_config_keeps_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(config(rating="stars")), "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["data"]["objectives"] == {"click": "clicked", "buy": "price > 0"}
    assert printed["data"]["rating"] == "stars"
    assert printed["model"]["loss"]["init_args"]["weights"] == {"click": 1.0, "buy": 3.0}
    assert set(printed["model"]["loss"]["init_args"]["losses"]) == {"click", "buy"}


def test_two_objectives_of_one_name() -> None:
    path = config()
    once = path.read_text(encoding="utf-8")
    twice = once.replace("    click: clicked\n", "    click: clicked\n    click: price > 0\n")
    assert twice != once
    path.write_text(twice, encoding="utf-8")
    with pytest.raises(ValueError, match="click"):
        main(["fit", "--config", str(path), *QUIET])


# -- doctor -----------------------------------------------------------------------------------------------------------


def found(path: Path) -> dict[str, Finding]:
    return {each.check: each for each in findings_of([str(path)])}


def test_doctor_finds_nothing_wrong_with_them() -> None:
    checks = found(config(objectives("learned"), batch_size=256))
    assert not [name for name in checks if "objective" in name or "refused" in name or "label" in name]


def test_doctor_knows_objectives_that_hardly_teach() -> None:
    rules = {"click": "clicked", "rare": "visitor_number < 1"}
    shop_log().with_columns(visitor_number="visitor").write_csv("log.csv")
    checks = found(config(objectives(click="SampledSoftmax", rare="SampledSoftmax"), objectives=rules, batch_size=16))
    assert checks["objective-rare"].where == "data.objectives.rare"


def test_doctor_knows_objectives_that_are_not_learnt() -> None:
    checks = found(config("SampledSoftmax"))
    assert checks["objectives-not-learned"].change is not None
    line = yaml.safe_load(checks["objectives-not-learned"].change)
    assert set(line["model"]["loss"]["init_args"]["losses"]) == {"click", "buy"}
    assert found(config(objectives(buy="SampledSoftmax")))["objective-not-learned"].where == "data.objectives.click"


@pytest.mark.parametrize(
    ("data", "loss", "where", "message"),
    [
        ({"objectives": {"click": "clicked_"}}, objectives(click="BPR"), "data.objectives", "clicked_"),
        ({"objectives": {"click": "visitor >= 0"}}, objectives(click="BPR"), "data.objectives", "is 1 in all"),
        ({}, objectives(clicks="BPR"), "data.objectives", "clicks"),
        ({"rating": "stars"}, "BPR", "data.rating", "RatingHead"),
        ({}, objectives({"click": -1.0}, click="BPR"), "model.loss", "weights is -1"),
    ],
    ids=str,
)
def test_doctor_turns_refusals_into_findings(data: dict[str, Any], loss: Any, where: str, message: str) -> None:
    refused = [each for name, each in found(config(loss, **data)).items() if "refused" in name]
    assert refused[0].where.startswith(where)
    assert message in refused[0].found
