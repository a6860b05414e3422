"""The numbers behind the drawings, counted by loops."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
import torch
from helpers.retrievers import shop

from dssm_lightning.data.interactions import TEST
from dssm_lightning.reports.html_report.embedding_map import Geometry, colour_column, measure_geometry
from dssm_lightning.reports.html_report.example_cases import choose_examples
from dssm_lightning.reports.html_report.ranked_sample import RankedSample, best_ranks, rank_sample
from dssm_lightning.reports.html_report.ranking_figures import popularity_bands, rank_histogram


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, RankedSample]:
    model, data = shop(tmp_path_factory.mktemp("shop"))
    model.eval()
    sample = rank_sample(model, data)
    assert sample is not None
    return model, data, sample


def test_the_sample_ranks_as_a_loop_does(opened: tuple[Any, Any, RankedSample]) -> None:
    model, data, sample = opened
    place = 0
    for batch in data.evaluation_batches(TEST):
        with torch.inference_mode():
            scores = model.score(batch.query, sample.corpus)
        for query in range(len(batch.query_row)):
            seen = set(batch.seen.values[batch.seen.offsets[query] : batch.seen.offsets[query + 1]].tolist())
            order = [c for c in scores[query].argsort(descending=True, stable=True).tolist() if c not in seen]
            relevant = batch.relevant.values[batch.relevant.offsets[query] : batch.relevant.offsets[query + 1]].tolist()
            own = sample.pair_query == place
            assert sample.pair_candidate[own].tolist() == relevant
            expected = [order.index(candidate) for candidate in relevant]
            assert sample.pair_rank[own].tolist() == pytest.approx(expected, abs=0.6)  # a tie counts half
            assert float(best_ranks(sample)[place]) == pytest.approx(min(expected), abs=0.6)
            place += 1
    assert place == len(sample.queries) == sample.total


def test_the_bands_of_popularity_count_every_pair(opened: tuple[Any, Any, RankedSample]) -> None:
    _, data, sample = opened
    bands = popularity_bands(sample, data.popularity)
    assert sum(band.pairs for band in bands) == len(sample.pair_rank)
    assert sum(band.hits for band in bands) == int((sample.pair_rank < 10).sum())
    for band in bands:
        low, _, high = band.label.partition("–")
        liked = data.popularity[sample.pair_candidate]
        assert band.pairs == int(((liked >= int(low)) & (liked <= int(high or low))).sum())
        assert 0 <= band.interval[0] <= band.rate <= band.interval[1] <= 1


def test_the_histogram_counts_each_query_once() -> None:
    ranks = torch.tensor([0.0, 0.0, 1.0, 9.0, 10.0, 49.5, 999.0, torch.inf])
    counts = dict(rank_histogram(ranks, 1000))
    assert counts == {"1": 2, "2": 1, "3–5": 0, "6–10": 1, "11–20": 1, "21–50": 1, "51–100": 0, "101–500": 0,
                      "501–1,000": 1}  # fmt: skip
    assert rank_histogram(torch.tensor([0.0, 1.0]), 2) == [("1", 1), ("2", 1)]


def test_the_examples_are_what_their_captions_say(opened: tuple[Any, Any, RankedSample]) -> None:
    sample = opened[2]
    chosen, ranks = choose_examples(sample), best_ranks(sample)
    assert all(ranks[number] == 0 for number in chosen["good"])
    worst = sorted(ranks.tolist(), reverse=True)[: max(4, len(ranks) // 10)]
    assert all(ranks[number] >= worst[-1] for number in chosen["bad"])
    assert chosen == choose_examples(sample)


def test_the_alarm(opened: tuple[Any, Any, RankedSample]) -> None:
    model, _, sample = opened
    assert not any(each.collapsed for each in measure_geometry(sample, model.direction_widths()))
    noise = torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
    cone = sample._replace(corpus=torch.ones(200, 16) + noise / 20, queries=noise)
    queries, candidates = measure_geometry(cone, (16, 16))
    assert candidates.collapsed
    assert not queries.collapsed
    line = sample._replace(corpus=noise[:, :1] * torch.ones(1, 16), queries=noise)
    assert measure_geometry(line, (16, 16))[1].collapsed, "one direction, both ways"


def test_two_dimensions_that_are_used_are_no_collapse() -> None:
    assert not Geometry("queries", rows=500, width=2, rank=1.9, cosine=0.0, uniformity=-1.4).collapsed
    assert not Geometry("queries", rows=2, width=64, rank=1.0, cosine=1.0, uniformity=0.0).collapsed


def test_the_colour_is_a_column_with_few_values() -> None:
    corpus = pl.DataFrame(
        {"id": [1, 2, 3, 4], "title": list("abcd"), "kind": ["x", "y", "x", "y"], "year": [1, 2, 3, 3]}
    )
    assert colour_column(corpus, None) == "kind"
    assert colour_column(corpus, "year") == "year"
    assert colour_column(corpus[["id", "title"]], None) is None
    with pytest.raises(ValueError, match=r"--colour_by.*'kin'.*did you mean 'kind'"):
        colour_column(corpus, "kin")
