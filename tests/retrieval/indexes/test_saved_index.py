"""A saved index answers as before, and a folder that was changed is refused in one line."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.index_folders import change_manifest, replace_file
from helpers.vectors import clustered

from dssm_lightning.retrieval.indexes import Exact, Faiss, load_index
from dssm_lightning.utils.errors import UserError

SETTINGS = [
    {},
    {"precision": "float16"},
    {"precision": "int8"},
    {"precision": "binary"},
    {"precision": "int8", "rescore": "float32", "oversampling": 3},
    {"precision": "binary", "rescore": "float16"},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Exact().build(np.eye(4)).save(tmp_path / "index")
    return tmp_path / "index"


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("with_vectors", [True, False])
def test_it_answers_as_before(settings: dict[str, Any], with_vectors: bool, tmp_path: Path) -> None:
    vectors, queries = clustered(3_000, width=70)
    index = Exact(**settings).build(vectors, rows=np.arange(3_000) + 5)
    index.save(tmp_path / "index", with_vectors)
    loaded = load_index(tmp_path / "index", None if with_vectors else vectors)
    assert isinstance(loaded, Exact)
    assert loaded.settings == index.settings
    assert (loaded.count, loaded.width) == (3_000, 70)
    for ours, theirs in zip(index.search(queries, 7), loaded.search(queries, 7), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    loaded.save(tmp_path / "again")
    np.testing.assert_array_equal(load_index(tmp_path / "again").search(queries, 7).rows, index.search(queries, 7).rows)


def test_arrays_are_mapped_and_not_read(folder: Path) -> None:
    values = Exact.load(folder)._stores["float32"].values
    while values.base is not None and not isinstance(values, np.memmap):
        values = values.base
    assert isinstance(values, np.memmap)


def test_the_files_of_each_precision(tmp_path: Path) -> None:
    vectors, _ = clustered(2_048, width=64)
    sizes = {}
    for settings in SETTINGS[:4]:
        path = tmp_path / str(len(sizes))
        Exact(**settings).build(vectors).save(path)
        sizes[settings.get("precision", "float32")] = {
            each.name: each.stat().st_size - 128 for each in path.glob("*.npy")
        }
    assert sizes["float32"] == {"vectors.npy": 2_048 * 256}
    assert sizes["float16"] == {"float16.npy": 2_048 * 128}
    assert sizes["int8"] == {"int8.npy": 2_048 * 64, "int8_scales.npy": 2_048 * 4}
    assert sizes["binary"] == {"bits.npy": 2_048 * 8, "rotation.npy": 64 * 64 * 4, **sizes["int8"]}


def test_the_manifest_names_what_is_in_the_folder(folder: Path) -> None:
    manifest = json.loads((folder / "index.json").read_text())
    assert manifest["engine"] == "exact"
    assert (manifest["count"], manifest["width"], manifest["format"]) == (4, 4, 1)
    assert manifest["versions"]["numpy"] == np.__version__
    assert list(manifest["files"]) == ["vectors.npy"]
    assert manifest["corpus"] == zlib.crc32(np.eye(4, dtype=np.float32).tobytes())


def test_other_settings_can_be_given(tmp_path: Path) -> None:
    Exact("binary").build(np.eye(9)).save(tmp_path / "index")
    assert load_index(tmp_path / "index", oversampling=3).settings["oversampling"] == 3
    with pytest.raises(UserError, match="oversampling is 0"):
        load_index(tmp_path / "index", oversampling=0)


def test_saving_replaces_a_folder_whole(folder: Path) -> None:
    Exact("int8").build(np.eye(3)).save(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["index.json", "int8.npy", "int8_scales.npy"]
    assert load_index(folder).count == 3


def test_a_failed_save_leaves_the_folder_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dssm_lightning.retrieval.indexes.base.write_manifest", full)
    with pytest.raises(OSError, match="No space"):
        Exact().build(np.eye(9)).save(folder)
    assert load_index(folder).count == 4
    assert [path.name for path in folder.parent.iterdir()] == ["index"]


# -- another corpus ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.eye(5), r"4 × 4 vectors.*5 × 5"),
        (np.ones((4, 3)), r"4 × 4 vectors.*4 × 3"),
        (np.eye(4)[::-1], "another corpus"),
    ],
)
def test_an_index_of_another_corpus(folder: Path, vectors: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=f"index.*{message}"):
        load_index(folder, vectors)
    assert load_index(folder, np.eye(4)).count == 4


@pytest.mark.parametrize("index", [Exact(), Exact("int8", rescore="float32"), Faiss("Flat")])
def test_it_was_saved_without_vectors(index: Exact | Faiss, tmp_path: Path) -> None:
    if isinstance(index, Faiss):
        pytest.importorskip("faiss")
    index.build(np.eye(40)).save(tmp_path / "index", with_vectors=False)
    with pytest.raises(UserError, match=r"without its vectors.*load\(folder, vectors\)"):
        load_index(tmp_path / "index")


# -- changed folders ---------------------------------------------------------------------------------------------------


def test_there_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no index\.json"):
        load_index(tmp_path)
    with pytest.raises(UserError, match="nothing to save"):
        Exact().save(tmp_path / "index")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"engine": "exact"}', "[" * 100_000, "\udcff", '{"format": "1"}', " " * (1 << 21)],
    ids=range(9),
)
def test_a_damaged_manifest(folder: Path, content: str) -> None:
    (folder / "index.json").write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(UserError, match=r"index\.json is damaged"):
        load_index(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"count": -1},
        {"count": 0},
        {"count": 4.0},
        {"count": True},
        {"count": 10**15},
        {"width": 10**6},
        {"corpus": "x"},
        {"settings": 5},
        {"settings": None},
        {"versions": {"numpy": 2}},
        {"measured": {"exact_below": "much"}},
        {"engine": None},
        {"unknown": 1},
        {"files": {"../vectors.npy": [1, 2]}},
        {"files": {"/etc/passwd": [1, 2]}},
        {"files": {"vectors.npy": [1]}},
        {"files": {"vectors.npy": [-1, 2]}},
        {"files": {"..": [1, 2]}},
        {"files": {"a\\b": [1, 2]}},
    ],
    ids=str,
)
def test_a_manifest_of_wrong_types_or_paths(folder: Path, changes: dict[str, Any]) -> None:
    change_manifest(folder, **changes)
    with pytest.raises(UserError, match=r"index\.json is damaged"):
        load_index(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, r"format 2 is of a newer version.*reads 1"),
        ({"engine": "exakt"}, r"engine is 'exakt'.*did you mean 'exact'"),
        ({"settings": {"modle": "int8"}}, r"Exact has not all of the settings.*modle"),
        ({"settings": {"precision": "int4"}}, r"precision is 'int4'"),
        ({"settings": {"precision": ["int8"]}}, r"precision is \['int8'\]"),
        ({"count": 10**12}, r"vectors\.npy has 192 bytes.*1,000,000,000,000 × 4"),
        ({"width": 60_000}, r"vectors\.npy has 192 bytes.*4 × 60,000"),
        ({"count": 2}, r"vectors\.npy holds 4 × 4.*describes 2 × 4"),
        ({"settings": {"precision": "int8"}}, r"int8_scales\.npy is missing"),
        ({"settings": {"precision": "binary"}}, r"int8_scales\.npy is missing"),
    ],
    ids=str,
)
def test_a_manifest_that_describes_something_else(folder: Path, changes: dict[str, Any], message: str) -> None:
    change_manifest(folder, **changes)
    with pytest.raises(UserError, match=message):
        load_index(folder)


def test_a_changed_a_missing_and_a_linked_file(folder: Path, tmp_path: Path) -> None:
    path = folder / "vectors.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"vectors\.npy has been changed"):
        load_index(folder)
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"vectors\.npy has been changed"):
        load_index(folder)
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"vectors\.npy is missing"):
        load_index(folder)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"vectors\.npy is a link"):
        load_index(folder)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match=r"vectors\.npy is missing"):
        load_index(folder)


def test_what_the_caller_has_verified_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``verify=False``, sizes, shapes and links are still compared."""
    path, vectors = folder / "vectors.npy", np.eye(4, dtype=np.float32)
    read: list[object] = []
    monkeypatch.setattr("dssm_lightning.retrieval.indexes.index_files._content", lambda *a: read.append(a) or (0, 0))
    monkeypatch.setattr("dssm_lightning.retrieval.indexes.index_files.corpus_checksum", lambda *a: read.append(a) or 0)
    loaded = load_index(folder, vectors, verify=False)
    assert np.shares_memory(loaded._stores["float32"].values, vectors)
    assert loaded.search([[0, 0, 1, 0]], 1).rows.tolist() == [[2]]
    assert not read
    with pytest.raises(UserError, match="has been changed"):
        load_index(folder)
    assert len(read) == 1  # each file once
    with pytest.raises(UserError, match=r"4 × 4 vectors.*3 × 4"):
        load_index(folder, vectors[:3], verify=False)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"vectors\.npy has been changed"):
        load_index(folder, verify=False)
    path.unlink()
    with pytest.raises(UserError, match=r"vectors\.npy is missing"):
        load_index(folder, verify=False)


def test_nothing_is_unpickled(folder: Path) -> None:
    np.save(folder / "vectors.npy", np.array([[print] * 4] * 4, object), allow_pickle=True)
    replace_file(folder / "vectors.npy", (folder / "vectors.npy").read_bytes())
    with pytest.raises(UserError, match=r"vectors\.npy is damaged"):
        load_index(folder)


@pytest.mark.parametrize("content", [b"\x93NUMPY" + b"\xff" * 200, b"PK\x03\x04" + b"0" * 200, b"0" * 200])
def test_an_array_that_is_none(folder: Path, content: bytes) -> None:
    replace_file(folder / "vectors.npy", content)
    with pytest.raises(UserError, match=r"vectors\.npy"):
        load_index(folder)


def test_rows_that_were_changed(tmp_path: Path) -> None:
    Exact().build(np.eye(2), rows=[3, 5]).save(tmp_path / "index")
    np.save(tmp_path / "rows.npy", np.array([5, 3]))
    replace_file(tmp_path / "index" / "rows.npy", (tmp_path / "rows.npy").read_bytes())
    with pytest.raises(UserError, match="rows must ascend"):
        load_index(tmp_path / "index")


def test_an_engine_reads_its_own_folders(folder: Path) -> None:
    with pytest.raises(UserError, match=r"engine 'exact'.* Faiss reads 'faiss'"):
        Faiss.load(folder)
