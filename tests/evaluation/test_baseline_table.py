"""A model beside baselines: means, paired intervals, the verdict, and the width of the table."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dssm_lightning.evaluation import bootstrap
from dssm_lightning.evaluation.baseline_table import beside_baselines, show_baselines, table_metrics
from dssm_lightning.evaluation.metrics import RowValues


def rows(*columns: Tensor) -> RowValues:
    names = ["ndcg@10", "hit_rate@10"][: len(columns)]
    return RowValues(names, torch.arange(len(columns[0])), None, torch.stack(columns, dim=1))


@pytest.fixture
def model() -> Tensor:
    return torch.rand(300, generator=torch.Generator().manual_seed(1))


def test_means_and_intervals_are_those_of_the_paired_bootstrap(model: Tensor) -> None:
    hit, other = (model > 0.5).float(), model.flip(0)
    table = beside_baselines(
        rows(model, hit), {"A()": rows(other, hit), "B()": rows(hit, hit)}, ["ndcg@10", "hit_rate@10"]
    )
    assert [row.name for row in table.rows] == ["the model", "A()", "B()"]
    assert table.rows[0].means == pytest.approx([model.mean().item(), hit.mean().item()])
    expected = bootstrap.compare(torch.stack([other, hit], 1), torch.stack([model, hit], 1), torch.arange(300))
    assert table.rows[1].low == pytest.approx(expected.low.tolist())
    assert table.rows[1].high == pytest.approx(expected.high.tolist())
    assert table.rows[1].high[1] == 0  # the same hits for each query


@pytest.mark.parametrize(("more", "verdict"), [(0.2, "ahead"), (0.0, "level"), (-0.2, "behind")])
def test_the_verdict_is_of_the_best_baseline(model: Tensor, more: float, verdict: str) -> None:
    noise = torch.rand(300, generator=torch.Generator().manual_seed(2)) - 0.5
    table = beside_baselines(
        rows(model),
        {"hybrid with BM25": rows(model + 5), "poor": rows(model - 0.5), "best": rows(model - more + noise / 10)},
        ["ndcg@10"],
    )
    assert (table.best.name, table.verdict) == ("best", verdict)


@pytest.mark.parametrize(
    ("names", "monitor", "expected"),
    [
        (["hit_rate@10", "ndcg@10", "mrr"], None, ["ndcg@10", "hit_rate@10"]),
        (["hit_rate@10", "ndcg@10", "mrr"], "val/hit_rate@10", ["hit_rate@10", "ndcg@10"]),
        (["hit_rate@10", "ndcg@10", "mrr"], "val/auroc", ["ndcg@10", "hit_rate@10"]),  # no query has one
        (["map", "mrr", "ndcg@10", "hit_rate@10"], None, ["map", "hit_rate@10"]),  # of lists
        (["mrr"], "val/ndcg@10", ["mrr"]),
    ],
)
def test_the_metrics_of_the_table(names: list[str], monitor: str | None, expected: list[str]) -> None:
    assert table_metrics(names, monitor) == expected


def test_it_fits_80_columns(model: Tensor, capsys: pytest.CaptureFixture[str]) -> None:
    names = [
        "Popularity()",
        "ItemKNN(neighbours=100, shrink=10.0)",
        "BM25(k1=1.2, b=0.75)",
        "RecentPopularity(days=30.0)",
    ]
    both = rows(model, model)
    show_baselines(beside_baselines(both, dict.fromkeys(names, both), ["ndcg@10", "hit_rate@10"]), "validation rows")
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for part in ("neighbours=100", "shrink=10.0", "days=30.0", "+0.000 – +0.000"):
        assert part in shown
