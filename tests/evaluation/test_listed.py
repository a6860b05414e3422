"""``evaluate: listed``: each query ranks its own list; the metrics are those of other evaluators."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import ir_measures
import polars as pl
import pytest
import torch
from helpers.listed import listed_data, listed_frames
from helpers.lists import ragged
from helpers.small import small_model, small_trainer
from ir_measures import AP, RR, P, R, Success, nDCG
from torch import Tensor

from dssm_lightning import RetrievalDataModule, TwoTower
from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.interactions import TEST, VALIDATION
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import LeaveLastN, RandomQueries
from dssm_lightning.evaluation.evaluator import DetailedEvaluation, Evaluation
from dssm_lightning.evaluation.hybrid_test import HybridTest
from dssm_lightning.evaluation.measure_baselines import measure_baselines
from dssm_lightning.evaluation.metric_tables import show_best, show_comparison, show_results
from dssm_lightning.evaluation.paired_comparison import pair_rows
from dssm_lightning.evaluation.result_files import per_query
from dssm_lightning.evaluation.trec_files import TrecFiles
from dssm_lightning.features import Categorical, HashedWords, History
from dssm_lightning.models.list_scores import score_lists
from dssm_lightning.models.scorers import Dot, MLPScorer, MultiHeadDot, Scorer
from dssm_lightning.utils.ragged import Features, Ragged

MLP = {"class_path": "dssm_lightning.models.scorers.MLPScorer", "init_args": {"query_dim": 16, "candidate_dim": 16}}


def make_batch(listed: list[list[int]], relevant: list[list[int]]) -> EvaluationBatch:
    rest = [sorted(set(row) - set(good)) for row, good in zip(listed, relevant, strict=True)]
    rows = torch.arange(len(listed))
    nothing = ragged([[]] * len(listed))
    return EvaluationBatch({}, rows, ragged(relevant), nothing, ragged(rest), listed=ragged(listed))


def evaluated(scores: list[list[float]], batch: EvaluationBatch, longest: int) -> dict[str, float]:
    evaluation = Evaluation([1, 10], labelled=True, longest_list=longest)
    evaluation.update(torch.tensor(scores), batch)
    return evaluation.compute()


def test_two_lists_by_hand() -> None:
    # list 1 in its order of scores: 5 (wrong), 9 (right), 2 (right); list 2 has one wrong and one right candidate
    batch = make_batch([[2, 5, 9], [0, 9]], [[2, 9], [0]])
    found = evaluated([[0.1, 0.9, 0.5], [0.7, 0.2, -math.inf]], batch, longest=3)
    assert found["map"] == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1) / 2)
    assert found["mrr"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["precision@1"] == pytest.approx((0 + 1) / 2)
    first = (1 / math.log2(3) + 1 / math.log2(4)) / (1 + 1 / math.log2(3))
    assert found["ndcg@10"] == pytest.approx((first + 1) / 2)
    assert found["recall@1"] == pytest.approx((0 + 1) / 2)
    assert found["hit_rate@10"] == found["recall@10"] == 1.0
    assert found["lists_without_positive"] == 0
    assert not [name for name in found if name.startswith("seen_kept/")]


def test_a_list_without_a_positive_is_counted_and_not_averaged() -> None:
    batch = make_batch([[2, 5], [1, 7], [3]], [[5], [], []])
    found = evaluated([[0.1, 0.9], [0.7, 0.2], [0.5, math.nan]], batch, longest=2)
    assert found["lists_without_positive"] == 2
    assert found["map"] == found["mrr"] == found["ndcg@10"] == found["precision@1"] == 1.0


def test_a_single_candidate_positives_only_and_ties() -> None:
    single = evaluated([[0.3]], make_batch([[4]], [[4]]), longest=1)
    assert single["map"] == single["mrr"] == single["ndcg@10"] == single["precision@1"] == 1.0
    assert math.isnan(single["query_auroc"])  # there is nothing to stand above
    full = evaluated([[0.3, 0.3, 0.1]], make_batch([[1, 2, 3]], [[1, 2, 3]]), longest=3)
    assert full["map"] == full["ndcg@10"] == 1.0
    tied = evaluated([[0.5, 0.5, 0.5]], make_batch([[1, 2, 3]], [[2]]), longest=3)
    assert tied["map"] == tied["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert tied["precision@1"] == pytest.approx(1 / 3)
    assert tied["query_auroc"] == 0.5


def test_a_score_that_is_no_number_is_refused_inside_a_list_only() -> None:
    batch = make_batch([[1, 2], [3]], [[1], [3]])
    evaluated([[0.5, 0.1], [0.5, math.nan]], batch, longest=2)
    with pytest.raises(ValueError, match="query 0 of the batch and candidate 1"):
        evaluated([[0.5, math.nan], [0.5, 0.0]], batch, longest=2)


def test_the_numbers_do_not_depend_on_the_batches() -> None:
    generator = torch.Generator().manual_seed(3)
    whole = Evaluation([1, 5, 10], labelled=True, longest_list=6)
    parts = Evaluation([1, 5, 10], labelled=True, longest_list=6)
    lists = [sorted(torch.randperm(30, generator=generator)[: 1 + row % 6].tolist()) for row in range(23)]
    relevant = [row[: number % 3] for number, row in enumerate(lists)]
    scores = torch.randn(23, 6, generator=generator)
    whole.update(scores, make_batch(lists, relevant))
    for start in range(0, 23, 5):
        part = slice(start, start + 5)
        parts.update(scores[part], make_batch(lists[part], relevant[part]))
    assert whole.compute() == pytest.approx(parts.compute(), nan_ok=True)


# -- scores -----------------------------------------------------------------------------------------------------------


class Distance(Scorer):
    """A scorer that has no pairs of its own."""

    def forward(self, query: Tensor, candidate: Tensor) -> Tensor:
        return -torch.cdist(query, candidate)


@pytest.mark.parametrize(
    "scorer", [Dot(20.0), MLPScorer(8, 8), MultiHeadDot(2, "max"), Distance()], ids=lambda s: type(s).__name__
)
def test_only_listed_pairs_are_scored_and_as_in_the_whole_matrix(scorer: Scorer) -> None:
    generator = torch.Generator().manual_seed(0)
    query, corpus = torch.randn(8, 8, generator=generator), torch.randn(50, 8, generator=generator)
    lists = [sorted(torch.randperm(50, generator=generator)[:size].tolist()) for size in (1, 7, 3, 12, 2)]
    with torch.inference_mode():
        found, whole = score_lists(scorer, query, corpus, ragged(lists)), scorer(query, corpus)
    assert found.shape == (8, 12)
    for number, row in enumerate(lists):
        assert found[number, : len(row)].tolist() == pytest.approx(whole[number, row].tolist(), abs=1e-5)
        assert (found[number, len(row) :] == -torch.inf).all()


@pytest.mark.parametrize("scorer", [Dot(20.0), MLPScorer(32, 32)], ids=lambda s: type(s).__name__)
def test_equal_candidates_have_equal_scores(scorer: Scorer) -> None:
    query, one = torch.randn(8, 32), torch.randn(1, 32)
    for size in (2, 3, 5, 7, 11, 13):
        corpus = one.expand(size, -1).contiguous()
        with torch.inference_mode():
            found = score_lists(scorer, query, corpus, ragged([list(range(size))] * 8))
        assert (found == found[:, :1]).all()


def test_an_empty_batch_has_no_scores() -> None:
    assert score_lists(Dot(), torch.zeros(0, 4), torch.randn(5, 4), ragged([])).shape == (0, 0)


# -- data -------------------------------------------------------------------------------------------------------------


def test_each_query_has_its_own_rows_of_the_fold(tmp_path: Path) -> None:
    data = listed_data(tmp_path)
    rows = listed_frames()["interactions"]
    ids, pages = data.data.queries.to_series(0).to_list(), data.candidates.to_series(0).to_list()
    ranked = data.ranking(TEST).rows
    assert ranked is not None
    seen = set()
    for batch in data.evaluation_batches(TEST):
        assert batch.listed is not None
        assert batch.shown is not None
        for number, query in enumerate(batch.query_row.tolist()):
            own = rows.filter(pl.col("query") == ids[query])
            named = {pages[ranked[place]] for place in _row(batch.listed, number)}
            assert named == set(own["page"])
            liked = {pages[ranked[place]] for place in _row(batch.relevant, number)}
            assert liked == set(own.filter(pl.col("liked") == 1)["page"])
            assert named - liked == {pages[ranked[place]] for place in _row(batch.shown, number)}
            seen.add(ids[query])
    assert len(seen) == 24
    assert data.ranking(TEST).longest_list == max(
        rows.filter(pl.col("query").is_in(seen)).group_by("query").len()["len"]
    )


def test_only_listed_candidates_are_embedded(tmp_path: Path) -> None:
    data = listed_data(tmp_path)
    listed = torch.unique(data.data.interactions.candidate[data.data.interactions.rows(VALIDATION)])
    assert sum(len(part["text"].offsets) - 1 for part in data.corpus_batches(VALIDATION)) == len(listed)  # type: ignore[union-attr]  # Ragged


def test_processes_share_the_lists(tmp_path: Path) -> None:
    """24 lists, 25 processes: the last one has none, and still has the metrics that all processes add up."""
    whole, shared = listed_data(tmp_path), []
    for number in range(25):
        batches = list(_Share(whole, number, 25).evaluation_batches(TEST))
        shared += [row for batch in batches for row in batch.query_row.tolist()]
    assert sorted(shared) == sorted(row for batch in whole.evaluation_batches(TEST) for row in batch.query_row.tolist())
    [empty] = batches
    model, ranking = small_model(), whole.ranking(TEST)
    model.build(whole.schemas)
    assert empty.listed is not None
    scores = score_lists(
        Dot(), model.embed_rows(model.encode_query, empty.query), torch.randn(ranking.size, 16), empty.listed
    )
    evaluation = Evaluation.of(ranking, None, labelled=True)
    evaluation.update(scores, empty)
    assert set(evaluation.compute()) == {*evaluation.names}


def test_without_labels_it_is_refused_before_anything_is_encoded(tmp_path: Path) -> None:
    frames = listed_frames()
    unlabelled = Frames(
        **frames | {"interactions": frames["interactions"].select("query", "page")},
        query_id="query",
        candidate_id="page",
    )
    with pytest.raises(ValueError, match=r"evaluate: listed.*label.*evaluate: query"):
        listed_data(tmp_path, source=unlabelled).prepare()
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".npy"]
    listed_data(tmp_path, source=unlabelled, evaluate="query").prepare()  # a cache of other settings changes nothing
    with pytest.raises(ValueError, match=r"evaluate: listed.*label"):
        listed_data(tmp_path, source=unlabelled).evaluation_batches(TEST)


def test_lists_that_cannot_be_ordered_are_refused(tmp_path: Path) -> None:
    frames = listed_frames()
    timed = frames["interactions"].with_row_index("time")
    source = Frames(timed, frames["queries"], frames["candidates"], "query", "page", label="liked", time="time")
    with pytest.raises(ValueError, match=r"none of the \d+ test lists.*RandomQueries"):
        listed_data(tmp_path, source=source, split=LeaveLastN()).ranking(TEST)


def test_context_columns_make_several_lists_of_a_query(tmp_path: Path) -> None:
    """Rows of one query with equal values of its event columns are one list, with the features of its first row."""
    shown = [
        (f"u{user}", f"c{page}", f"at {hour}", page % 2)
        for user in range(20)
        for hour in range(3)
        for page in range(hour, hour + 4)
    ]
    interactions = pl.DataFrame(shown, schema=["user", "page", "hour", "liked"], orient="row")
    interactions = interactions.unique(["user", "page"], keep="first", maintain_order=True)
    data = listed_data(
        tmp_path,
        source=Frames(interactions, query_id="user", candidate_id="page", label="liked"),
        query=[Categorical(name="user"), HashedWords(name="hour", num_buckets=50)],
        candidate=[Categorical(name="page")],
        split=RandomQueries(test=0.5, validation=0.0),
    )
    [batch] = data.evaluation_batches(TEST)
    assert batch.row is not None
    assert batch.listed is not None
    assert len(batch.query_row) == 30  # of ten users, three hours each
    ids = data.data.queries.to_series(0).to_list()
    hours = interactions["hour"].to_list()
    for number, (query, row) in enumerate(zip(batch.query_row.tolist(), batch.row.tolist(), strict=True)):
        own = interactions.filter((pl.col("user") == ids[query]) & (pl.col("hour") == hours[row]))
        assert len(_row(batch.listed, number)) == len(own)
    [table] = [result.rows for result in measure_baselines(data) if result.name == "Popularity()"]
    assert per_query(table, data.data).columns[:2] == ["query_id", "candidate_id"]


def test_a_history_needs_no_setting(tmp_path: Path) -> None:
    frames = listed_frames()
    timed = frames["interactions"].with_row_index("time")
    source = Frames(timed, frames["queries"], frames["candidates"], "query", "page", label="liked", time="time")
    data = listed_data(
        tmp_path,
        source=source,
        query=[History(name="history", of="page")],
        candidate=[Categorical(name="page")],
        split=RandomQueries(test=0.4, validation=0.2),
    )
    assert all(batch.num_liked is not None and not batch.num_liked.any() for batch in data.evaluation_batches(TEST))


# -- a run ------------------------------------------------------------------------------------------------------------


class Own(TwoTower):
    """A model that scores the corpus in its own way."""

    def score(self, query: Features, corpus: Tensor) -> Tensor:
        return 2.0 * super().score(query, corpus)


@pytest.mark.parametrize(
    "model", [small_model(), small_model(scorer=MLP), Own(**dict(small_model().hparams))], ids=["dot", "mlp", "own"]
)
def test_a_run_agrees_with_ir_measures(tmp_path: Path, model: TwoTower) -> None:
    """The same numbers from the files in TREC's format; candidates of other texts, so that nothing ties."""
    frames = listed_frames()
    apart = frames["candidates"].with_columns(
        text=pl.format("w{} x{}", pl.int_range(pl.len()) % 20, pl.int_range(pl.len()))
    )
    source = Frames(
        **frames | {"candidates": apart}, query_id="query", candidate_id="page", label="liked", grade="grade"
    )
    data = listed_data(tmp_path, source=source)
    trainer = small_trainer(tmp_path, callbacks=[TrecFiles(str(tmp_path / "trec"))], max_epochs=1)
    trainer.fit(model, datamodule=data)
    [ours] = trainer.test(model, datamodule=data, verbose=False)
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "trec" / "qrels.trec")))
    run = list(ir_measures.read_trec_run(str(tmp_path / "trec" / "run.trec")))
    wanted = {
        AP: "map",
        RR: "mrr",
        nDCG @ 10: "ndcg@10",
        nDCG @ 5: "ndcg@5",
        P @ 1: "precision@1",
        P @ 5: "precision@5",
    }
    wanted |= {R @ 5: "recall@5", R @ 10: "recall@10", Success @ 5: "hit_rate@5", AP @ 5: "map@5"}
    theirs = ir_measures.calc_aggregate(wanted, qrels, run)
    assert {name: ours[f"test/{name}"] for name in wanted.values()} == pytest.approx(
        {name: theirs[measure] for measure, name in wanted.items()}, abs=1e-6
    )
    rows = listed_frames()["interactions"]
    assert len(run) == len(rows.filter(pl.col("query").is_in({line.query_id for line in run})))
    without = (
        rows.filter(pl.col("query").is_in({line.query_id for line in run})).group_by("query").agg(pl.col("liked").max())
    )
    assert ours["test/lists_without_positive"] == (without["liked"] == 0).sum() > 0
    assert len({qrel.query_id for qrel in qrels}) == (without["liked"] == 1).sum()
    assert model.row_values is not None
    assert per_query(model.row_values, data.data)["map"].null_count() == ours["test/lists_without_positive"]


def test_validation_logs_what_a_checkpoint_monitors(tmp_path: Path) -> None:
    data, model = listed_data(tmp_path), small_model()
    trainer = small_trainer(tmp_path)
    trainer.fit(model, datamodule=data)
    logged = dict(trainer.callback_metrics)
    assert {
        "val/map",
        "val/mrr",
        "val/ndcg@10",
        "val/precision@1",
        "val/lists_without_positive",
        "val/alignment",
    } <= set(logged)
    [again] = trainer.validate(model, datamodule=data, verbose=False)
    assert again["val/map"] == pytest.approx(float(logged["val/map"]))


def test_tables_name_the_lists_that_are_not_averaged(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"map": 0.5, "mrr": 0.5, "precision@1": 0.25, "lists_without_positive": 7.0}
    show_results({f"test/{name}": value for name, value in metrics.items()}, {})
    show_comparison({"BM25": metrics})
    show_best({f"val/{name}": value for name, value in metrics.items()}, "best")
    shown = capsys.readouterr().out
    assert shown.count("lists without a positive, which are not averaged: 7") == 3
    assert "7.0000" not in shown
    assert "precision" in shown
    show_comparison({"BM25": metrics | {"lists_without_positive": 0.0}})
    assert "without" not in capsys.readouterr().out


def test_the_baselines_rank_the_same_lists(tmp_path: Path) -> None:
    data = listed_data(tmp_path, slice_by=["text"])
    found = {result.name.partition("(")[0]: result.metrics for result in measure_baselines(data)}
    assert {"Popularity", "BM25", "LabelMeans"} <= set(found)
    interactions, popularity = data.data.interactions, data.popularity
    precisions = []
    for lists in data.evaluation_batches(TEST):
        assert lists.listed is not None
        rows = data.ranking(TEST).rows
        assert rows is not None
        for number in range(len(lists.query_row)):
            listed, liked = _row(lists.listed, number), set(_row(lists.relevant, number))
            if liked:
                counts = [int(popularity[rows[place]]) for place in listed]
                best = [place for place, count in zip(listed, counts, strict=True) if count == max(counts)]
                precisions.append(sum(place in liked for place in best) / len(best))
    assert found["Popularity"]["precision@1"] == pytest.approx(sum(precisions) / len(precisions))
    assert len({metrics["lists_without_positive"] for metrics in found.values()}) == 1
    assert len(interactions.rows(TEST)) > 0


def test_a_fusion_ranks_within_the_list(tmp_path: Path) -> None:
    data, model = listed_data(tmp_path), small_model()
    fusion = HybridTest(weight=1e6)  # BM25 alone decides, where it knows a word
    small_trainer(tmp_path, callbacks=[fusion]).test(model, datamodule=data, verbose=False)
    assert 0 < fusion.metrics["map"] <= 1
    assert fusion.metrics["lists_without_positive"] > 0


def test_a_test_of_lists_is_not_compared_with_another_protocol() -> None:
    lists = pl.DataFrame({"query_id": ["a"], "map": [1.0], "mrr": [0.5]})
    with pytest.raises(ValueError, match=r"A was evaluated by list, B by query"):
        pair_rows(lists, lists.drop("map"), ("A", "B"))
    assert pair_rows(lists, lists, ("A", "B")).metrics == ["map", "mrr"]


def test_slices_and_intervals_need_no_description_of_given_lists() -> None:
    evaluation = DetailedEvaluation([1, 10], True, torch.tensor([5, 0, 1]), longest_list=2)
    evaluation.update(torch.tensor([[0.5, 0.1]]), make_batch([[0, 1]], [[0]])._replace(num_liked=torch.tensor([3])))
    found = evaluation.compute()
    assert found["head/mrr"] == 1.0
    assert not [name for name in found if name.startswith(("coverage", "gini", "popularity"))]
    assert "map" in evaluation.by_row().names


class _Share(RetrievalDataModule):
    """The share of one process."""

    def __init__(self, whole: RetrievalDataModule, number: int, processes: int) -> None:
        self.__dict__.update(whole.__dict__)
        self._place = number, processes

    @property
    def share(self) -> tuple[int, int]:
        return self._place


def _row(table: Ragged, number: int) -> list[int]:
    values: Any = table.values[table.offsets[number] : table.offsets[number + 1]].tolist()
    return list(map(int, values))
