"""scripts/bench.py: both sides of a comparison compute the same, and reports follow from the measurements."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from helpers.paths import ROOT
from torch import nn

from dssm_lightning.features import HashedTrigrams, HashedWords
from dssm_lightning.utils.ragged import Ragged

pytest_plugins = ["helpers.bench_fixtures"]

TLDR = ROOT / "configs" / "tldr.yaml"


INDEXES = {"num_candidates": 900, "num_queries": 4, "dim": 8, "bits_dim": 8, "k": 5, "repeats": 1}
INDEXES |= {"small": [(60, 8)], "filtered": 2500}


@pytest.fixture
def rivals(bench: ModuleType) -> ModuleType:
    return importlib.import_module("benchmarks.rivals")


@pytest.fixture
def report(bench: ModuleType) -> ModuleType:
    return importlib.import_module("benchmarks.report")


# -- the sides ---------------------------------------------------------------------------------------------------------


def test_both_find_the_same_trigrams(rivals: ModuleType) -> None:
    """The ids differ, but the trigrams of each text have the same counts."""
    texts = ["a cat sat", "abcabc abcabc", "the the other", "кот и кот"]
    theirs = rivals.trigram_vectorizer(norm=None, alternate_sign=False).transform(texts)
    ours = HashedTrigrams(name="text", num_buckets=1 << 20).encode(pl.Series(texts))
    for row in range(len(texts)):
        ids = ours.values[ours.offsets[row] : ours.offsets[row + 1]].numpy()
        counts = np.unique(ids, return_counts=True)[1]
        np.testing.assert_array_equal(np.sort(counts), np.sort(theirs[row].data))


def test_dense_bag_is_torchs_embedding_bag(rivals: ModuleType) -> None:
    ours = rivals.DenseBag(HashedWords(name="text", num_buckets=9), 4)
    theirs = nn.EmbeddingBag.from_pretrained(ours.table.weight.detach().clone(), freeze=False, include_last_offset=True)
    column = Ragged(torch.tensor([3, 3, 8, 0], dtype=torch.int32), torch.tensor([0, 3, 3, 4]))
    expected = theirs(column.values, column.offsets.int())
    torch.testing.assert_close(ours(column), expected)
    ours(column).square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(ours.table.weight.grad, theirs.weight.grad)


def test_the_rival_config_differs_in_tables_and_optimizer_only(rivals: ModuleType) -> None:
    ours = yaml.safe_load(TLDR.read_text(encoding="utf-8"))["model"]
    theirs = rivals.with_dense_tables(ours, fused=True)
    assert theirs["optimizer"] == {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.004, "fused": True}}
    for side, kinds in (("query_tower", ["DenseBag"] * 2), ("candidate_tower", ["DenseBag"] * 2 + ["Embedding"])):
        encoders = theirs[side]["init_args"].pop("encoders")
        assert [encoder["class_path"].rpartition(".")[2] for encoder in encoders.values()] == kinds
        mine = ours[side]["init_args"].pop("encoders")
        widths = [[encoder["init_args"]["output_dim"] for encoder in each.values()] for each in (mine, encoders)]
        assert widths[0] == widths[1]
    assert {**theirs, "optimizer": None} == {**ours, "optimizer": None}


# -- the benchmarks, in small: each asserts by itself that its sides agree ---------------------------------------------


@pytest.mark.parametrize(
    ("name", "sizes", "rows"),
    [
        ("hashing", {"num_lines": 300, "repeats": 1}, 3),
        ("text_table", {"batch_size": 16, "steps": 1, "repeats": 1}, 2),
        ("large_table", {"num_rows": 90, "fewer_rows": 9, "batch_size": 4, "steps": 4, "repeats": 1}, 3),
        ("batches", {"num_events": 800, "batch_size": 32, "num_batches": 2, "repeats": 1}, 1),
        ("pictures", {"num_pictures": 9, "batch_size": 4, "repeats": 1}, 4),
        ("own_baselines", {"events": 400, "items": 90, "repeats": 1}, 1),
        ("own_template", {"events": 400, "items": 90, "steps": 1, "repeats": 1}, 1),
        ("evaluation", {"num_events": 12, "num_candidates": 120, "dim": 8, "rival_events": 6, "repeats": 1}, 1),
        ("large_corpus", {"num_candidates": 500, "dim": 8, "num_events": 40, "repeats": 1}, 1),
        ("search", {"num_queries": 3, "num_candidates": 400, "dim": 8, "k": 5, "repeats": 1}, 2),
        ("indexes", INDEXES, 7),
        pytest.param(
            *("bundle", {"config": "configs/tldr.yaml", "num_queries": 3, "repeats": 1}, 5), marks=pytest.mark.slow
        ),
        ("deep_retrieval", {"epochs": 1, "repeats": 1, "num_ratings": 800, "batch_size": 64, "ks": (1, 100)}, 2),
        ("lightning_step", {"epochs": 1, "num_ratings": 800, "batch_size": 64}, 1),
        ("step_profile", {"num_ratings": 800, "batch_size": 300, "repeats": 1}, 5),
        ("startup", {"base": "json", "ours": "csv", "program": "json.tool", "repeats": 1}, 2),
    ],
)
def test_benchmarks_measure_a_ratio(bench: ModuleType, name: str, sizes: dict[str, Any], rows: int) -> None:
    section = bench.BENCHMARKS[name](**sizes)
    assert len(section.rows) == rows
    assert all(ratio > 0 for row in section.rows for ratio in row.ratios)
    assert not [row.what for row in section.rows if re.search(r"\d\.\d", row.what)], "no measured value is in a name"
    text = bench.markdown(name, bench.BENCHMARKS[name].__doc__, section)
    assert text.startswith(f"## {section.title} (`{name}`)\n")
    assert all(note in text for note in section.notes)


def test_big_batches_measure_time_and_memory(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.big_batches.peak_of", lambda size, chunked: (1.0 if chunked else size / 100, 7.0))
    section = bench.big_batches(batch_size=300, biggest=4096, repeats=1)
    assert [row.unit for row in section.rows] == ["s", "MiB"]
    assert section.rows[1].ratios == [3.0]
    [note] = section.notes
    assert re.search(r"4,096 rows.* 64 MiB.* 1 MiB.* 7 s", note)


@pytest.mark.slow
def test_a_big_batch_takes_little_memory(bench: ModuleType) -> None:
    """Without chunks, a step takes 3.7 GiB. Most of the peak here are chunks of 16 MiB that malloc does not return."""
    most, _ = importlib.import_module("benchmarks.big_batches").peak_of(16_384, True)
    assert 50 < most < 1536


def test_memory_stands_beside_what_must_be_held(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"peak": 300.0, "imports": 100.0, "weights": 50.0}
    monkeypatch.setattr("benchmarks.memory.measured", lambda command, folder: dict(found))
    monkeypatch.delenv("DSSM_DATA", raising=False)
    section = bench.memory(num_candidates=100, num_queries=4)
    assert [row.what.partition(",")[0] for row in section.rows] == ["fit", "evaluation"]
    assert section.rows[0].ratios == [0.5]
    assert section.notes[0].endswith("imports 100 MiB, weights 50 MiB.")
    assert "movielens-1m-history.yaml` was not measured" in section.notes[1]


@pytest.mark.slow
def test_an_evaluation_is_measured(bench: ModuleType, tmp_path: Path) -> None:
    """Two hashed tables of 100,001 × 64 floats are the weights; nothing is trained."""
    memory = importlib.import_module("benchmarks.memory")
    config = memory.evaluation_config(tmp_path, 3000, 8)
    found = memory.measured(["test", "--config", str(config)], tmp_path)
    assert abs(found["weights"] - 2 * 100_001 * 64 * 4 / 2**20) < 0.1
    assert (found["gradients"], found["optimizer state"]) == (0, 0)
    assert abs(found["a step or an evaluation"] - 3000 * (64 + 8) * 4 / 2**20) < 0.1
    assert found["peak"] > 0.9 * (found["imports"] + found["weights"])


def test_what_must_be_held_counts_each_storage_once(bench: ModuleType, tmp_path: Path) -> None:
    must = importlib.import_module("benchmarks.must_hold")
    base, file = torch.zeros(100), tmp_path / "mapped.bin"
    sparse = torch.sparse_coo_tensor(torch.tensor([[1, 3]]), torch.ones(2, 5), (9, 5), check_invariants=True)
    assert must.storage_bytes([base, base[:10], base.view(10, 10)]) == 400
    assert must.storage_bytes([sparse]) == 2 * 8 + 10 * 4
    file.write_bytes(bytes(4 * 5000))
    mapped = torch.from_file(str(file), shared=True, size=5000)
    assert [each is base for each in must.not_mapped(must.tensors_in({"a": [mapped, (base,)], "b": base}))] == [True]


@pytest.mark.parametrize("name", ["static_embedding", "recommenders"])
def test_a_peer_that_is_not_installed_is_named(
    bench: ModuleType, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}", encoding="utf-8")
    (tmp_path / "python").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setenv("DSSM_DATA", str(tmp_path))
    monkeypatch.setenv("BENCH_PEERS_PYTHON", str(tmp_path / "python"))
    skipped = importlib.import_module("benchmarks.report").SkippedError
    with pytest.raises(skipped, match=r"pip install 'dssm-lightning\[bench-peers\]'"):
        bench.BENCHMARKS[name]()


def test_sides_that_disagree_are_not_timed(
    bench: ModuleType, rivals: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rivals, "every_pair_metrics", lambda *args: {"mrr": 2.0})
    with pytest.raises(AssertionError, match="the sides compute the same mrr"):
        bench.evaluation(num_events=4, num_candidates=30, dim=4, rival_events=2, repeats=1)


# -- measuring and reporting -------------------------------------------------------------------------------------------


def test_sides_take_turns_and_the_first_turn_does_not_count(report: ModuleType) -> None:
    calls: list[str] = []
    ticks = iter(range(100))
    seconds = report.alternate([lambda: calls.append("a"), lambda: calls.append("b")], 2, clock=lambda: next(ticks))
    assert calls == ["a", "b"] * 3
    assert seconds == [[1, 1], [1, 1]]


def test_a_ratio_is_how_many_times_better_ours_is(report: ModuleType) -> None:
    assert report.Row("speed", "steps/s", [30.0, 20.0], [10.0, 10.0]).ratios == [3.0, 2.0]
    assert report.Row("start", "s of CPU", [4.0], [2.0]).ratios == [0.5]
    assert report.Row("answers", "ms", [2.0], [6.0]).ratios == [3.0]
    assert report.Row("memory", "MiB", [100.0], [250.0]).ratios == [2.5]


def test_the_benchmark_for_gpus_runs_anywhere(bench: ModuleType) -> None:
    section = bench.gpu("cpu", batch_size=64, chunk_size=16, repeats=1)
    assert [row.unit for row in section.rows] == ["rows/s"]
    assert [note for note in section.notes if "cpu" in note]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["hashng"],
            r"hashng.*hashing, text_table, large_table",
        ),
        (["hashing", "--write", "--compare"], "--write.*--compare"),
        (["hashing", "--compare", "--threads", "2"], "--threads is 2.*hashing"),
        (["hashing", "--num-candidates", "9"], "--num-candidates"),
        (["--threads", "0"], "--threads is 0"),
        (["hashing", "--accelerator", "gpu"], "--accelerator gpu"),
        (["--accelerator", "gpu"], "--accelerator gpu.*GPU"),
    ],
)
def test_arguments_that_make_no_sense(
    bench: ModuleType,
    args: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        bench.main(args)
    assert re.search(message, capsys.readouterr().err)
