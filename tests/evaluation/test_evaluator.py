"""Names and protocols by hand, labelled pairs against scikit-learn, precision, empty processes, cut-offs."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from helpers.lists import ragged
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.batching import evaluation_batches
from dssm_lightning.evaluation.evaluator import DetailedEvaluation, Evaluation, resolve_ks


def make_batch(relevant: list[list[int]], seen: list[list[int]], shown: list[list[int]] | None) -> EvaluationBatch:
    return EvaluationBatch(
        {}, torch.arange(len(relevant)), ragged(relevant), ragged(seen), None if shown is None else ragged(shown)
    )


def random_batches(count: int) -> list[tuple[Tensor, EvaluationBatch]]:
    generator = torch.Generator().manual_seed(11)
    batches: list[tuple[Tensor, EvaluationBatch]] = []
    for size in [(i % 4) + 1 for i in range(count)]:
        orders = [torch.randperm(30, generator=generator).tolist() for _ in range(size)]
        batch = make_batch([o[:3] for o in orders], [o[3:9] for o in orders], [o[9:14] for o in orders])
        before = sum(len(scores) for scores, _ in batches)
        batch = batch._replace(query_row=torch.arange(before, before + size))
        batches.append((torch.randn(size, 30, generator=generator) * 100, batch))
    return batches


POPULARITY = torch.arange(30) ** 2 % 17
"""Training positives of 30 candidates, two of them without any."""


def evaluate(evaluation: Evaluation, batches: list[tuple[Tensor, EvaluationBatch]]) -> dict[str, float]:
    for scores, batch in batches:
        evaluation.update(scores, batch)
    return evaluation.compute()


def test_both_protocols_by_hand() -> None:
    evaluation = Evaluation([1, 2], labelled=True)
    # order of candidates: 3, 0, 1, 2; seen: 3; relevant: 1; shown and not liked: 2
    evaluation.update(torch.tensor([[3.0, 2.0, 1.0, 4.0]]), make_batch([[1]], [[3]], [[2]]))
    discount = 1 / math.log2(3)
    masked = {"mrr": 1 / 2, "query_auroc": 1 / 2}
    masked |= dict.fromkeys(("hit_rate@1", "recall@1", "precision@1", "ndcg@1", "map@1"), 0.0)
    masked |= {"hit_rate@2": 1.0, "recall@2": 1.0, "precision@2": 0.5, "ndcg@2": discount, "map@2": 0.5}
    kept = dict.fromkeys(masked, 0.0) | {"mrr": 1 / 3, "query_auroc": 1 / 3}
    expected = masked | {f"seen_kept/{name}": value for name, value in kept.items()} | {"auroc": 1.0}
    assert evaluation.compute() == pytest.approx(expected)


def test_without_labels_there_is_no_auroc() -> None:
    evaluation = Evaluation([1], labelled=False)
    evaluation.update(torch.rand(1, 4), make_batch([[1]], [[]], None))
    assert "auroc" not in evaluation.compute()


def test_auroc_is_over_observed_pairs_of_all_queries() -> None:
    batches = random_batches(6)
    found = evaluate(Evaluation([1], labelled=True), batches)["auroc"]
    scores, labels = [], []
    for values, batch in batches:
        for row in range(len(values)):
            for table, label in ((batch.relevant, 1), (batch.shown, 0)):
                assert table is not None
                chosen = table.values[table.offsets[row] : table.offsets[row + 1]]
                scores += values[row, chosen].tolist()
                labels += [label] * len(chosen)
    assert found == pytest.approx(roc_auc_score(np.array(labels), np.array(scores)), abs=1e-6)


def test_metrics_of_one_batch_size_are_those_of_another() -> None:
    # equal first batches must not merge two metrics forever (torchmetrics' compute groups)
    first = (torch.tensor([[2.0, 1.0, 0.0]]), make_batch([[0]], [[]], [[1]]))
    second = (torch.tensor([[0.0, 1.0, 2.0]]), make_batch([[0, 1]], [[]], [[2]]))
    both = (torch.cat([first[0], second[0]]), make_batch([[0], [0, 1]], [[], []], [[1], [2]]))
    one, other = (evaluate(Evaluation([1, 2], labelled=True), rows) for rows in ([first, second], [both]))
    assert one == pytest.approx(other)
    assert one["recall@2"] == pytest.approx((1 + 1 / 2) / 2)
    assert one["hit_rate@2"] == pytest.approx(1.0)


def test_reset_forgets() -> None:
    evaluation, batches = Evaluation([5], labelled=True), random_batches(3)
    fresh = evaluate(evaluation, batches)
    evaluation.reset()
    assert evaluate(evaluation, batches) == fresh


def test_states_survive_inference_mode() -> None:
    evaluation, batches = Evaluation([5], labelled=True), random_batches(2)
    with torch.inference_mode():
        evaluate(evaluation, batches)
        evaluation.reset()
    assert evaluate(evaluation, batches) == evaluate(Evaluation([5], labelled=True), batches)


@pytest.mark.parametrize("cast", [lambda m: m.to(torch.bfloat16), nn.Module.half, nn.Module.float])
def test_a_module_in_half_precision_still_counts_exactly(cast: object) -> None:
    assert callable(cast)
    holder = nn.ModuleDict({"evaluation": Evaluation([5], labelled=True), "layer": nn.Linear(2, 2)})
    batches = random_batches(6)
    evaluation = holder["evaluation"]
    assert isinstance(evaluation, Evaluation)
    evaluation.update(*batches[0])
    cast(holder)
    expected = evaluate(Evaluation([5], labelled=True), batches)
    assert evaluate(evaluation, batches[1:]) == pytest.approx(expected, abs=1e-12)


def test_an_evaluation_is_not_saved_with_the_model() -> None:
    assert Evaluation([5], labelled=True).state_dict() == {}


def test_without_a_query_all_metrics_are_nan_without_a_warning() -> None:
    assert all(math.isnan(value) for value in Evaluation([5], labelled=True).compute().values())


def test_details_change_no_mean() -> None:
    batches = random_batches(4)
    plain, detailed = Evaluation([5, 10], labelled=True), DetailedEvaluation([5, 10], True, POPULARITY)
    expected, found = evaluate(plain, batches), evaluate(detailed, batches)
    assert {name: found[name] for name in expected} == expected
    assert detailed.state_dict() == {}


def test_rows_average_to_the_means_and_are_sorted() -> None:
    evaluation, batches = DetailedEvaluation([1, 10], True, POPULARITY), random_batches(5)
    means = evaluate(evaluation, batches[::-1])
    rows = evaluation.by_row()
    assert rows.query.tolist() == list(range(11))
    expected_names = {
        "ndcg@10",
        "precision@10",
        "seen_kept/ndcg@10",
        "mrr",
        "seen_kept/query_auroc",
        "head/recall@10",
        "tail/mrr",
    }
    assert expected_names <= set(rows.names)
    for name, value in zip(rows.names, rows.values.double().nanmean(0).tolist(), strict=True):
        if name not in means:  # a slice without a query
            assert math.isnan(value)
            continue
        assert value == pytest.approx(means[name], abs=1e-6)
    evaluation.reset()
    assert len(evaluation.by_row().values) == 0


def test_a_row_that_does_not_count_is_nan() -> None:
    evaluation = DetailedEvaluation([1], True, torch.ones(3))
    batch = make_batch([[], [0], [0, 1, 2]], [[], [], []], [[1], [], []])._replace(row=torch.tensor([7, 9, 4]))
    evaluation.update(torch.rand(3, 3), batch._replace(query_row=torch.tensor([5, 5, 2])))
    rows = evaluation.by_row()
    assert rows.event is not None
    assert (rows.query.tolist(), rows.event.tolist()) == ([2, 5, 5], [4, 7, 9])
    found = dict(zip(rows.names, rows.values.isnan().T.tolist(), strict=True))
    assert found["recall@1"] == [False, True, False]
    assert found["query_auroc"] == [True, True, False]  # nothing but relevant candidates: no pair


def test_default_cut_offs_fit_the_corpus() -> None:
    assert resolve_ks(None, 7425) == [1, 5, 10, 50, 100]
    assert resolve_ks(None, 60) == [1, 5, 10, 50]
    assert resolve_ks([20, 3, 20], 20) == [3, 20]


@pytest.mark.parametrize(
    ("ks", "message"),
    [
        ([10, 500], r"ks: k = 500 .* 60 candidates .*\[10, 500\]"),
        ([0], r"ks: k is 0.*\[0\]"),
        ([5, -1], r"ks: k is -1.*\[5, -1\]"),
    ],
)
def test_an_impossible_cut_off_is_refused(ks: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_ks(ks, 60)


def embeddings() -> Tensor:
    """Of the candidates, for the diversity of lists."""
    return torch.randn(len(POPULARITY), 6, generator=torch.Generator().manual_seed(5))


def _in_process(process: int, world_size: int, folder: Path) -> None:
    dist.init_process_group(
        "gloo", f"file://{folder}/store", rank=process, world_size=world_size, timeout=timedelta(seconds=60)
    )
    batches = random_batches(5)
    # the last process has no query, the others unequal numbers
    own = batches[:4] if process == 0 else batches[4:] if process == 1 else []
    evaluation = DetailedEvaluation([1, 5, 10], True, POPULARITY)
    assert evaluation.recommended is not None
    evaluation.recommended.embeddings = embeddings()
    torch.save((evaluate(evaluation, own), tuple(evaluation.by_row())), folder / f"{process}.pt")
    dist.barrier()  # no process ends while another still communicates
    dist.destroy_process_group()


@pytest.mark.slow
def test_processes_with_unequal_shards_equal_one_process(tmp_path: Path) -> None:
    mp.spawn(_in_process, args=(3, tmp_path), nprocs=3)
    evaluation = DetailedEvaluation([1, 5, 10], True, POPULARITY)
    assert evaluation.recommended is not None
    evaluation.recommended.embeddings = embeddings()
    expected, rows = evaluate(evaluation, random_batches(5)), evaluation.by_row()
    assert {"head/queries", "tail/mrr", "gini@5", "novelty@1", "serendipity@5", "diversity@10"} <= set(expected)
    for process in range(3):
        values, (names, query, event, by_row) = torch.load(tmp_path / f"{process}.pt", weights_only=True)
        assert values == pytest.approx(expected, abs=1e-12)
        assert (names, event) == (rows.names, None)
        assert torch.equal(query, rows.query)
        assert torch.equal(by_row.nan_to_num(-1), rows.values.nan_to_num(-1))


@pytest.mark.parametrize(
    ("num_candidates", "queries"), [(100, 1024), (16_384, 1024), (100_000, 167), (524_288, 32), (5_000_000, 32)]
)
def test_a_larger_corpus_is_scored_for_fewer_queries_at_a_time(num_candidates: int, queries: int) -> None:
    """64 MiB of scores; at least 32 queries, since a smaller matrix product is no faster."""
    assert evaluation_batches._query_batch_size(num_candidates) == queries
