"""The metrics of each objective: those of an evaluation in which only its positives are relevant."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.lists import ragged
from helpers.shop import objectives, shop_data
from helpers.small import small_model, small_trainer
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.evaluation.evaluator import DetailedEvaluation, Evaluation
from dssm_lightning.evaluation.measure_baselines import measure_baselines
from dssm_lightning.utils.ragged import Ragged

POPULARITY = torch.arange(30) ** 2 % 17


def batches(only: int | None = None) -> list[tuple[Tensor, EvaluationBatch]]:
    """Queries with relevant candidates of two objectives; with ``only``, the positives of one of them."""
    generator, made = torch.Generator().manual_seed(3), []
    for start in range(0, 9, 3):
        orders = [torch.randperm(30, generator=generator).tolist() for _ in range(3)]
        relevant = ragged([order[: 2 + start] for order in orders])
        several = torch.rand(len(relevant.values), 2, generator=generator) < 0.5
        scores = torch.randn(3, 30, generator=generator).round(decimals=1)
        if only is not None:
            relevant = relevant.only(several[:, only])
        seen = ragged([order[20:] for order in orders])
        made.append((scores, EvaluationBatch({}, torch.arange(start, start + 3), relevant, seen, None)))
        if only is None:
            made[-1] = (scores, made[-1][1]._replace(objectives=several))
    return made


def computed(evaluation: Evaluation, only: int | None = None) -> dict[str, float]:
    for scores, batch in batches(only):
        evaluation.update(scores, batch)
    return evaluation.compute()


@pytest.mark.parametrize("detailed", [False, True])
def test_equal_to_an_evaluation_of_its_positives_alone(detailed: bool) -> None:
    names = ("click", "buy")
    evaluation = (
        DetailedEvaluation([5, 10], False, POPULARITY, objectives=names)
        if detailed
        else Evaluation([5, 10], labelled=False, objectives=names)
    )
    found = computed(evaluation)
    for number, name in enumerate(names):
        alone = computed(Evaluation([5, 10], labelled=False), only=number)
        values = {key.partition("/")[2]: value for key, value in found.items() if key.startswith(f"{name}/")}
        assert values.keys() == {"hit_rate@10", "recall@10", "ndcg@10", "mrr", "query_auroc", "queries"}
        assert values.pop("queries") == sum((batch.relevant.lengths > 0).sum() for _, batch in batches(number))
        assert values == pytest.approx({key: alone[key] for key in values})
    if isinstance(evaluation, DetailedEvaluation):
        rows = evaluation.by_row()
        for name in ("buy/ndcg@10", "click/mrr"):
            assert rows.values[:, rows.names.index(name)].nanmean().item() == pytest.approx(found[name])
    else:
        assert {name for name in found if not name.endswith("/queries")} == {*evaluation.names}


def test_the_other_metrics_do_not_change() -> None:
    plain, several = (computed(Evaluation([5], False, objectives=names)) for names in ((), ("click", "buy")))
    assert {name: several[name] for name in plain} == plain


def test_a_process_without_a_query_and_an_objective_without_a_positive() -> None:
    evaluation = Evaluation([1], labelled=True, objectives=("click",))
    found = evaluation.compute()
    assert math.isnan(found["mrr"])
    assert "click/mrr" not in found
    evaluation.reset()
    batch = EvaluationBatch(
        {}, torch.tensor([0]), ragged([[1]]), Ragged.from_lengths(torch.zeros(0), torch.tensor([0])), None
    )
    evaluation = Evaluation([1], labelled=False, objectives=("click", "buy"))
    evaluation.update(torch.tensor([[1.0, 2.0]]), batch._replace(objectives=torch.tensor([[True, False]])))
    found = evaluation.compute()
    assert found["click/mrr"] == 1
    assert "buy/mrr" not in found


@pytest.mark.parametrize("evaluate", ["query", "event", "listed"])
def test_validation_logs_them_and_test_shows_them(
    tmp_path: Path, evaluate: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shop_data(tmp_path, evaluate=evaluate)
    model, trainer = small_model(loss=objectives(), ks=[1, 10]), small_trainer(tmp_path)
    trainer.fit(model, data)
    assert {"val/click/ndcg@10", "val/buy/ndcg@10", "val/buy/queries"} <= trainer.callback_metrics.keys()
    (found,) = trainer.test(model, data)
    assert found["test/buy/queries"] < found["test/click/queries"]
    shown = capsys.readouterr().out
    assert " buy " in shown
    assert " click " in shown
    assert {"test/buy/ndcg@10", "test/click/mrr"} <= model.intervals.keys()


def test_baselines_have_them(tmp_path: Path) -> None:
    data = shop_data(tmp_path)
    (found,) = measure_baselines(data, fold="test", only=["Popularity"])
    assert {"buy/ndcg@10", "click/mrr"} <= found.metrics.keys()
