"""``validate`` and ``test`` of embeddings that are cut to fewer numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.listed import listed_data
from helpers.small import TOWER, small_data, small_model, small_trainer
from torch import Tensor

from dssm_lightning import TwoTower
from dssm_lightning.data.interactions import TEST, VALIDATION
from dssm_lightning.evaluation.evaluator import Evaluation, list_scores
from dssm_lightning.training.measured_widths import chosen_widths

LOSS = {"class_path": "Matryoshka", "init_args": {"loss": "SampledSoftmax", "dims": [4, 8, 16]}}
BIASED = {**TOWER, "init_args": {**TOWER["init_args"], "bias": True}}


def built(data: Any, **settings: Any) -> TwoTower:
    torch.manual_seed(2)
    model = small_model(**settings)
    model.build(data.schemas)
    return model.eval()


def cut_metrics(model: TwoTower, data: Any, fold: int, width: int) -> dict[str, float]:
    """The metrics of a copy of the model whose embeddings are cut, without a trainer."""
    copy = built(data, query_tower=BIASED, candidate_tower=BIASED)
    copy.load_state_dict(model.state_dict(), strict=False)
    copy.truncate(width)
    batches = data.corpus_batches(fold)
    with torch.inference_mode():
        corpus = copy.embed_corpus(batches, len(batches.numbers))
        evaluation = Evaluation.of(data.ranking(fold), None, data.labelled)
        for batch in data.evaluation_batches(fold):
            evaluation.update(list_scores(copy.score(batch.query, corpus), batch), batch)
    return evaluation.compute()


@pytest.mark.parametrize("fold", [VALIDATION, TEST])
def test_rows_of_the_table_are_the_metrics_of_cut_models(
    tmp_path: Path, fold: int, capsys: pytest.CaptureFixture[str]
) -> None:
    data = small_data(tmp_path)
    model = built(data, loss=LOSS, query_tower=BIASED, candidate_tower=BIASED, truncate_dim=2)
    trainer = small_trainer(tmp_path)
    stage, measure = ("val", trainer.validate) if fold == VALIDATION else ("test", trainer.test)
    [found] = measure(model, data)
    for width in (2, 4, 8):
        wanted = cut_metrics(model, data, fold, width)
        own = {
            name.removeprefix(f"{stage}/width_{width}/"): v for name, v in found.items() if f"width_{width}/" in name
        }
        assert own == pytest.approx({name: value for name, value in wanted.items() if "/" not in name})
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert [word for word in shown if word in ("2", "4", "8", "whole")] == ["2", "4", "8", "whole"]


def test_lists_are_measured_at_each_width(tmp_path: Path) -> None:
    data = listed_data(tmp_path)
    model = built(data, query_tower=BIASED, candidate_tower=BIASED, truncate_dim=[4])
    [found] = small_trainer(tmp_path).test(model, data, verbose=False)
    wanted = cut_metrics(model, data, TEST, 4)
    assert {name: found[f"test/width_4/{name}"] for name in wanted} == pytest.approx(wanted)
    assert found["test/width_4/map"] != found["test/map"]


def test_a_plain_model_has_no_rows_by_width(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    [found] = small_trainer(tmp_path).test(built(data), data, verbose=False)
    assert not [name for name in found if "width" in name]


def test_validations_of_a_fit_measure_whole_embeddings_only(tmp_path: Path) -> None:
    data, trainer = small_data(tmp_path), small_trainer(tmp_path, limit_train_batches=1)
    trainer.fit(small_model(loss=LOSS), data)
    assert "val/ndcg@10" in trainer.callback_metrics
    assert not [name for name in trainer.callback_metrics if "width" in name]


def test_a_model_that_scores_in_its_own_way_has_no_rows_by_width(tmp_path: Path) -> None:
    class Own(TwoTower):
        def score(self, query: Any, corpus: Tensor) -> Tensor:
            return super().score(query, corpus)

    data, plain = small_data(tmp_path), small_model(loss=LOSS)
    model = Own(**dict(plain.hparams))
    model.build(data.schemas)
    [found] = small_trainer(tmp_path).test(model, data, verbose=False)
    assert not [name for name in found if "width" in name]


def test_widths_are_those_of_the_loss_and_of_the_setting(tmp_path: Path) -> None:
    model = built(small_data(tmp_path))
    assert chosen_widths(model, (), None) == []
    assert chosen_widths(model, (4, 16), None) == [4]
    assert chosen_widths(model, (4, 16), 2) == [2, 4]
    assert chosen_widths(model, (), [16, 8, 8, 3]) == [3, 8]


@pytest.mark.parametrize(
    ("setting", "message"),
    [(0, "truncate_dim is 0"), (17, "truncate_dim is 17; the embedding is 16"), ([4, 32], "truncate_dim is 32")],
)
def test_refused_widths_of_the_setting(tmp_path: Path, setting: Any, message: str) -> None:
    data = small_data(tmp_path)
    model = built(data, truncate_dim=setting)
    for verb in (small_trainer(tmp_path).test, small_trainer(tmp_path).validate):
        with pytest.raises(ValueError, match=message):
            verb(model, data)
