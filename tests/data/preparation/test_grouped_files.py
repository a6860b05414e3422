"""Groupings in the cache: what a fit maps equals what it would group in memory, and follows every setting."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from helpers.paths import ROOT, TESTS
from helpers.small import small_data

from dssm_lightning.data import grouped_events
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.interactions import TEST, TRAIN
from dssm_lightning.data.negatives import Uniform
from dssm_lightning.data.preparation import cache
from dssm_lightning.data.sources import Frames, Synthetic
from dssm_lightning.data.splits import ByTime, PerQuery
from dssm_lightning.features import Categorical, HashedWords, History, LikedBy
from dssm_lightning.utils import memory_mapped
from dssm_lightning.utils.ragged import Prefixes, Ragged

TEXT = HashedWords(name="text", num_buckets=300)
ITEM = Categorical(name="candidate_id")
SEEN = History(name="seen", of="candidate_id", order="time", age="seconds")
SHOWN = History(name="shown", of="candidate_id", events="shown")
ASKED = LikedBy(name="asked", of="text")


def events(**columns: pl.Expr) -> dict[str, Any]:
    raw = Synthetic(num_queries=60, num_candidates=40, labels=True).tables()
    frame = raw.interactions.with_columns(time=pl.col("time") // 5000, event=pl.int_range(pl.len()) % 3, **columns)
    return {"interactions": frame, "queries": raw.queries, "candidates": raw.candidates}


CASES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "plain": ({}, {"all#rows", "all#offsets", "all#candidates"}),
    "labelled": (
        {"source": Synthetic(60, 40, labels=True), "query": [TEXT, SHOWN]},
        {*(f"{name}#{part}" for name in ("all", "liked") for part in ("rows", "offsets")), "liked#candidates"}
        | {"shown#candidates", "shown#offsets"},
    ),
    "times": (
        {"source": Frames(**events(), time="time"), "split": ByTime(), "query": [TEXT, SEEN]},
        {f"all#{part}" for part in ("rows", "offsets", "candidates", "before", "times")},
    ),
    "several objectives": (
        {"source": Frames(**events()), "objectives": {"click": "event == 1", "buy": "event == 2"}},
        {*(f"{name}#{part}" for name in ("all", "liked") for part in ("rows", "offsets")), "liked#candidates"},
    ),
    "liked by": (
        {"candidate": [ITEM, ASKED]},
        {*(f"all#{part}" for part in ("rows", "offsets", "candidates")), "by-candidate#rows", "by-candidate#offsets"},
    ),
}


def module(folder: Path, case: str, **changes: Any) -> RetrievalDataModule:
    return small_data(folder, **{**CASES[case][0], "negatives": Uniform(20), **changes})


def flat(value: Any) -> list[Any]:
    """Everything that a batch holds, as plain lists."""
    if isinstance(value, dict):
        return [[name, *flat(each)] for name, each in value.items()]
    if isinstance(value, Ragged | Prefixes) or (isinstance(value, tuple) and hasattr(value, "_fields")):
        return [flat(each) for each in value]
    return [str(value.dtype), value.tolist()] if isinstance(value, torch.Tensor) else [value]


def everything(data: RetrievalDataModule) -> list[Any]:
    """Two epochs of training batches, and the test."""
    loader = data.train_dataloader()
    return [flat(batch) for _ in range(2) for batch in loader] + [flat(batch) for batch in data.test_dataloader()]


@pytest.mark.parametrize("case", CASES)
def test_the_cache_holds_what_a_fit_of_these_features_reads(tmp_path: Path, case: str) -> None:
    data = module(tmp_path, case)
    files = {path.name for path in data.prepare().glob("grouped.*")}
    assert files == {f"grouped.{name}.npy" for name in CASES[case][1]}
    assert data.data.groupings.keys() == CASES[case][1]


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("liked_only", [False, True])
@pytest.mark.parametrize("batch_by", ["row", "query"])
@pytest.mark.parametrize("case", CASES)
def test_batches_equal_those_of_an_older_cache_and_nothing_is_grouped_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, batch_by: str, liked_only: bool, blocks: bool
) -> None:
    """The older cache was made without the files, in memory; the newer one in blocks as well."""
    older, newer = (module(tmp_path / name, case, batch_by=batch_by) for name in ("older", "newer"))
    for data in (older, newer):
        data.train_on_liked_rows_only(liked_only)
    with monkeypatch.context() as patch:
        patch.setattr(cache, "save_groupings", lambda *arguments: None)
        assert not list(older.prepare().glob("grouped.*"))
    expected = everything(older)
    with monkeypatch.context() as patch:
        if blocks:
            patch.setattr(memory_mapped, "BLOCK", 37)
        newer.prepare()

    def refused(*_: Any) -> None:
        raise AssertionError("the cache holds this grouping")

    monkeypatch.setattr(grouped_events, "group_events", refused)
    monkeypatch.setattr(grouped_events, "rows_by_candidate", refused)
    assert everything(newer) == expected


@pytest.mark.parametrize(
    ("of", "to"),
    [
        ({}, {"split": PerQuery(test=0.2, validation=0.3)}),
        ({}, {"source": Frames(**events(label=pl.col("label")), label="label")}),
        ({}, {"source": Frames(**events(), time="time")}),
        ({}, {"objectives": {"click": "event == 1"}}),
        ({"objectives": {"click": "event == 1"}}, {"objectives": {"click": "event == 2"}}),
        ({"query": [TEXT, SEEN]}, {"query": [TEXT, History(name="seen", of="candidate_id")]}),
        ({"query": [TEXT, SEEN]}, {"query": [TEXT, History(name="seen", of="candidate_id", events="shown")]}),
        ({}, {"candidate": [ITEM, TEXT, ASKED]}),
    ],
    ids=["split", "label", "time", "objectives", "rule", "order", "events", "liked by"],
)
def test_what_changes_a_grouping_changes_the_cache(tmp_path: Path, of: dict[str, Any], to: dict[str, Any]) -> None:
    base = {"source": Frames(**events())}
    a, b = (small_data(tmp_path, **{**base, **changes}).recipe for changes in (of, {**of, **to}))
    a_name, b_name = (recipe.fingerprint(cache.Schemas(recipe.query, recipe.candidate)) for recipe in (a, b))
    assert a_name != b_name


def test_groupings_of_other_interactions_are_not_read(tmp_path: Path) -> None:
    """Rows that a program moves to another fold are grouped anew."""
    data = module(tmp_path, "plain").data
    moved = data.interactions.fold.clone()
    moved[data.interactions.rows(TRAIN)[:50]] = TEST
    changed = data._replace(interactions=data.interactions._replace(fold=moved))
    assert data.groupings
    assert not changed.groupings
    assert data._replace(objectives=("a",)).groupings


def test_two_histories_read_one_grouping(tmp_path: Path) -> None:
    again = History(name="again", of="candidate_id", order="time", max_length=3)
    data = module(tmp_path, "times", query=[TEXT, SEEN, again])
    seen, other = (data.assembler.histories[name].timeline for name in ("seen", "again"))
    assert seen is other is data.assembler.likes


def test_a_history_of_labels_that_do_not_exist_is_refused_after_the_cache_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'shown': events 'shown' needs labels"):
        module(tmp_path, "plain", query=[TEXT, SHOWN]).assemble()
    assert not any("shown" in path.name for path in tmp_path.rglob("grouped.*"))


READ = """
import hashlib, sys
from pathlib import Path
from test_grouped_files import everything, module

data = module(Path(sys.argv[1]), "times")
print(hashlib.sha256(repr(everything(data)).encode()).hexdigest(), sorted(data.data.groupings))
"""


@pytest.mark.slow
def test_several_processes_read_the_same(tmp_path: Path) -> None:
    module(tmp_path, "times").prepare()
    environment = {"PYTHONPATH": f"{Path(__file__).parent}:{TESTS}:{ROOT}", "PATH": "/usr/bin:/bin"}
    command = ["timeout", "-k", "5", "100", sys.executable, "-c", READ, str(tmp_path)]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=110) for process in started]
    assert outputs[0][0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert all(name in outputs[0][0] for name in CASES["times"][1])
