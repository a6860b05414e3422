"""Training and measuring of candidates that an int8 index stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.listed import listed_data
from helpers.small import TOWER, small_data, small_model, small_trainer

from dssm_lightning.data.interactions import TEST, VALIDATION
from dssm_lightning.evaluation.evaluator import Evaluation, list_scores
from dssm_lightning.retrieval.indexes import Exact
from dssm_lightning.retrieval.indexes.row_stores import Int8Rows

PLAIN = {**TOWER, "init_args": {**TOWER["init_args"], "output_dim": 8, "bias": True}}
INT8 = {**PLAIN, "init_args": {**PLAIN["init_args"], "vectors": "int8"}}
MATRYOSHKA = {"class_path": "Matryoshka", "init_args": {"loss": "SampledSoftmax", "dims": [2, 4, 8]}}


def trained(tmp_path: Path, data: Any, **settings: Any) -> Any:
    torch.manual_seed(2)
    model = small_model(query_tower=PLAIN, candidate_tower=INT8, **settings)
    small_trainer(tmp_path).fit(model, data)
    return model.eval()


def metrics_of_the_index(model: Any, data: Any, fold: int, width: int | None = None) -> dict[str, float]:
    """The metrics of inner products with an int8 index of the embeddings of a model without ``vectors``."""
    plain = small_model(query_tower=PLAIN, candidate_tower=PLAIN)
    plain.build(data.schemas)
    plain.load_state_dict(model.state_dict(), strict=False)
    if width is not None:
        plain.eval().truncate(width)
    batches, evaluation = data.corpus_batches(fold), Evaluation.of(data.ranking(fold), None, data.labelled)
    with torch.inference_mode():
        corpus = plain.eval().embed_corpus(batches, len(batches.numbers))
        stored = Int8Rows.of(corpus.numpy())
        index = Exact("int8").build(corpus.numpy())
        for batch in data.evaluation_batches(fold):
            query = plain.embed_rows(plain.encode_query, batch.query).numpy()
            scores = query @ (stored.codes * stored.scales[:, None]).T
            naive = np.argsort(-scores, axis=1, kind="stable")[:, :5]
            assert (index.search(query, k=5).rows == naive).mean() > 0.99  # rounding may swap equal scores
            evaluation.update(list_scores(torch.from_numpy(10 * scores), batch), batch)
    return evaluation.compute()


@pytest.mark.parametrize("fold", [VALIDATION, TEST])
def test_what_is_measured_is_what_an_int8_index_finds(tmp_path: Path, fold: int) -> None:
    data = small_data(tmp_path)
    model = trained(tmp_path, data, loss=MATRYOSHKA, truncate_dim=3)
    trainer = small_trainer(tmp_path)
    stage, measure = ("val", trainer.validate) if fold == VALIDATION else ("test", trainer.test)
    [found] = measure(model, data, verbose=False)
    for width in (None, 2, 3, 4):
        prefix = f"{stage}/" + ("" if width is None else f"width_{width}/")
        wanted = metrics_of_the_index(model, data, fold, width)
        wanted = wanted if width is None else {name: value for name, value in wanted.items() if "/" not in name}
        assert {name: found[prefix + name] for name in wanted} == pytest.approx(wanted, nan_ok=True)
    assert model.truncate_dim is None


def test_lists_are_measured_with_stored_candidates(tmp_path: Path) -> None:
    data = listed_data(tmp_path)
    model = small_model(query_tower=PLAIN, candidate_tower=INT8)
    model.build(data.schemas)
    [found] = small_trainer(tmp_path).test(model, data, verbose=False)
    plain = small_model(query_tower=PLAIN, candidate_tower=PLAIN)
    plain.build(data.schemas)
    plain.load_state_dict(model.state_dict())
    batches, evaluation = data.corpus_batches(TEST), Evaluation.of(data.ranking(TEST), None, data.labelled)
    with torch.inference_mode():
        corpus = plain.eval().embed_corpus(batches, len(batches.numbers))
        stored = torch.from_numpy(Int8Rows.of(corpus.numpy()).tile(0, len(corpus)))
        for batch in data.evaluation_batches(TEST):
            evaluation.update(list_scores(plain.score(batch.query, stored), batch), batch)
    wanted = evaluation.compute()
    assert {name: found[f"test/{name}"] for name in wanted} == pytest.approx(wanted)


def test_a_checkpoint_keeps_the_setting(tmp_path: Path) -> None:
    data = small_data(tmp_path)
    model = small_model(query_tower=PLAIN, candidate_tower=INT8)
    trainer = small_trainer(tmp_path)
    trainer.fit(model, data)
    trainer.save_checkpoint(tmp_path / "int8.ckpt")
    loaded = type(model).load_from_checkpoint(tmp_path / "int8.ckpt")
    assert loaded.candidate_tower.vectors == "int8"
    assert loaded.query_tower.vectors is None


@pytest.mark.parametrize("settings", [{"memory_size": 40}, {"score_chunk_size": 5}, {"encode_chunk_size": 7}])
def test_training_works_with_memory_and_chunks(tmp_path: Path, settings: dict[str, Any]) -> None:
    data = small_data(tmp_path)
    model = trained(tmp_path, data, **settings)
    assert all(torch.isfinite(each).all() for each in model.parameters())
