"""Scores from a file as a teacher: listed pairs only, in each form of the file; rows without a score are counted."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from helpers.small import small_data, small_model, small_trainer

from dssm_lightning import RetrievalDataModule
from dssm_lightning.data.negatives import FromColumn
from dssm_lightning.losses import KLDivergence, MarginMSE, SampledSoftmax, WeightedSum
from dssm_lightning.training.teachers import ColumnTeacher, Ensemble, GuidedNegatives
from dssm_lightning.training.teaching import Teaching
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.seeding import Counter

CPU = torch.device("cpu")
FORMS = ["lists.parquet", "lists.csv", "lists.jsonl", "pairs.parquet", "pairs.csv"]


def listed(data: RetrievalDataModule, every: int = 3) -> pl.DataFrame:
    """A row for each query: three candidates that it does not like, and its positives unless its number is special."""
    likes, ids = data.assembler.likes.candidates, data.candidates.to_series(0).to_list()
    rows = []
    for number, query in enumerate(data.data.queries.to_series(0).to_list()):
        liked = likes.values[likes.offsets[number] : likes.offsets[number + 1]].tolist()
        others = [candidate for candidate in range(40) if candidate not in liked][number % 7 :][:3]
        found = others + (liked if number % every else [])
        rows.append((query, [ids[candidate] for candidate in found], [number + candidate / 8 for candidate in found]))
    return pl.DataFrame(rows, ["query_id", "candidates", "scores"], orient="row")


def written(frame: pl.DataFrame, path: Path) -> Path:
    if path.stem.startswith("pairs"):
        frame = frame.explode("candidates", "scores")
    elif path.suffix == ".csv":
        lists = {name: [json.dumps(each) for each in frame[name].to_list()] for name in ("candidates", "scores")}
        frame = frame.with_columns(**{name: pl.Series(values) for name, values in lists.items()})
    write = {".parquet": frame.write_parquet, ".csv": frame.write_csv, ".jsonl": frame.write_ndjson}[path.suffix]
    write(path)
    return path


def bound(path: Path, data: RetrievalDataModule) -> ColumnTeacher:
    teacher = ColumnTeacher(str(path))
    teacher.open()
    teacher.bind(data, CPU)
    return teacher


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_the_file_by_a_loop(tmp_path: Path, form: str) -> None:
    data = small_data(tmp_path / "cache")
    frame = listed(data)
    teacher = bound(written(frame, tmp_path / form), data)
    ids = data.candidates.to_series(0).to_list()
    table = {
        (query, candidate): score
        for query, candidates, scores in frame.iter_rows()
        for candidate, score in zip(candidates, scores, strict=True)
    }
    names = data.data.queries.to_series(0).to_list()
    rows = torch.tensor([4, 0, 100, 17])
    columns = torch.randint(40, (4, 9), generator=torch.Generator().manual_seed(0))
    found = teacher.score(rows, columns)
    shared = teacher.score(rows, torch.arange(40))
    for q, row in enumerate(rows.tolist()):
        name = names[int(data.data.interactions.query[row])]
        expected = [table.get((name, ids[candidate]), float("nan")) for candidate in range(40)]
        assert shared[q].tolist() == pytest.approx(expected, nan_ok=True)
        assert found[q].tolist() == pytest.approx([expected[c] for c in columns[q].tolist()], nan_ok=True)
    assert 0 < shared.isnan().float().mean() < 1


@pytest.mark.parametrize("loss", [MarginMSE(), KLDivergence(2.0)], ids=["MarginMSE", "KLDivergence"])
def test_only_columns_with_a_score_teach(tmp_path: Path, loss: Any) -> None:
    """The value is that of a complete teacher over the scored columns alone; a row without a score has no weight."""
    path = written(listed(small_data(tmp_path / "cache")), tmp_path / "lists.parquet")
    data = small_data(tmp_path / "cache", negatives=FromColumn("candidates", file=str(path), per_row=False))
    teacher, student = bound(path, data), small_model()
    student.build(data.schemas)
    student.loss, student.teaching = loss, Teaching(None, teacher)
    batch = data.assembler.batch(data.assembler.rows[:40], Counter(0))
    found = student.per_query_loss(batch)
    logits = student(batch.query, batch.candidates.features).detach()
    scores = teacher.score(batch.row, batch.candidates.id)
    known = torch.zeros(40, len(batch.candidates.id), dtype=torch.bool)
    assert batch.known is not None
    for q in range(40):
        own = batch.known.values[batch.known.offsets[q] : batch.known.offsets[q + 1]]
        known[q] = torch.isin(batch.candidates.id, own)
        target = int(batch.target[q])
        columns = [c for c in range(known.shape[1]) if not known[q, c] and not scores[q, c].isnan() and c != target]
        taught = bool(columns) and not scores[q, target].isnan()
        assert bool(found.compared[q]) == taught
        expected = 0.0
        if taught:
            place = torch.tensor([target, *columns])
            one, two = logits[q, place], scores[q, place]
            if isinstance(loss, MarginMSE):
                expected = float(((one[0] - one[1:]) - (two[0] - two[1:])).square().mean())
            else:
                p, q_ = (two / 2).log_softmax(0), (one / 2).log_softmax(0)
                expected = 4 * float((p.exp() * (p - q_)).sum())
        assert found.value[q].item() == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert 5 < found.compared.sum() < 35
    found.total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in student.parameters())


def test_beside_labels_rows_without_a_score_keep_their_weight() -> None:
    both, alone = WeightedSum([SampledSoftmax, MarginMSE]), WeightedSum([KLDivergence, MarginMSE])
    assert (both.needs_scores, alone.needs_scores) == (False, True)


def test_rows_without_a_score_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = small_data(tmp_path / "cache")
    path = written(listed(data), tmp_path / "lists.parquet")
    data = small_data(tmp_path / "cache", negatives=FromColumn("candidates", file=str(path)))
    described = {"class_path": "ColumnTeacher", "init_args": {"file": str(path)}}
    trainer = small_trainer(tmp_path, limit_val_batches=0)
    with caplog.at_level(logging.INFO):
        trainer.fit(small_model(loss="MarginMSE", teacher=described), datamodule=data)
    query = data.data.interactions.query[data.assembler.rows]
    missing = int((query % 3 == 0).sum())
    assert f"{missing} of 240 training rows have no score of their own candidate" in caplog.text
    assert 0 < trainer.callback_metrics["train/rows_without_negatives"] <= missing


def test_a_guide_keeps_negatives_without_a_score(tmp_path: Path) -> None:
    data = small_data(tmp_path / "cache")
    teacher = bound(written(listed(data), tmp_path / "lists.parquet"), data)
    found = {}
    for name, guide in (("all", None), ("guided", Teaching(GuidedNegatives(teacher, margin=100)))):
        torch.manual_seed(0)
        student = small_model()
        student.build(data.schemas)
        student.teaching = guide
        batch = data.assembler.batch(data.assembler.rows[:40], Counter(0))
        student.per_query_loss(batch, counts=student.negative_counts)
        student.negative_counts.commit()
        found[name] = student.negative_counts.totals(CPU)
    assert found["guided"][3] > 0
    assert found["guided"][1] == found["all"][1] - found["guided"][3] > 500


# -- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"scores": None}, r"teacher column 'scores'"),
        ({"candidates": None}, r"teacher column 'candidates'"),
        ({"scores": [[1.0, float("nan"), 2.0]]}, r"1 values of 'scores' are no finite numbers, first nan"),
        ({"scores": [[1.0, float("inf"), 2.0]]}, r"first inf"),
        ({"scores": [[1.0, 2.0]]}, r"1 lists of 'candidates' have another length than their 'scores', .*query_id"),
        ({"candidates": [["nowhere", "x", "y"]]}, r"'candidates' lists 3 candidates .*first 'nowhere'"),
    ],
    ids=["no scores", "no candidates", "nan", "inf", "lengths", "unknown"],
)
def test_a_bad_file_is_refused(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    data = small_data(tmp_path / "cache")
    frame = listed(data)
    for name, values in change.items():
        if values is None:
            frame = frame.drop(name)
        else:
            first = pl.Series(name, [*values, *frame[name].to_list()[1:]], dtype=frame.schema[name])
            frame = frame.with_columns(first)
    with pytest.raises(UserError, match=named):
        bound(written(frame, tmp_path / "lists.parquet"), data)


def test_scores_that_are_words_are_refused(tmp_path: Path) -> None:
    data = small_data(tmp_path / "cache")
    frame = pl.DataFrame({"query_id": ["q0"], "candidates": ["c0"], "scores": ["high"]})
    with pytest.raises(UserError, match=r"words\.csv: the scores are neither numbers nor JSON"):
        bound(written(frame, tmp_path / "words.csv"), data)


def test_a_file_without_a_positive_is_refused(tmp_path: Path) -> None:
    data = small_data(tmp_path / "cache")
    with pytest.raises(UserError, match=r"lists\.parquet has a score of no training row's own candidate \(240 rows\)"):
        bound(written(listed(data, every=1), tmp_path / "lists.parquet"), data)


def test_a_missing_file_and_an_ensemble_are_refused(tmp_path: Path) -> None:
    teacher = ColumnTeacher(str(tmp_path / "none.parquet"))
    with pytest.raises(UserError, match=r"none\.parquet: no such file"):
        teacher.open()
    with pytest.raises(UserError, match=r"Ensemble: teacher .*none\.parquet scores listed pairs only"):
        Ensemble([teacher])
