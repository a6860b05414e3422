"""Tables of metrics: what stands in them, and that they fit 80 columns."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.small import small_data, small_model, small_trainer

from dssm_lightning.evaluation.metric_tables import show_best, show_comparison, show_results

NAMES = [f"{name}@{k}" for name in ("hit_rate", "map", "ndcg", "precision", "recall") for k in (1, 5, 10, 50, 100)]


@pytest.fixture(autouse=True)
def _width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    found = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in found)
    return found


def test_seen_kept_stands_only_where_it_differs(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {f"test/{name}": 0.25 for name in (*NAMES, "mrr", "query_auroc")}
    same = metrics | {f"test/seen_kept/{name.removeprefix('test/')}": value for name, value in metrics.items()}
    intervals = dict.fromkeys(same, (0.2, 0.3))
    show_results(same, intervals)
    [header] = [line for line in lines(capsys) if line.split()[:1] == ["metric"]]
    assert header.split() == ["metric", "value", "95", "%"]
    show_results(same | {"test/seen_kept/mrr": 0.125}, intervals)
    found = lines(capsys)
    assert any("seen masked" in line and "seen kept" in line for line in found)
    [row] = [line.split() for line in found if line.split()[:1] == ["mrr"]]
    assert row == ["mrr", "0.2500", "0.2000", "–", "0.3000", "0.1250", "0.2000", "–", "0.3000"]


def test_a_comparison_of_many_metrics_has_all_columns(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("hit_rate@10", "recall@10", "recall@100", "precision@10", "ndcg@10", "mrr", "query_auroc", "auroc")
    metrics = {name: number / 10 for number, name in enumerate(names)}
    show_comparison({"ItemKNN(neighbours=100, shrink=10.0)": metrics, "hybrid with BM25": metrics})
    text = "\n".join(lines(capsys))
    for number in range(len(names)):
        assert text.count(f"{number / 10:.4f}") == 2
    assert "…" not in text
    assert "precision" in text
    assert "shrink=10.0" in text.replace("\n", "").replace(" ", "") or "shrink=10.0" in text


def test_a_fit_ends_with_the_monitored_metric_and_the_usual_ones(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {f"val/{name}": 0.5 for name in (*NAMES, "mrr", "query_auroc")} | {"val/map@5": 0.75}
    show_best(metrics, "best val/map@5: 0.7500", "val/map@5")
    rows = [line.split() for line in lines(capsys) if line.startswith(" val/")]
    assert rows[0] == ["val/map@5", "0.7500"]
    assert 8 <= len(rows) <= 14
    show_best(metrics, "all", "val/map@5", verbose=True)
    assert len([line for line in lines(capsys) if line.startswith(" val/")]) == len(metrics)


def test_a_metric_of_ones_own_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    show_best({"train/loss": 1.0}, "metrics at the end of training")
    assert [line.split() for line in lines(capsys) if "loss" in line] == [["train/loss", "1.0000"]]


def test_a_test_in_python_shows_the_same_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = small_data(tmp_path), small_model()
    trainer = small_trainer(tmp_path)
    trainer.fit(model, datamodule=data)
    capsys.readouterr()
    [metrics] = trainer.test(model, datamodule=data)
    found = lines(capsys)
    [row] = [line.split() for line in found if line.split()[:1] == ["mrr"]]
    assert row[1] == f"{metrics['test/mrr']:.4f}"
    assert not [line for line in found if "test/" in line], "Lightning's own list of lines"
    trainer.test(model, datamodule=data, verbose=False)
    assert lines(capsys) == []
    trainer.validate(model, datamodule=data)
    assert any(line.split()[:1] == ["mrr"] for line in lines(capsys))
