"""A cache is complete or missing, whatever happens while it is written."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.paths import ROOT, TESTS
from helpers.small import small_data

from dssm_lightning.data.preparation import cache
from dssm_lightning.data.preparation.prepare import prepare
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.features import Categorical, CategoricalList, Image, Vector
from dssm_lightning.utils.ragged import Ragged


def folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir())


def test_the_read_columns_equal_the_encoded_columns(tmp_path: Path) -> None:
    sides: dict[str, list[Any]] = {
        "query": [Categorical(name="group"), CategoricalList(name="tags"), Categorical(name="a#b", column="group")][:2],
        "candidate": [Vector(name="vector"), Image(name="picture", size=8), CategoricalList(name="tags")],
    }
    data = small_data(tmp_path, source=Synthetic(num_queries=60, num_candidates=40, labels=True), **sides)
    found = data.data
    raw = data.recipe.source.tables()
    for side, table in (("query", raw.queries), ("candidate", raw.candidates)):
        assert table is not None
        columns = found.query if side == "query" else found.candidate
        for feature in getattr(found.schemas, side):
            expected, column = feature.encode(table[feature.source_column]), columns[feature.name]
            assert type(column) is type(expected)
            parts = zip(expected, column, strict=True) if isinstance(expected, Ragged) else [(expected, column)]
            for a, b in parts:
                assert (a is None and b is None) or (torch.equal(a, b) and a.dtype == b.dtype)
    assert found.interactions.label is not None
    assert found.interactions.weight is None
    assert found.display == ["text"]


def test_pages_are_shared_and_never_written_back(tmp_path: Path) -> None:
    folder = prepare(small_data(tmp_path).recipe, tmp_path)
    first, second = cache.read(folder), cache.read(folder)
    before = second.interactions.query.clone()
    first.interactions.query.zero_()  # changes a private copy of the page
    assert torch.equal(second.interactions.query, before)
    assert torch.equal(cache.read(folder).interactions.query, before)


def test_the_folder_of_a_killed_process_is_deleted(tmp_path: Path) -> None:
    recipe = small_data(tmp_path).recipe
    folder = prepare(recipe, tmp_path)
    whole = {path.name for path in folder.iterdir()}
    folder.rename(tmp_path / f"{folder.name}.tmp12345")  # a process that was killed before the rename
    (tmp_path / f"{folder.name}.tmp12345" / "report.json").unlink()
    assert prepare(recipe, tmp_path) == folder
    assert {path.name for path in folder.iterdir()} == whole
    assert folders(tmp_path) == [folder]


def test_an_incomplete_folder_is_written_again(tmp_path: Path) -> None:
    recipe = small_data(tmp_path).recipe
    folder = prepare(recipe, tmp_path)
    (folder / "report.json").unlink()
    (folder / "schema.json").unlink()
    (folder / "stray").write_text("x")
    with pytest.warns(UserWarning, match=r"report\.json and 1 more"):
        assert cache.is_complete(prepare(recipe, tmp_path))
    assert not (folder / "stray").exists()


@pytest.mark.parametrize("cut", [False, True], ids=["removed", "cut off"])
@pytest.mark.parametrize("name", ["interactions.label#dense.npy", "candidate.text#values.npy", "candidates.parquet"])
def test_a_damaged_cache_is_written_again(tmp_path: Path, name: str, cut: bool) -> None:
    """Without the file of labels, a run would train as if the data had no labels."""
    recipe = small_data(tmp_path, source=Synthetic(num_queries=60, num_candidates=40, labels=True)).recipe
    folder = prepare(recipe, tmp_path)
    content = (folder / name).read_bytes()
    if cut:
        (folder / name).write_bytes(content[: len(content) // 2])
    else:
        (folder / name).unlink()
    with pytest.warns(UserWarning, match=name):
        assert prepare(recipe, tmp_path) == folder
    assert (folder / name).read_bytes() == content
    assert cache.read(folder).interactions.label is not None


def test_a_cache_of_another_version_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = small_data(tmp_path).recipe
    old = prepare(recipe, tmp_path)
    monkeypatch.setattr(cache, "VERSION", cache.VERSION + 1)
    new = prepare(recipe, tmp_path)
    assert new != old
    assert folders(tmp_path) == sorted([old, new])


def test_nodes_that_share_a_folder_find_the_cache_of_the_first_node(tmp_path: Path) -> None:
    """As with ``prepare_data_per_node``: the first process of each node prepares, all processes set up."""
    nodes = [[small_data(tmp_path), small_data(tmp_path)] for _ in range(2)]
    assert all(process.prepare_data_per_node for node in nodes for process in node)
    for node in nodes:
        node[0].prepare_data()
    for process in (process for node in nodes for process in node):
        process.setup("fit")
    assert folders(tmp_path) == [nodes[0][0].folder]
    assert all(process.folder == nodes[0][0].folder for node in nodes for process in node)


@pytest.mark.parametrize("number", [0, 2, 5])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    save, saved = np.save, []

    def full(path: Path, array: Any) -> None:
        saved.append(path)
        if len(saved) > number:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, array)

    recipe = small_data(tmp_path).recipe
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(OSError, match="No space left on device"):
            prepare(recipe, tmp_path)
    assert folders(tmp_path) == []
    assert cache.is_complete(prepare(recipe, tmp_path))


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    recipe = small_data(tmp_path).recipe
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(recipe, tmp_path)
    assert folders(tmp_path) == []


def test_only_one_of_several_encodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = cache.write, []

    def counted(folder: Path, *rest: Any) -> None:
        written.append(folder)
        write(folder, *rest)

    monkeypatch.setattr(cache, "write", counted)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: prepare(small_data(tmp_path).recipe, tmp_path), range(4)))
    assert len(set(found)) == 1
    assert written == found[:1]
    assert folders(tmp_path) == found[:1]


PREPARE = """
import json, os, signal, sys
import numpy as np
from pathlib import Path
from helpers.small import small_data
from dssm_lightning.data.preparation import cache
from dssm_lightning.data.preparation.prepare import prepare

place, die_at = Path(sys.argv[1]), int(sys.argv[2])
save, write, count, written = np.save, cache.write, 0, []

def dying(path, array):
    global count
    count += 1
    if count == die_at:
        os.kill(os.getpid(), signal.SIGKILL)
    save(path, array)

def noted(folder, *rest):
    written.append(folder.name)
    write(folder, *rest)

np.save, cache.write = dying, noted
folder = prepare(small_data(place).recipe, place)
print(json.dumps([folder.name, written]))
"""


def start(place: Path, die_at: int = 0) -> subprocess.Popen[str]:
    command = ["timeout", "-k", "5", "100", sys.executable, "-c", PREPARE, str(place), str(die_at)]
    environment = {"PYTHONPATH": f"{TESTS}:{ROOT}", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def _ended() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_process_killed_while_it_writes(tmp_path: Path, _ended: list[subprocess.Popen[str]]) -> None:  # noqa: PT019  the list is used
    _ended.append(killed := start(tmp_path, die_at=4))
    assert killed.wait(110) in (-9, 137)
    [left] = folders(tmp_path)
    assert ".tmp" in left.name
    _ended.append(second := start(tmp_path))
    output, errors = second.communicate(timeout=110)
    assert second.returncode == 0, errors
    name, written = json.loads(output)
    assert written == [name]
    assert folders(tmp_path) == [tmp_path / name]
    cache.read(tmp_path / name)


@pytest.mark.slow
def test_processes_that_prepare_at_once(tmp_path: Path, _ended: list[subprocess.Popen[str]]) -> None:  # noqa: PT019  the list is used
    _ended += [start(tmp_path), start(tmp_path)]
    outputs = [process.communicate(timeout=110) for process in _ended]
    assert [process.returncode for process in _ended] == [0, 0], outputs
    reports = [json.loads(output) for output, _ in outputs]
    assert reports[0][0] == reports[1][0]
    assert len(reports[0][1]) + len(reports[1][1]) == 1  # one of the two processes encoded
    assert folders(tmp_path) == [tmp_path / reports[0][0]]
