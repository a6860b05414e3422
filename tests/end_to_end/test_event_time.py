"""The event's time as a column of the query: from files of ISO or epoch times to answers of a run and of a bundle."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from dssm_lightning.cli.main import main
from dssm_lightning.utils.errors import UserError

START = datetime(2024, 1, 1, tzinfo=timezone.utc)
TOWER = {"class_path": "Tower", "init_args": {"fusion": "Concat", "output_dim": 8}}
WRITTEN = {
    "iso": lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%S"),
    "epoch": lambda moment: str(int(moment.timestamp())),
}
FEATURES = {
    "Bucketized": {"class_path": "Bucketized", "init_args": {"name": "at", "num_buckets": 8}},
    "Numeric": {"class_path": "Numeric", "init_args": {"name": "at"}},
}


def write_shop(folder: Path, kind: str, feature: dict[str, Any]) -> None:
    """Thirty users; what they like changes with the season."""
    lines = ["user,item,at"]
    for user in range(30):
        for event in range(8):
            moment = START + timedelta(days=45 * event + user % 7, hours=user)
            lines.append(f"u{user},i{(event * 3 + user % 2) % 24},{WRITTEN[kind](moment)}")
    (folder / "events.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    files = {"interactions": "events.csv", "query_id": "user", "candidate_id": "item", "time": "at"}
    config = {
        "data": {
            "source": {"class_path": "Files", "init_args": files},
            "split": {"class_path": "ByTime", "init_args": {"test": 0.2, "validation": 0.2}},
            "query": [{"class_path": "Categorical", "init_args": {"name": "user"}}, feature],
            "candidate": [{"class_path": "Categorical", "init_args": {"name": "item", "num_buckets": 50}}],
            "evaluate": "event",
            "batch_size": 32,
        },
        "model": {
            "query_tower": TOWER,
            "candidate_tower": TOWER,
            "scorer": {"class_path": "Dot", "init_args": {"logit_scale": 10}},
            "loss": "SampledSoftmax",
            "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.05}},
        },
        "checkpoint": {"monitor": "val/mrr"},
        "trainer": {"max_epochs": 3, "accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False},
    }
    (folder / "shop.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def answers(query: dict[str, str], *words: str) -> list[tuple[Any, float]]:
    [hits] = main(["search", "--k=5", f"--query={json.dumps(query)}", *words])
    return [(hit.id, round(hit.score, 3)) for hit in hits]


@pytest.mark.parametrize(("kind", "feature"), [("iso", "Bucketized"), ("epoch", "Numeric")])
def test_a_query_names_its_time(kind: str, feature: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_shop(tmp_path, kind, FEATURES[feature])
    main(["fit", "--config=shop.yaml"])
    main(["export", "--output=bundle"])
    asked = {}
    for month in (1, 11):
        query = {"user": "u3", "at": WRITTEN[kind](datetime(2024, month, 5, tzinfo=timezone.utc))}
        asked[month] = answers(query)
        assert answers(query, "--bundle=bundle") == asked[month]
    assert asked[1] != asked[11]  # the same user at another time
    for where in ([], ["--bundle=bundle"]):
        with pytest.raises(UserError, match=r"'at'.*missing"):  # no moment is put in its place
            answers({"user": "u3"}, *where)
