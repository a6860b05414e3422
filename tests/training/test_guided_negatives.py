"""Guided negatives: which columns count, by hand and by a loop; counted, logged, and the same after a resume."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.resuming import Stop, StopAt, assert_same_training, same
from helpers.small import small_data, small_model, small_trainer
from helpers.teachers import Table
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from dssm_lightning.data.batch import Batch, Candidates
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.losses import KLDivergence, Loss, SampledSoftmax, Scores
from dssm_lightning.models.scorers import Dot
from dssm_lightning.training.callbacks.last_checkpoint import LastCheckpoint
from dssm_lightning.training.candidate_pool import Pool
from dssm_lightning.training.cross_batch_memory import Memory
from dssm_lightning.training.negative_counts import NegativeCounts
from dssm_lightning.training.objective import per_query_loss
from dssm_lightning.training.teachers import GuidedNegatives, Teacher
from dssm_lightning.training.teaching import Teaching
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Ragged

R, N, D = 20, 30, 4
GENERATOR = torch.Generator().manual_seed(5)
TABLE = Table(torch.randn(R, N, generator=GENERATOR))
CORPUS = torch.randn(N, D, generator=GENERATOR)
QUERIES = torch.randn(R, D, generator=GENERATOR)


class Seen(Loss):
    """Keeps the scores that it is called with."""

    def __init__(self, symmetric: bool = False) -> None:
        super().__init__()
        self.symmetric, self.scores = symmetric, list[Scores]()

    def forward(self, scores: Scores) -> Tensor:
        self.scores.append(scores)
        return scores.positive.squeeze(1)


def batch_of(rows: Tensor, ids: Tensor, negatives: Tensor | None = None, label: Tensor | None = None) -> Batch:
    """Each row owns one of the first columns, and is known to like the corpus row 3."""
    target = torch.arange(len(rows)) % (len(ids) - 1)
    known = Ragged.from_lengths(torch.full((len(rows),), 3), torch.ones(len(rows), dtype=torch.int64))
    candidates = Candidates({}, ids, torch.ones(len(ids)), torch.zeros(len(ids)))
    return Batch({}, candidates, target, negatives, known, label, None, rows)


def seen(
    batch: Batch, guided: GuidedNegatives, loss: Seen, chunk_size: int | None = None, memory: Memory | None = None
) -> list[Scores]:
    ids = batch.candidates.id
    pool = Pool(CORPUS[ids], *batch.candidates[1:])
    options: dict[str, Any] = {"gather": False, "chunk_size": chunk_size, "memory": memory}
    per_query_loss(batch, QUERIES[batch.row], pool, Dot(), loss, teaching=Teaching(guided), **options)
    return loss.scores


ROWS, IDS = torch.tensor([4, 9, 0, 17, 9]), torch.tensor([1, 3, 8, 20, 29])


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("guide", [None, TABLE], ids=["itself", "table"])
@pytest.mark.parametrize(("margin", "relative"), [(None, None), (0.4, None), (None, 0.3), (0.2, 0.3)])
def test_in_batch_by_a_loop(
    guide: Teacher | None, margin: float | None, relative: float | None, chunk_size: int | None
) -> None:
    batch = batch_of(ROWS, IDS)
    found = seen(batch, GuidedNegatives(guide, margin, relative), Seen(), chunk_size)
    valid = torch.cat([each.valid for each in found])
    table = QUERIES @ CORPUS.T if guide is None else TABLE.scores
    kept = 0
    for q, row in enumerate(ROWS.tolist()):
        own = int(IDS[batch.target[q]])
        positive = float(table[row, own])
        limit = positive - max(margin or 0.0, abs(positive) * (relative or 0.0))
        for c, candidate in enumerate(IDS.tolist()):
            expected = candidate == own or (candidate != 3 and float(table[row, candidate]) <= limit)
            assert bool(valid[q, c]) == expected, (q, c)
            kept += expected
    assert 5 < kept < 20


def test_own_negatives_and_remembered_candidates() -> None:
    negatives = torch.tensor([[1, 2], [3, -1], [4, 0], [0, 0], [2, 4]])
    batch = batch_of(ROWS, IDS, negatives)
    [own] = seen(batch, GuidedNegatives(TABLE), Seen())
    for q, row in enumerate(ROWS.tolist()):
        target = int(batch.target[q])
        for place, column in enumerate([target, *negatives[q].tolist()]):
            above = TABLE.scores[row, IDS[column]] > TABLE.scores[row, IDS[target]]
            if place and bool(own.valid[q, place]):
                assert not above
            if place and column >= 0 and column != target and int(IDS[column]) != 3 and above:
                assert not own.valid[q, place]
    memory = Memory(10, D)
    memory.hold(Pool(CORPUS[[5, 20, 28]], torch.tensor([5, 20, 28]), torch.ones(3), torch.zeros(3)))
    memory.commit()
    [remembered] = seen(batch_of(ROWS, IDS), GuidedNegatives(TABLE), Seen(), memory=memory)
    columns = torch.tensor([1, 3, 5, 8, 20, 28, 29])
    positive = TABLE.scores[ROWS].gather(1, IDS[batch.target][:, None])
    expected = (TABLE.scores[ROWS[:, None], columns] <= positive) & (columns != 3)
    expected |= columns == IDS[batch.target][:, None]
    assert torch.equal(remembered.valid, expected)


@pytest.mark.parametrize("chunk_size", [None, 2])
@pytest.mark.parametrize("guide", [None, TABLE], ids=["itself", "table"])
def test_a_candidate_counts_for_a_query_as_the_query_for_the_candidate(
    guide: Teacher | None, chunk_size: int | None
) -> None:
    """In the transposed problem, a query is a valid negative if and only if its own row allows the candidate."""
    loss = Seen(symmetric=True)
    batch = batch_of(ROWS, IDS)
    found = seen(batch, GuidedNegatives(guide, margin=0.1), loss, chunk_size)
    by_query, by_candidate = (torch.cat([each.valid for each in half]) for half in _halves(found))
    target = batch.target.tolist()
    for i in range(len(ROWS)):
        for j in range(len(ROWS)):
            expected = i == j or (target[i] != target[j] and bool(by_query[j, target[i]]))
            assert bool(by_candidate[i, j]) == expected
    assert 5 < by_candidate.sum() < 20


def _halves(found: list[Scores]) -> tuple[list[Scores], list[Scores]]:
    return found[: len(found) // 2], found[len(found) // 2 :]


def test_the_teacher_of_the_transposed_problem_is_the_transposed_teacher() -> None:
    batch, loss = batch_of(ROWS, IDS), Seen(symmetric=True)
    pool = Pool(CORPUS[IDS], *batch.candidates[1:])
    for chunk_size in (None, 2):
        loss.scores.clear()
        teaching = Teaching(None, TABLE)
        options: dict[str, Any] = {"gather": False, "chunk_size": chunk_size, "teaching": teaching}
        per_query_loss(batch, QUERIES[ROWS], pool, Dot(), loss, **options)
        one, other = (
            torch.cat([each.teacher.score for each in half if each.teacher is not None])
            for half in _halves(loss.scores)
        )
        assert torch.equal(one, TABLE.scores[ROWS[:, None], IDS])
        assert torch.equal(other, TABLE.scores[ROWS[None, :], IDS[batch.target][:, None]])


def test_a_row_that_is_not_liked_is_no_measure() -> None:
    """The guide would remove everything, but keeps the negatives of rows of label 0."""
    label = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0])
    batch = batch_of(ROWS, IDS, label=label)
    by_query, by_candidate = seen(batch, GuidedNegatives(TABLE, margin=100), Seen(symmetric=True))
    known = torch.tensor([1, 0, 1, 1, 1])  # corpus row 3 is known, and the target of row 1 alone
    assert torch.equal(by_query.num_negatives, ((4 - known) * (1 - label)).int())
    assert by_candidate.is_negative.any(0).tolist() == [False, True, False, True, False]


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_what_is_removed_is_counted(chunk_size: int | None) -> None:
    batch, counts = batch_of(ROWS, IDS), NegativeCounts()
    counts.guided = True
    pool = Pool(CORPUS[IDS], *batch.candidates[1:])
    options: dict[str, Any] = {"gather": False, "chunk_size": chunk_size, "counts": counts}
    teaching = Teaching(GuidedNegatives(TABLE))
    losses = per_query_loss(batch, QUERIES[ROWS], pool, Dot(), SampledSoftmax(), teaching=teaching, **options)
    positive = TABLE.scores[ROWS].gather(1, IDS[batch.target][:, None])
    above = TABLE.scores[ROWS[:, None], IDS] > positive
    others = (IDS != 3) & (IDS[batch.target][:, None] != IDS)  # neither known nor the target
    assert float(counts.removed) == pytest.approx((above & others).sum().item() / 5)
    counts.commit()
    found = counts.means(torch.device("cpu"))
    assert found["train/removed_negatives"] == (above & others).sum().item() / 5
    assert found["train/negatives"] == (~above & others).sum().item() / 5
    masked = (IDS == 3) & (IDS[batch.target][:, None] != IDS)
    assert found["train/masked_positives"] == masked.sum().item() / 5
    assert torch.equal(losses.compared, (~above & others).any(1))


# -- a fit ----------------------------------------------------------------------------------------------------------

GUIDED = {"class_path": "GuidedNegatives", "init_args": {"margin": 1.0}}
EVERYTHING = {"class_path": "GuidedNegatives", "init_args": {"margin": 1e6}}


class Logged(Callback):
    """Keeps a metric of each step."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.found.append(float(trainer.callback_metrics["train/removed_negatives_step"]))


def test_each_step_logs_what_was_removed(tmp_path: Path) -> None:
    logged = Logged()
    trainer = small_trainer(tmp_path, callbacks=[logged], limit_val_batches=0)
    trainer.fit(small_model(guide=GUIDED), datamodule=small_data(tmp_path / "cache", batch_size=48))
    assert len(logged.found) == 5
    mean = float(trainer.callback_metrics["train/removed_negatives"])
    assert 0 < mean == pytest.approx(sum(logged.found) / 5, abs=1e-5)  # 5 batches of 48 rows


def test_a_guide_that_removes_every_negative(tmp_path: Path) -> None:
    """All rows then have no weight, and are counted; nothing is learned, and the fit says so."""
    data, model = small_data(tmp_path), small_model(guide=EVERYTHING)
    model.build(data.schemas)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = small_trainer(tmp_path, limit_val_batches=0)
    with pytest.warns(match=r"no row of epoch 0 .*model\.guide"):
        trainer.fit(model, datamodule=data)
    assert trainer.callback_metrics["train/rows_without_negatives"] == 224  # 7 batches of 32 of 240 rows
    assert trainer.callback_metrics["train/negatives"] == 0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class AgainstEvenRows(Teacher):
    """Scores the own candidate of each even row below all others."""

    def bind(self, data: RetrievalData, device: torch.device) -> None:
        self.own = data.data.interactions.candidate

    def _score(self, rows: Tensor, candidates: Tensor) -> Tensor:
        return -((candidates == self.own[rows, None]) & (rows % 2 == 0)[:, None]).float()


def against_even_rows() -> GuidedNegatives:
    return GuidedNegatives(AgainstEvenRows())


class RowNumber(Loss):
    """The logarithm of a row's number of negatives, so that the mean shows which rows count."""

    def forward(self, scores: Scores) -> Tensor:
        return scores.positive.squeeze(1) * 0 + scores.num_negatives.clamp(min=1).log()


class Kept(Callback):
    """Keeps the rows and the value of each batch."""

    def __init__(self) -> None:
        self.found: list[tuple[Batch, float]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.found.append((batch, float(outputs["loss"])))


def test_a_row_without_negatives_has_no_weight(tmp_path: Path) -> None:
    kept = Kept()
    trainer = small_trainer(tmp_path, limit_val_batches=0, callbacks=[kept])
    data = small_data(tmp_path, mask_known=False)
    trainer.fit(small_model(guide=against_even_rows, loss=RowNumber), datamodule=data)
    even = sum(int((batch.row % 2 == 0).sum()) for batch, _ in kept.found)
    assert trainer.callback_metrics["train/rows_without_negatives"] == even > 80
    for batch, value in kept.found:  # the other rows have all columns, and are averaged alone
        assert value == pytest.approx(math.log(len(batch.candidates.id) - 1), rel=1e-5)


@pytest.mark.parametrize("guide", ["itself", "BM25", "checkpoint"])
@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_a_resumed_fit_ends_as_the_uninterrupted_one(tmp_path: Path, guide: str) -> None:
    teacher = tmp_path / "teacher.ckpt"
    described: dict[str, Any] = {
        "itself": None,
        "BM25": {"class_path": "BM25Teacher"},
        "checkpoint": {"class_path": "CheckpointTeacher", "init_args": {"path": str(teacher)}},
    }
    settings: dict[str, Any] = {"guide": {"class_path": "GuidedNegatives", "init_args": {"guide": described[guide]}}}
    if guide == "checkpoint":
        first = small_trainer(tmp_path / "first", limit_val_batches=0)
        first.fit(small_model(), datamodule=small_data(tmp_path / "cache"))
        first.save_checkpoint(teacher)
        settings |= {"teacher": described[guide], "loss": KLDivergence}

    def run(folder: str, *also: Callback, ckpt_path: Path | None = None) -> dict[str, Any]:
        torch.manual_seed(1)
        more: dict[str, Any] = {"max_epochs": 2, "enable_checkpointing": True}
        trainer = small_trainer(tmp_path / folder, callbacks=[*also, LastCheckpoint()], **more)
        data = small_data(tmp_path / "cache", source=Synthetic(num_queries=60, num_candidates=40), batch_size=48)
        trainer.fit(small_model(**settings), datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        return dict(trainer.callback_metrics)

    whole = run("whole")
    with pytest.raises(Stop):
        run("stopped", StopAt("on_before_optimizer_step", 3))
    last = tmp_path / "stopped" / "checkpoints" / "last.ckpt"
    resumed = run("stopped", ckpt_path=last)
    assert_same_training(tmp_path / "whole" / "checkpoints" / "last.ckpt", last)
    names = ("train/removed_negatives", "train/negatives", "train/rows_without_negatives", "val/ndcg@10")
    assert same([whole[name] for name in names], [resumed[name] for name in names])
    assert whole["train/removed_negatives"] > 0


@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
def test_a_resumed_fit_says_that_its_guide_is_another(tmp_path: Path) -> None:
    data = small_data(tmp_path / "cache")
    trainer = small_trainer(tmp_path, limit_val_batches=0, enable_checkpointing=True, callbacks=[LastCheckpoint()])
    trainer.fit(small_model(guide=GUIDED), datamodule=data)
    last = tmp_path / "checkpoints" / "last.ckpt"
    other = {"class_path": "GuidedNegatives", "init_args": {"margin": 2.0}}
    trainer = small_trainer(tmp_path, limit_val_batches=0, max_epochs=2)
    model = small_model(guide=other)
    with pytest.warns(match=r"another guide: .*margin 1\.0; .*margin 2\.0"):
        trainer.fit(model, datamodule=small_data(tmp_path / "cache"), ckpt_path=last, weights_only=True)


# -- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"margin": -0.5}, "margin is -0.5"),
        ({"margin": float("inf")}, "margin is inf"),
        ({"margin": float("nan")}, "margin is nan"),
        ({"relative_margin": -0.1}, "relative_margin is -0.1"),
        ({"relative_margin": 1.5}, "relative_margin is 1.5"),
        ({"relative_margin": float("nan")}, "relative_margin is nan"),
    ],
    ids=str,
)
def test_margins_out_of_range_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=f"GuidedNegatives: {named}"):
        GuidedNegatives(**settings)


def test_a_loss_and_a_teacher_belong_together() -> None:
    with pytest.raises(UserError, match=r"KLDivergence .*model\.teacher"):
        small_model(loss="KLDivergence")
    with pytest.raises(UserError, match=r"model\.teacher.*SampledSoftmax"):
        small_model(teacher={"class_path": "BM25Teacher"})
