"""Candidates without a training positive: held out with all their rows, ranked among themselves, sliced by columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ir_measures
import polars as pl
import pytest
import torch
from helpers.small import small_model, small_trainer

from dssm_lightning import RetrievalDataModule
from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.batching.ranked_candidates import renumber_candidates
from dssm_lightning.data.interactions import TEST, TRAIN, VALIDATION
from dssm_lightning.data.sources import Frames, Synthetic
from dssm_lightning.data.splits import ColdCandidates
from dssm_lightning.evaluation.hybrid_test import HybridTest
from dssm_lightning.evaluation.measure_baselines import measure_baselines
from dssm_lightning.evaluation.metrics import Recall, rank
from dssm_lightning.evaluation.trec_files import TrecFiles
from dssm_lightning.features import Categorical, CategoricalList, HashedWords, History, LikedBy, Numeric
from dssm_lightning.utils.ragged import Ragged


def frames() -> dict[str, pl.DataFrame]:
    """A synthetic world; a third of the candidates have no `note`."""
    raw = Synthetic(num_queries=80, num_candidates=60, likes=10).tables()
    assert raw.candidates is not None
    noted = raw.candidates.with_row_index("row").with_columns(
        note=pl.when(pl.col("row") % 3 > 0).then(pl.lit("a note")), topics=pl.col("text").str.split(" ").list.head(1)
    )
    assert raw.queries is not None
    return {"interactions": raw.interactions, "queries": raw.queries, "candidates": noted.drop("row")}


def data(folder: Path, **changes: Any) -> RetrievalDataModule:
    settings: dict[str, Any] = {
        "source": Frames(**frames()),
        "query": [Categorical(name="query_id"), History(name="history", of="candidate_id")],
        "candidate": [
            Categorical(name="candidate_id"),
            HashedWords(name="text", num_buckets=300),
            CategoricalList(name="topics"),
        ],
        "split": ColdCandidates(test=0.4, validation=0.2),
        "rank": "held_out",
        "slice_by": ["note"],
        "batch_size": 64,
        "cache_dir": str(folder),
    }
    return RetrievalDataModule(**(settings | changes))


def test_a_candidate_is_in_one_fold(tmp_path: Path) -> None:
    interactions = data(tmp_path).data.interactions
    sets = [set(interactions.candidate[interactions.rows(fold)].tolist()) for fold in (TRAIN, VALIDATION, TEST)]
    assert not sets[0] & sets[1] | sets[0] & sets[2] | sets[1] & sets[2]
    total = len(set(interactions.candidate.tolist()))
    assert [len(each) for each in sets[1:]] == [total * 2 // 10, total * 4 // 10]
    again = data(tmp_path, split=ColdCandidates(test=0.4, validation=0.2, seed=1)).data.interactions
    assert set(again.candidate[again.rows(TEST)].tolist()) != sets[2]


def test_the_split_does_not_depend_on_the_order_of_rows() -> None:
    tables = Frames(**frames()).tables().resolve([], [])
    rows = torch.randperm(len(tables.interactions)).numpy()
    shuffled = Frames(**{**frames(), "interactions": tables.interactions[rows]}).tables().resolve([], [])
    split = ColdCandidates(test=0.3, validation=0.1)
    assert (split.assign(tables)[rows] == split.assign(shuffled)).all()
    with pytest.raises(ValueError, match=r"ColdCandidates: test is 1\.2"):
        ColdCandidates(test=1.2)


def test_held_out_candidates_are_ranked_among_themselves(tmp_path: Path) -> None:
    """Metrics equal those of a ranking of the test candidates alone, computed without the data module."""
    made, trained = data(tmp_path), small_model()
    trainer = small_trainer(tmp_path, max_epochs=2)
    trainer.fit(trained, datamodule=made)
    [metrics] = trainer.test(trained, datamodule=made, verbose=False)
    trained.eval()
    interactions = made.data.interactions
    rows = interactions.candidate[interactions.rows(TEST)].unique()
    place = {row: number for number, row in enumerate(rows.tolist())}
    values: dict[str, list[float]] = {"": [], "with_note/": [], "without_note/": []}
    with torch.inference_mode():
        corpus = trained.embed_corpus(made.corpus_batches(), made.num_candidates)[rows]
        whole = RetrievalDataModule.evaluation_batches(data(tmp_path, rank="corpus"), TEST)
        scores = torch.cat([trained.score(batch.query, corpus) for batch in whole])
        queries = torch.cat([batch.query_row for batch in whole])
    noted = made.candidates["note"].is_not_null().to_list()
    for query, score in zip(queries.tolist(), scores, strict=True):
        liked = interactions.candidate[interactions.rows(TEST)][interactions.query[interactions.rows(TEST)] == query]
        kept = {"": liked.tolist()}
        kept["with_note/"] = [row for row in liked.tolist() if noted[row]]
        kept["without_note/"] = [row for row in liked.tolist() if not noted[row]]
        order = score.argsort(descending=True).tolist()
        for name, relevant in kept.items():
            if relevant:
                values[name].append(sum(order.index(place[row]) < 10 for row in relevant) / len(relevant))
    for name, each in values.items():
        assert metrics[f"test/{name}recall@10"] == pytest.approx(sum(each) / len(each), abs=1e-6)
    assert metrics["test/with_note/queries"] == len(values["with_note/"])
    assert "test/cold_queries/mrr" not in metrics  # every query has training positives, though they are not ranked
    assert metrics["test/cold_candidates/queries"] == len(values[""])


def test_baselines_rank_the_same_candidates(tmp_path: Path) -> None:
    made = data(tmp_path)
    found = {name: metrics for name, metrics, _ in measure_baselines(made)}
    ranked = len(made.data.interactions.candidate[made.data.interactions.rows(TEST)].unique())
    assert "recall@50" not in found["Popularity()"]
    assert ranked < 50
    assert found["Popularity()"]["query_auroc"] == pytest.approx(0.5)  # all have 0 training positives
    assert found["AttributePopularity(attribute='topics')"]["query_auroc"] != 0.5
    # topics are shared words: a query that likes candidates of a topic likes the topic's other candidates
    assert found["ContentTfIdf()"]["query_auroc"] > 0.8
    assert {"with_note/mrr", "without_note/mrr"} <= set(found["ContentTfIdf()"])


def test_ids_of_cold_candidates_are_unknown(tmp_path: Path) -> None:
    made = data(tmp_path)
    rows = made.data.interactions.candidate[made.data.interactions.rows(TEST)].unique()
    ids = made.data.candidate["candidate_id"]
    assert isinstance(ids, torch.Tensor)
    assert not ids[rows].any()


def test_with_rank_corpus_the_whole_corpus_is_ranked(tmp_path: Path) -> None:
    made = data(tmp_path, rank="corpus")
    assert made.ranking(TEST).rows is None
    assert made.ranking(TEST).size == made.num_candidates == 60
    [batch] = made.test_dataloader()
    scores = torch.rand(len(batch.query_row), 60)
    assert Recall(10).value(rank(scores, batch.relevant, batch.seen)).isfinite().all()


def test_slice_by_must_be_a_column(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"slice_by.*'notes'.*candidate_id"):
        data(tmp_path, slice_by=["notes"]).ranking(TEST)
    with pytest.raises(ValueError, match=r"slice_by.*'query_id' has 80 values"):
        data(tmp_path, slice_by=["query_id"]).ranking(TEST)


def test_queries_are_sliced_by_the_value_of_a_column(tmp_path: Path) -> None:
    tables = frames()
    half = pl.Series("team", ["red" if row % 2 else "blue" for row in range(79)] + [None])
    made = data(
        tmp_path, source=Frames(**(tables | {"queries": tables["queries"].with_columns(half)})), slice_by=["team"]
    )
    made.ranking(TEST)
    groups = made.ranking(TEST).query_groups
    assert sorted(groups) == ["team=blue", "team=red"]
    teams = made.data.queries["team"].to_list()
    assert groups["team=red"].tolist() == [team == "red" for team in teams]
    found = next(metrics for name, metrics, _ in measure_baselines(made) if name == "Popularity()")
    assert found["team=red/queries"] + found["team=blue/queries"] == 79


def test_renumbering_drops_candidates_that_are_not_ranked_and_their_grades() -> None:
    batch = EvaluationBatch(
        query={},
        query_row=torch.tensor([7, 8]),
        relevant=Ragged(torch.tensor([4, 0, 2]), torch.tensor([0, 2, 3])),
        seen=Ragged(torch.tensor([1, 3]), torch.tensor([0, 1, 2])),
        shown=None,
        grade=torch.tensor([3.0, 1.0, 2.0]),
    )
    place = torch.tensor([-1, 0, 1, -1, 2])  # of rows 0 … 4, candidates 1, 2 and 4 are ranked
    found = renumber_candidates(batch, place)
    assert [each.tolist() for each in found.relevant[:2]] == [[2, 1], [0, 1, 2]]
    assert [each.tolist() for each in found.seen[:2]] == [[0], [0, 1, 1]]
    assert found.grade is not None
    assert found.grade.tolist() == [3.0, 2.0]
    assert found.liked.tolist() == [1, 1]


def test_trec_files_and_the_hybrid_rank_the_held_out_candidates(tmp_path: Path) -> None:
    """ir_measures computes our means from the files, by raw ids; a fusion with weight 0 for BM25 ranks as the model."""
    graded = frames()
    graded["interactions"] = graded["interactions"].with_columns(grade=pl.int_range(pl.len()) % 3 + 1)
    graded["candidates"] = graded["candidates"].with_columns(serial=pl.int_range(pl.len()))  # all different: no ties
    source, text = Frames(**graded, grade="grade"), HashedWords(name="text", num_buckets=300)
    made = data(tmp_path, source=source, query=[text], candidate=[text, Numeric(name="serial")])
    hybrid = HybridTest(weight=0.0)
    trainer = small_trainer(tmp_path, callbacks=[TrecFiles(str(tmp_path / "trec")), hybrid])
    [ours] = trainer.test(small_model(), datamodule=made, verbose=False)
    rows = made.data.interactions.candidate[made.data.interactions.rows(TEST)].unique()
    held_out = {str(key) for key in made.candidates["candidate_id"][rows.numpy()]}
    run = list(ir_measures.read_trec_run(str(tmp_path / "trec" / "run.trec")))
    assert {line.doc_id for line in run} == held_out
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "trec" / "qrels.trec")))
    wanted = {ir_measures.nDCG @ 10: "ndcg@10", ir_measures.R @ 10: "recall@10", ir_measures.RR: "mrr"}
    theirs = ir_measures.calc_aggregate(wanted, qrels, run)
    for measure, name in wanted.items():
        assert theirs[measure] == pytest.approx(ours[f"test/{name}"], abs=1e-6)
        assert hybrid.metrics[name] == pytest.approx(ours[f"test/{name}"], abs=1e-6)


def test_held_out_candidates_have_assembled_features(tmp_path: Path) -> None:
    text = HashedWords(name="text", num_buckets=300)
    made = data(tmp_path, query=[text], candidate=[text, LikedBy(name="asked", of="text")])
    [features] = made.corpus_batches(TEST)
    asked = features["asked"]
    assert isinstance(asked, Ragged)
    assert not asked.lengths.any()  # no training query likes them
