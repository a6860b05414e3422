"""A checkpoint as a teacher: the scores of its model, whatever its features are; and which checkpoints are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from helpers.small import TOWER, small_data, small_model, small_trainer

from dssm_lightning import RetrievalDataModule, TwoTower
from dssm_lightning.api import load_model
from dssm_lightning.data.sources import Frames, Synthetic
from dssm_lightning.data.splits import PublishedFold
from dssm_lightning.features import Categorical, HashedWords, History, LikedBy
from dssm_lightning.losses import KLDivergence, SampledSoftmax
from dssm_lightning.training.teachers import CheckpointTeacher
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.seeding import Counter

CPU = torch.device("cpu")
MLP = {
    "class_path": "dssm_lightning.models.scorers.MLPScorer",
    "init_args": {"query_dim": 16, "candidate_dim": 16, "hidden_dims": [8]},
}
TEXT = HashedWords(name="text", num_buckets=300)
ITEM = Categorical(name="candidate_id")
SEEN = History(name="seen", of="candidate_id")
Change = Callable[[dict[str, Any]], Any]


def trained(folder: Path, data: RetrievalDataModule, **settings: Any) -> Path:
    """The checkpoint of a model that was trained for an epoch."""
    torch.manual_seed(0)
    trainer = small_trainer(folder, limit_val_batches=0)
    trainer.fit(small_model(**settings), datamodule=data)
    path = folder / "teacher.ckpt"
    trainer.save_checkpoint(path, weights_only=True)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("teachers")


@pytest.fixture(scope="module")
def plain(place: Path) -> Path:
    return trained(place, small_data(place / "cache"))


def bound(path: Path, data: RetrievalDataModule) -> CheckpointTeacher:
    teacher = CheckpointTeacher(str(path))
    teacher.open()
    teacher.bind(data, CPU)
    return teacher


def assert_scores_as_its_model(teacher: CheckpointTeacher, path: Path, data: RetrievalDataModule) -> None:
    """Compare with the model's own forward pass over the features of the rows and of the corpus."""
    model = load_model(path)
    rows, ids = data.assembler.rows[torch.tensor([3, 0, 77, 3, 120])], torch.tensor([39, 2, 2, 17, 8, 30])
    own = small_data(data.cache_dir, query=list(model.schemas.query), candidate=list(model.schemas.candidate))
    own.recipe = type(own.recipe)(data.recipe.source, own.recipe.query, own.recipe.candidate, data.recipe.split, None)
    with torch.no_grad():
        logits = model(own.assembler.event_features(rows), own.assembler.candidate_features(torch.arange(40)))
    torch.testing.assert_close(teacher.score(rows, ids), logits[:, ids], rtol=1e-5, atol=1e-5)
    columns = torch.tensor([[5, 5, 1], [0, 39, 2], [8, 8, 8], [1, 2, 3], [30, 20, 10]])
    torch.testing.assert_close(teacher.score(rows, columns), logits.gather(1, columns), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"scorer": MLP}], ids=["Dot", "MLPScorer"])
def test_with_the_features_of_the_student(tmp_path: Path, settings: dict[str, Any]) -> None:
    data = small_data(tmp_path / "cache")
    path = trained(tmp_path, data, **settings)
    folders = sorted((tmp_path / "cache").iterdir())
    student = small_data(tmp_path / "cache")
    teacher = bound(path, student)
    assert sorted((tmp_path / "cache").iterdir()) == folders, "its tables are the student's"
    assert_scores_as_its_model(teacher, path, student)


@pytest.mark.parametrize("query", [[TEXT], [SEEN], [SEEN, TEXT]], ids=["texts", "histories", "both"])
def test_with_other_features_than_the_student(tmp_path: Path, query: list[Any]) -> None:
    """A history is that of the row's own event, without its candidate."""
    data = small_data(tmp_path / "cache", query=query, candidate=[ITEM])
    path = trained(tmp_path, data)
    student = small_data(tmp_path / "cache", candidate=[TEXT], query=[HashedWords(name="text", num_buckets=50)])
    assert_scores_as_its_model(bound(path, student), path, student)


def test_an_ids_vocabulary_is_the_one_that_the_teacher_was_trained_with(place: Path, plain: Path) -> None:
    """The student's split keeps other rows, so that its vocabulary is another one; the teacher keeps its own."""
    model, data = load_model(plain), small_data(place / "cache", split=PublishedFold("fold"), source=_folds(place))
    assert data.schemas.difference(model.schemas) is not None
    assert_scores_as_its_model(bound(plain, data), plain, data)


def _folds(place: Path) -> Frames:
    """The synthetic tables, in which training has only the candidates with small numbers."""
    tables = Synthetic(num_queries=60, num_candidates=40).tables()
    interactions = pl.DataFrame(tables.interactions)
    number = pl.col("candidate_id").str.extract(r"(\d+)").cast(pl.Int64)
    fold = pl.when(number < 20).then(pl.lit("train")).otherwise(pl.lit("test"))
    return Frames(interactions.with_columns(fold=fold), tables.queries, tables.candidates)


def test_nothing_of_it_is_in_the_student(place: Path, plain: Path, tmp_path: Path) -> None:
    described = {"class_path": "CheckpointTeacher", "init_args": {"path": str(plain)}}
    guide = {"class_path": "GuidedNegatives", "init_args": {"guide": described, "relative_margin": 0.05}}
    settings: dict[str, Any] = {"loss": "KLDivergence", "teacher": described, "guide": guide}
    path = trained(tmp_path, small_data(place / "cache"), **settings)
    content, without = (torch.load(each, weights_only=True) for each in (path, plain))
    assert content["state_dict"].keys() == without["state_dict"].keys()
    assert content.keys() - without.keys() == {"teachers"}
    assert content["teachers"]["teacher"].startswith("CheckpointTeacher ")
    assert str(plain) not in str(content["teachers"]), "a teacher is known by its content, wherever it lies"
    load_model(path)
    model = TwoTower.load_from_checkpoint(path)  # neither reads the teacher
    assert isinstance(model.loss, KLDivergence)
    again = TwoTower.load_from_checkpoint(path, teacher=None, loss=SampledSoftmax, guide=None)
    assert again.teaching is None


def test_a_student_learns_what_its_teacher_knows(tmp_path: Path) -> None:
    """Without a single target of its own: KLDivergence reads the teacher alone."""
    data: dict[str, Any] = {"source": Synthetic(num_queries=200, num_candidates=60)}
    torch.manual_seed(0)
    first = small_trainer(tmp_path, max_epochs=6)
    first.fit(small_model(), datamodule=small_data(tmp_path / "cache", **data))
    first.save_checkpoint(tmp_path / "teacher.ckpt")
    taught = {"class_path": "CheckpointTeacher", "init_args": {"path": str(tmp_path / "teacher.ckpt")}}
    found = {}
    for epochs in (0, 6):
        torch.manual_seed(1)
        trainer, student = small_trainer(tmp_path, max_epochs=epochs), small_model(loss="KLDivergence", teacher=taught)
        trainer.fit(student, datamodule=small_data(tmp_path / "cache", **data))
        [metrics] = trainer.validate(student, datamodule=small_data(tmp_path / "cache", **data), verbose=False)
        found[epochs] = metrics["val/ndcg@10"]
    assert found[0] + 0.2 < found[6]
    assert found[6] > float(first.callback_metrics["val/ndcg@10"]) - 0.05


def test_a_student_comes_close_to_the_embeddings_of_its_teacher(place: Path, plain: Path) -> None:
    """The loss of a batch by hand: (Σ (q − q')² + Σ (c − c')²) / 2D, and half of it after some epochs."""
    described = {"class_path": "CheckpointTeacher", "init_args": {"path": str(plain)}}
    for chunk_size in (None, 7):
        torch.manual_seed(2)
        data = small_data(place / "cache")
        student = small_model(loss="EmbeddingMSE", teacher=described, score_chunk_size=chunk_size)
        student.build(data.schemas)
        assert student.teaching is not None
        student.teaching.open()
        student.teaching.bind(data, CPU)
        batch = data.assembler.batch(data.assembler.rows[:20], Counter(0))
        with torch.no_grad():
            found = student.per_query_loss(batch).value
            models, own = (student, load_model(plain)), batch.candidates.id[batch.target]
            query, candidate = zip(
                *(
                    (m.encode_query(batch.query), m.encode_candidate(data.assembler.candidate_features(own)))
                    for m in models
                ),
                strict=True,
            )
        expected = sum((one - two).square().sum(1) for one, two in (query, candidate)) / (2 * 16)
        torch.testing.assert_close(found, expected)
        trainer = small_trainer(place, max_epochs=5, limit_val_batches=0)
        trainer.fit(student, datamodule=data)
        assert float(trainer.callback_metrics["train/loss"]) < float(found.mean()) / 2


def test_embeddings_that_cannot_be_compared(plain: Path, tmp_path: Path) -> None:
    described = {"class_path": "CheckpointTeacher", "init_args": {"path": str(plain)}}
    wide = {**TOWER, "init_args": {**TOWER["init_args"], "output_dim": 24}}
    student = small_model(loss="EmbeddingMSE", teacher=described, query_tower=wide, candidate_tower=wide)
    with pytest.raises(UserError, match=r"query embeddings of width 24 .*teacher\.ckpt, of width 16"):
        small_trainer(tmp_path, limit_val_batches=0).fit(student, datamodule=small_data(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"EmbeddingMSE .*BM25.* has none"):
        small_model(loss="EmbeddingMSE", teacher={"class_path": "BM25Teacher"})


# -- bad input ------------------------------------------------------------------------------------------------------


def refuses(path: Path, data: RetrievalDataModule, match: str) -> None:
    """The fit ends before its first batch."""
    described = {"class_path": "CheckpointTeacher", "init_args": {"path": str(path)}}
    trainer = small_trainer(data.cache_dir / "run", limit_val_batches=0)
    with pytest.raises(UserError, match=match):
        trainer.fit(small_model(loss="KLDivergence", teacher=described), datamodule=data)
    assert trainer.global_step == 0


def changed(path: Path, change: Change, folder: Path) -> Path:
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, folder / "changed.ckpt")
    return folder / "changed.ckpt"


def test_a_missing_file_is_found_before_the_data_are_prepared(tmp_path: Path) -> None:
    refuses(tmp_path / "none.ckpt", small_data(tmp_path / "cache"), r"teacher .*none\.ckpt: no such file")
    assert not (tmp_path / "cache").exists()


def test_a_teacher_with_nan_weights(plain: Path, tmp_path: Path) -> None:
    def nan(content: dict[str, Any]) -> None:
        weights = content["state_dict"]
        weights[next(name for name in weights if "weight" in name)].view(-1)[3] = torch.nan

    refuses(changed(plain, nan, tmp_path), small_data(tmp_path / "cache"), r"changed\.ckpt: the weight .*tower.* NaN")


def test_a_teacher_of_another_corpus(plain: Path, tmp_path: Path) -> None:
    other = small_data(tmp_path / "cache", source=Synthetic(num_queries=60, num_candidates=50))
    refuses(plain, other, r"teacher\.ckpt was trained on another corpus, of 40 candidates, .* 50")


def test_a_teacher_of_an_earlier_release_does_not_say_its_corpus(place: Path, plain: Path, tmp_path: Path) -> None:
    path = changed(plain, lambda content: content.pop("corpus"), tmp_path)
    with pytest.warns(match=r"changed\.ckpt does not say which corpus"):
        bound(path, small_data(place / "cache"))


def test_a_teacher_of_another_schema(place: Path, tmp_path: Path) -> None:
    """Its features read a column that the student's tables do not have."""
    tables = Synthetic(num_queries=60, num_candidates=40).tables()
    renamed = pl.DataFrame(tables.queries).rename({"text": "title"})
    data = small_data(
        tmp_path / "cache",
        source=Frames(tables.interactions, renamed, tables.candidates),
        query=[HashedWords(name="title", num_buckets=300)],
    )
    path = trained(tmp_path, data)
    refuses(path, small_data(tmp_path / "cache"), r"teacher\.ckpt: .*'title'.* interactions|teacher\.ckpt: .*title")


def test_a_teacher_that_would_find_each_row_by_itself(tmp_path: Path) -> None:
    data = small_data(tmp_path / "cache", candidate=[ITEM, LikedBy(name="likers", of="text")])
    path = trained(tmp_path, data)
    refuses(path, small_data(tmp_path / "cache"), r"teacher\.ckpt: candidate feature 'likers' is a LikedBy")


def test_a_hostile_checkpoint(plain: Path, tmp_path: Path) -> None:
    def hostile(content: dict[str, Any]) -> None:
        content["hyper_parameters"]["scorer"] = {"class_path": "os.system"}

    refuses(changed(plain, hostile, tmp_path), small_data(tmp_path / "cache"), r"changed\.ckpt names os\.system")


def test_a_hostile_teacher_in_a_student(plain: Path, tmp_path: Path) -> None:
    def hostile(content: dict[str, Any]) -> None:
        content["hyper_parameters"]["guide"] = {
            "class_path": "GuidedNegatives",
            "init_args": {"guide": {"class_path": "os.system"}},
        }

    with pytest.raises(UserError, match=r"names os\.system"):
        TwoTower.load_from_checkpoint(changed(plain, hostile, tmp_path))
