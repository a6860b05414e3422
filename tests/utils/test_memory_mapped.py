"""Data larger than memory: blocks of files give the same results as arrays in memory."""

from __future__ import annotations

import errno
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from helpers.case_names import named
from helpers.small import small_data
from polars.testing import assert_frame_equal

from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.grouped_events import Timeline
from dssm_lightning.data.interactions import group
from dssm_lightning.data.negatives import FromColumn
from dssm_lightning.data.preparation import cache
from dssm_lightning.data.sources import Files, Frames, Synthetic
from dssm_lightning.data.splits import ByTime, LeaveLastN, PerQuery, RandomQueries, RandomRows, Split
from dssm_lightning.features import Categorical, CategoricalList, HashedTrigrams, History, Image, Numeric, Vector
from dssm_lightning.utils import memory_mapped
from dssm_lightning.utils.memory_mapped import Spool, blocks, gathered, ranges, spooled, where
from dssm_lightning.utils.ragged import Ragged

GENERATOR = torch.Generator().manual_seed(0)


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all data larger than a block."""
    monkeypatch.setattr(memory_mapped, "BLOCK", 37)
    monkeypatch.setattr(memory_mapped, "LARGE_FILE", 0)
    monkeypatch.setattr(cache, "ENCODED_AT_ONCE", 23)


def test_a_spool_that_cannot_be_created_raises_one_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Spool(tmp_path / "nowhere")  # pytest would also report an error of __del__


def test_a_spool_maps_the_written_rows() -> None:
    parts = [np.arange(6).reshape(3, 2), np.arange(0).reshape(0, 2), np.arange(6, 10).reshape(2, 2)[:, ::-1]]
    found = spooled(parts)
    assert isinstance(found, np.memmap)
    assert found.tolist() == [[0, 1], [2, 3], [4, 5], [7, 6], [9, 8]]
    found[0, 0] = 9  # writing is possible and changes no file
    empty = Spool()
    empty.append(np.zeros((0, 3), np.float32))
    assert empty.mapped().shape == (0, 3)


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> Any:
        return open("/dev/full", "wb")

    monkeypatch.setattr(memory_mapped, "TemporaryFile", full)
    with pytest.raises(OSError, match=r"No space left on device: .* 0 MiB.*TMPDIR") as caught:
        Spool(tmp_path).append(np.zeros(100))
    assert caught.value.errno == errno.ENOSPC
    assert str(tmp_path) in str(caught.value)


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("total", [0, 1, 36, 37, 38, 500])
def test_blocks_by_loops(total: int) -> None:
    assert [row for block in blocks(total) for row in range(total)[block]] == list(range(total))
    column = torch.randint(9, (total + 1,), generator=GENERATOR)
    rows = torch.randint(total + 1, (total,), generator=GENERATOR)
    assert gathered(column, rows).tolist() == [column.tolist()[row] for row in rows.tolist()]
    chosen = column[:total] > 3
    found = where((chosen[block] for block in blocks(total)), total)
    assert found.tolist() == [row for row in range(total) if chosen[row]]


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("num_keys", [1, 3, 50, 1000])
def test_ranges_and_groups_by_loops(num_keys: int) -> None:
    keys = (num_keys * torch.rand(400, generator=GENERATOR) ** 2).long()  # some keys have more rows than a block
    order = torch.randint(5, (400,), generator=GENERATOR).double()
    lengths = torch.bincount(keys, minlength=num_keys)
    parts = list(ranges(keys, torch.nn.functional.pad(lengths.cumsum(0), (1, 0))))
    assert sorted(torch.cat(parts).tolist()) == list(range(400))
    assert all(bool((rows[1:] > rows[:-1]).all()) for rows in parts)
    assert all(keys[a].max() < keys[b].min() for a, b in pairwise(parts))
    assert len(parts) == 1 or max(map(len, parts)) <= 37 + int(lengths.max())
    found = group(keys, torch.arange(400), num_keys, order)
    expected: list[list[int]] = [[] for _ in range(num_keys)]
    for row in sorted(range(400), key=lambda row: float(order[row])):
        expected[int(keys[row])].append(row)
    assert [part.tolist() for part in torch.split(found.values, found.lengths.tolist())] == expected


def module(folder: Path, source: Any, split: Split) -> RetrievalDataModule:
    query = [Categorical(name="group"), Categorical(name="device"), HashedTrigrams(name="text", num_buckets=100)]
    history = History(name="history", of="candidate_id", order="time")
    candidate = [
        Categorical(name="candidate_id"),
        CategoricalList(name="tags"),
        Numeric(name="size"),
        Vector(name="vector"),
        Image(name="picture", size=8),
    ]
    negatives = FromColumn("negatives")
    changes: dict[str, Any] = {"query": [*query, history], "candidate": candidate, "negatives": negatives}
    return small_data(folder, source=source, split=split, evaluate="event", **changes)


def assert_equal(a: Any, b: Any, path: str = "") -> None:
    """Compare tensors, frames, and dicts and tuples of them."""
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, path
        assert torch.equal(a, b), path
    elif isinstance(a, pl.DataFrame):
        assert_frame_equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for name in a:
            assert_equal(a[name], b[name], f"{path}.{name}")
    elif isinstance(a, tuple):
        for number, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{path}[{number}]")
    else:
        assert a == b, path


@pytest.mark.parametrize(
    "split", [RandomRows(), RandomQueries(0.2, 0.2), PerQuery(0.2, 0.2), LeaveLastN(), ByTime()], ids=named
)
def test_a_cache_is_the_same_from_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: Split) -> None:
    raw = Synthetic(num_queries=60, num_candidates=40, labels=True).tables()
    events = raw.interactions.with_columns(time=pl.col("time") // 5000 - 3.0)  # equal and negative ones, too
    again = events.with_columns(time=pl.col("time") + 1, label=1 - pl.col("label"))[::3]
    events = pl.concat([events, again, events[::5]])
    source = Frames(events, raw.queries, raw.candidates, time="time", label="label")
    expected = module(tmp_path / "memory", source, split)
    in_memory = (expected.data, expected.assembler.rows, Timeline(expected.data.interactions, 60, "all").candidates)
    assert expected.data.report["repeated interactions dropped"] > 200
    mapped, spools = Spool.mapped, []

    def recorded(spool: Spool) -> memory_mapped.Array:
        spools.append(spool)
        return mapped(spool)

    monkeypatch.setattr(memory_mapped, "BLOCK", 37)
    monkeypatch.setattr(memory_mapped, "LARGE_FILE", 0)
    monkeypatch.setattr(cache, "ENCODED_AT_ONCE", 23)
    monkeypatch.setattr(Spool, "mapped", recorded)
    found = module(tmp_path / "blocks", source, split)
    assert_equal((found.data, found.assembler.rows, Timeline(found.data.interactions, 60, "all").candidates), in_memory)
    assert_equal(found.assembler.likes.times, expected.assembler.likes.times)
    assert len(spools) > 20
    rows = expected.assembler.rows[:50]
    batches = [each.assembler.batch(rows, each.train_dataloader().place) for each in (found, expected)]
    assert_equal(*batches)


@pytest.mark.usefixtures("_small_blocks")
def test_a_large_file_is_mapped_with_all_its_types(tmp_path: Path) -> None:
    raw = Synthetic(num_queries=60, num_candidates=40).tables()
    raw.interactions.write_parquet(tmp_path / "events.parquet", row_group_size=50)
    source = Files(str(tmp_path / "events.parquet"))
    found = source.tables().interactions
    assert_frame_equal(found, raw.interactions)
    (tmp_path / "events.parquet").unlink()  # the table is a copy
    assert found["time"].sum() == raw.interactions["time"].sum()
    time = found["time"].get_chunks()[0].to_numpy()
    with pytest.raises(ValueError, match="read-only"):  # the pages belong to a file
        time[0] = 1


@pytest.mark.usefixtures("_small_blocks")
def test_without_pyarrow_a_large_table_is_held_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = Synthetic(num_queries=60, num_candidates=40).tables()
    raw.interactions.write_parquet(tmp_path / "events.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.warns(UserWarning, match=r"360 rows .*memory \(0 MiB\).*pyarrow.*dssm-lightning\[large\]"):
        found = Files(str(tmp_path / "events.parquet")).tables().interactions
    assert_frame_equal(found, raw.interactions)


@pytest.mark.usefixtures("_small_blocks")
def test_a_bad_row_is_named_by_its_place_in_the_table(tmp_path: Path) -> None:
    events = pl.DataFrame({"query_id": range(100), "candidate_id": range(100)})
    candidates = pl.DataFrame({"candidate_id": range(100), "size": [1.0] * 70 + [None] + [1.0] * 29})
    data = RetrievalDataModule(
        Frames(events, None, candidates),
        [Categorical(name="query_id")],
        [Numeric(name="size", mean=0.0, std=1.0)],
        RandomRows(),
        cache_dir=str(tmp_path),
    )
    with pytest.raises(ValueError, match=r"Numeric feature 'size': 1 of 100 values \(.*: 70\)"):
        data.prepare_data()
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.mark.usefixtures("_small_blocks")
def test_an_unknown_id_is_found_in_any_block() -> None:
    events = pl.DataFrame({"query_id": [0] * 90 + [7] + [0] * 9, "candidate_id": range(100)})
    tables = Frames(events, pl.DataFrame({"query_id": [0]}), None).tables()
    with pytest.raises(ValueError, match=r"1 of 100 interactions .*'query_id'.* 7"):
        tables.resolve([], [])


def test_a_ragged_column_of_empty_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "ENCODED_AT_ONCE", 2)
    found = cache._encoded(CategoricalList(name="tags", vocabulary=("a",)), pl.Series([[], [], [], ["a"], []]))
    assert isinstance(found, Ragged)
    assert found.lengths.tolist() == [0, 0, 0, 1, 0]


def test_floats_are_ordered_by_their_bits() -> None:
    order = torch.tensor([3.5, -0.0, 0.0, -2.25, 1e300, float("inf"), -1e-300, 0.0, float("-inf"), -2.25]).double()
    found = group(torch.zeros(10, dtype=torch.int64), torch.arange(10), 1, order)
    assert found.values.tolist() == sorted(range(10), key=lambda row: float(order[row]))
