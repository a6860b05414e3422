"""Ranks against a naive loop; invariances; bad input."""

from __future__ import annotations

import pytest
import torch
from helpers.lists import ragged
from torch import Tensor

from dssm_lightning.evaluation.metrics import Ranks, rank, rank_both, ranks, score_counts


def random_case(seed: int, levels: int | None) -> tuple[Tensor, list[list[int]], list[list[int]]]:
    generator = torch.Generator().manual_seed(seed)
    num_queries, num_candidates = 9, 23
    scores = torch.randn(num_queries, num_candidates, generator=generator)
    if levels is not None:
        scores = torch.randint(levels, scores.shape, generator=generator).float()
    relevant, seen = [], []
    for row in range(num_queries):
        order = torch.randperm(num_candidates, generator=generator).tolist()
        cut = (row % 4) * (row % 5)  # some queries have none, some many
        relevant.append(order[:cut])
        seen.append(order[cut : cut + row])
    return scores, relevant, seen


def naive(scores: Tensor, relevant: list[list[int]], exclude: list[list[int]]) -> tuple[list[int], list[int]]:
    above, ties = [], []
    for row, candidates in enumerate(relevant):
        eligible = [j for j in range(scores.shape[1]) if j not in exclude[row]]
        for candidate in candidates:
            others = [float(scores[row, j]) for j in eligible if j != candidate]
            above.append(sum(other > float(scores[row, candidate]) for other in others))
            ties.append(sum(other == float(scores[row, candidate]) for other in others))
    return above, ties


@pytest.mark.parametrize("levels", [None, 1, 4])
@pytest.mark.parametrize(("search_from", "chunk"), [(32, 1 << 19), (0, 1 << 19), (3, 7), (32, 5)])
def test_places_equal_a_naive_loop(
    monkeypatch: pytest.MonkeyPatch, levels: int | None, search_from: int, chunk: int
) -> None:
    monkeypatch.setattr(score_counts, "SEARCH_FROM", search_from)
    monkeypatch.setattr(score_counts, "COMPARE_CHUNK", chunk)
    monkeypatch.setattr(score_counts, "SEARCH_CHUNK", chunk)
    monkeypatch.setattr(ranks, "MARK_CHUNK", chunk)
    scores, relevant, seen = random_case(0, levels)
    masked, kept = rank_both(scores, ragged(relevant), ragged(seen))
    assert masked is not None
    for found, exclude in ((masked, seen), (kept, [[]] * len(seen))):
        above, ties = naive(scores, relevant, exclude)
        assert found.above.tolist() == above
        assert found.ties.tolist() == ties
        assert found.eligible.tolist() == [scores.shape[1] - len(row) for row in exclude]
        assert found.num_relevant.tolist() == [len(row) for row in relevant]


def test_one_relevant_candidate_each_takes_the_same_places() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0, 2.0], [0.0, 0.0, 5.0, -1.0]])
    found = rank(scores, ragged([[2], [3]]), ragged([[0], [1]]))
    # query 0 ranks {1, 2, 3}: none above candidate 2, 3 ties; query 1 ranks {0, 2, 3}: both others above candidate 3
    assert (found.above.tolist(), found.ties.tolist(), found.eligible.tolist()) == ([0, 2], [1, 0], [3, 3])


def test_excluded_candidates_never_count() -> None:
    scores, relevant, seen = random_case(1, None)
    before = rank(scores, ragged(relevant), ragged(seen))
    table = ragged(seen)
    scores[table.rows, table.values] = 1e9
    after = rank(scores, ragged(relevant), table)
    assert torch.equal(before.above, after.above)
    assert torch.equal(before.ties, after.ties)


def test_only_the_order_of_scores_counts() -> None:
    scores, relevant, seen = random_case(2, 4)
    before, after = (rank(values, ragged(relevant), ragged(seen)) for values in (scores, scores.exp() * 7 - 3))
    assert torch.equal(before.above, after.above)
    assert torch.equal(before.ties, after.ties)


def test_no_query_is_no_place() -> None:
    found = rank(torch.zeros(0, 5), ragged([]), ragged([]))
    assert isinstance(found, Ranks)
    assert [len(found.above), len(found.ties), len(found.eligible)] == [0, 0, 0]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_score_that_is_no_number_is_refused(bad: float) -> None:
    scores = torch.zeros(3, 4)
    scores[1, 2] = bad
    with pytest.raises(ValueError, match=rf"1 of 12 scores .* query 1 .* candidate 2 \({bad}\)"):
        rank(scores, ragged([[0], [0], [0]]))


@pytest.mark.parametrize(("relevant", "exclude"), [([[0, 0]], [[1]]), ([[0]], [[1, 1]]), ([[0]], [[1, 0]])])
def test_relevant_and_excluded_candidates_must_be_distinct(relevant: list[list[int]], exclude: list[list[int]]) -> None:
    with pytest.raises(ValueError, match=r"queries 0 … 0 .* not distinct"):
        rank(torch.zeros(1, 4), ragged(relevant), ragged(exclude))
