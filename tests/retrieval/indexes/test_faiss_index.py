"""``Faiss`` against a loop over all products: answers, masks, parameters, and what FAISS cannot do."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.vectors import brute_force, clustered, recall

from dssm_lightning.retrieval.indexes import Exact, Faiss, load_index
from dssm_lightning.retrieval.indexes.index_files import read_manifest
from dssm_lightning.utils.errors import UserError

pytest.importorskip("faiss")

COUNT = 4_000
FACTORIES = [
    ("Flat", {}, 0.999),
    ("HNSW32", {}, 0.98),
    ("HNSW16,SQ8", {}, 0.9),
    ("IVF32,Flat", {"nprobe": 32}, 0.999),
    ("IVF32,SQ8", {"nprobe": 32}, 0.9),
    ("PCA8,IVF16,Flat", {"nprobe": 16}, 0.2),
    ("PQ8x4", {}, 0.4),
]


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    return clustered(COUNT)


@pytest.mark.parametrize(("factory", "parameters", "least"), FACTORIES, ids=lambda value: str(value))
def test_it_finds_what_a_loop_finds(
    factory: str, parameters: dict[str, float], least: float, data: tuple[np.ndarray, np.ndarray]
) -> None:
    """The scores are exact and in order, however coarse the index is."""
    vectors, queries = data
    scores, rows = Faiss(factory, parameters, exact_below=0.1).build(vectors).search(queries, 10)
    assert recall(rows, brute_force(vectors, queries, 10)[1]) >= least
    np.testing.assert_allclose(scores, np.einsum("qkd,qd->qk", vectors[rows], queries), atol=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert all(len(set(row)) == 10 for row in rows.tolist())


@pytest.mark.parametrize("share", [0.5, 0.05, 0.005])
@pytest.mark.parametrize(
    ("factory", "parameters"),
    [("Flat", {}), ("HNSW32", {"efSearch": 256}), ("IVF32,Flat", {"nprobe": 32}), ("PQ8x4", {})],
)
def test_a_mask_keeps_the_recall(
    factory: str, parameters: dict[str, float], share: float, data: tuple[np.ndarray, np.ndarray]
) -> None:
    vectors, queries = data
    allowed = np.random.default_rng(1).random(COUNT) < share
    rows = Faiss(factory, parameters).build(vectors).search(queries, 10, allowed).rows
    assert allowed[rows].all()
    assert recall(rows, brute_force(vectors, queries, 10, allowed)[1]) >= 0.99


def test_a_mask_of_one_side_keeps_the_recall(data: tuple[np.ndarray, np.ndarray]) -> None:
    """The allowed vectors are those farthest from the query."""
    vectors, queries = data
    allowed = vectors @ queries[0] < -0.2
    rows = Faiss("HNSW32").build(vectors).search(queries, 10, allowed).rows
    assert recall(rows, brute_force(vectors, queries, 10, allowed)[1]) >= 0.99


def test_the_graph_loses_recall_under_a_mask_that_is_not_measured(data: tuple[np.ndarray, np.ndarray]) -> None:
    """The reason for the measured share."""
    vectors, queries = data
    allowed = np.random.default_rng(1).random(COUNT) < 0.2
    expected = brute_force(vectors, queries, 10, allowed)[1]
    index = Faiss("HNSW8", {"efSearch": 10, "efConstruction": 20}, exact_below=0.0).build(vectors)
    assert recall(index.search(queries, 10, allowed).rows, expected) < 0.9
    measured = Faiss("HNSW8", {"efSearch": 10, "efConstruction": 20}).build(vectors)
    assert measured.measured["exact_below"] > 0.2
    assert recall(measured.search(queries, 10, allowed).rows, expected) > 0.99


def test_what_faiss_does_not_find_is_answered_exactly(data: tuple[np.ndarray, np.ndarray]) -> None:
    """One list of an inverted file holds fewer than k vectors; FAISS pads with −1."""
    vectors, queries = data
    scores, rows = Faiss("IVF32,Flat", {"nprobe": 1}).build(vectors).search(queries, 1_000)
    assert (rows >= 0).all()
    assert np.isfinite(scores).all()
    assert recall(rows, brute_force(vectors, queries, 1_000)[1]) == pytest.approx(1.0)


def test_inner_products_of_vectors_of_any_length() -> None:
    """FAISS' own default is the Euclidean distance."""
    vectors = np.array([[1, 0], [10, 0], [0.9, 0]], np.float32)
    assert Faiss("HNSW8").build(vectors).search([[1, 0]], 3).rows.tolist() == [[1, 0, 2]]


def test_the_same_answer_each_time_and_in_threads(data: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, queries = data
    index = Faiss("HNSW16").build(vectors)
    scores, rows = index.search(queries, 5)
    with ThreadPoolExecutor(4) as pool:
        single = list(pool.map(lambda query: index.search(query[None], 5), queries))
    np.testing.assert_array_equal(np.concatenate([each.rows for each in single]), rows)
    np.testing.assert_allclose(np.concatenate([each.scores for each in single]), scores, atol=1e-6)
    assert index.search(queries[:0], 5).rows.shape == (0, 5)


def test_parameters_change_what_is_found(data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    vectors, queries = data
    expected = brute_force(vectors, queries, 10)[1]
    index = Faiss("IVF32,Flat", {"nprobe": 1}, exact_below=0.2).build(vectors)
    low = recall(index.search(queries, 10).rows, expected)
    index.set_parameters(nprobe=32)
    assert low < 0.95 < recall(index.search(queries, 10).rows, expected)
    index.save(tmp_path / "index")
    assert read_manifest(tmp_path / "index").settings["parameters"] == {"nprobe": 32}


def test_masks_are_measured_again_with_other_parameters(data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    """A search that finds less under a mask is not used where a better one was."""
    vectors, queries = data
    allowed = np.random.default_rng(1).random(COUNT) < 0.5
    expected = brute_force(vectors, queries, 10, allowed)[1]
    index = Faiss("HNSW16", {"efSearch": 256}).build(vectors)
    high = index.measured["exact_below"]
    index.save(tmp_path / "index")
    index.set_parameters(efSearch=10)
    assert index.measured["exact_below"] > high
    assert recall(index.search(queries, 10, allowed).rows, expected) > 0.99
    loaded = load_index(tmp_path / "index", parameters={"efSearch": 10})
    assert loaded.measured["exact_below"] == index.measured["exact_below"]
    assert load_index(tmp_path / "index").measured["exact_below"] == high


def test_the_size_is_that_of_the_files(data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    index = Faiss("HNSW16").build(data[0])
    index.save(tmp_path / "index")
    found = [(tmp_path / "index" / name).stat().st_size for name in ("index.faiss", "vectors.npy")]
    assert index.num_bytes() == sum(found) - 128  # the header of numpy


@pytest.mark.parametrize("with_vectors", [True, False])
def test_it_is_saved_and_loaded(data: tuple[np.ndarray, np.ndarray], tmp_path: Path, with_vectors: bool) -> None:
    vectors, queries = data
    index = Faiss("HNSW16", {"efSearch": 64}).build(vectors, rows=np.arange(COUNT) * 2)
    index.save(tmp_path / "index", with_vectors)
    loaded = load_index(tmp_path / "index", None if with_vectors else vectors)
    assert isinstance(loaded, Faiss)
    assert loaded.measured == index.measured
    assert loaded.settings == index.settings
    assert loaded._index.hnsw.efSearch == 64
    allowed = np.arange(COUNT) % 2 == 0
    for mask in (None, allowed):
        for ours, theirs in zip(index.search(queries, 5, mask), loaded.search(queries, 5, mask), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert (tmp_path / "index" / "vectors.npy").exists() == with_vectors


# -- mistakes ----------------------------------------------------------------------------------------------------------


def test_an_unknown_factory_or_parameter(data: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, _ = data
    with pytest.raises(UserError, match="no index 'HMSW32'"):
        Faiss("HMSW32").build(vectors)
    with pytest.raises(UserError, match="'HNSW16' has no parameter 'nprobe'"):
        Faiss("HNSW16", {"nprobe": 3}).build(vectors)
    with pytest.raises(UserError, match="efSearch is 'many'"):
        Faiss("HNSW16", {"efSearch": "many"})
    with pytest.raises(UserError, match=r"exact_below is 1\.5"):
        Faiss(exact_below=1.5)
    with pytest.raises(UserError, match="factory is 5 and parameters 'ab'"):
        Faiss(5, "ab")
    with pytest.raises(UserError, match="build or load"):
        Faiss().set_parameters(efSearch=3)


def test_too_few_vectors_to_train(data: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(UserError, match="'IVF64,Flat' cannot hold 10 vectors of width 16"):
        Faiss("IVF64,Flat").build(data[0][:10])


def test_k_above_the_corpus(data: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(UserError, match=r"k is 4001.*1 to 4,000"):
        Faiss("Flat").build(data[0]).search(data[1], 4_001)


def test_faiss_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r"faiss is not installed.*dssm-lightning\[faiss\]"):
        Faiss().build(np.eye(3))


def test_a_file_of_faiss_with_other_content(data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    """Its checksum is made right again, as by somebody who means harm."""
    from helpers.index_folders import replace_file

    vectors, _ = data
    Faiss("Flat", exact_below=0.5).build(vectors).save(tmp_path / "index")
    Faiss("Flat", exact_below=0.5).build(vectors[:9]).save(tmp_path / "other")
    whole = (tmp_path / "index" / "index.faiss").read_bytes()
    for content in ((tmp_path / "other" / "index.faiss").read_bytes(), whole[:40], b"", b"IxFI" + b"\xff" * 60):
        replace_file(tmp_path / "index" / "index.faiss", content)
        with pytest.raises(UserError, match=r"index\.faiss is (damaged|not the index)"):
            load_index(tmp_path / "index")


@pytest.mark.slow
def test_a_graph_built_with_one_thread_is_the_same_each_time() -> None:
    code = (
        "from helpers.vectors import clustered; from dssm_lightning.retrieval.indexes import Faiss; import zlib, faiss;"
        "index = Faiss('HNSW16', exact_below=1).build(clustered(3000)[0]);"
        "print(zlib.crc32(faiss.serialize_index(index._index)))"
    )
    line = ["env", "OMP_NUM_THREADS=1", f"PYTHONPATH={ROOT / 'tests'}", sys.executable, "-c", code]
    runs = [subprocess.run(line, cwd=ROOT, capture_output=True, check=True, timeout=100).stdout for _ in range(2)]
    assert runs[0] == runs[1]


def test_scores_are_those_of_the_exact_index(data: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, queries = data
    ours, exact = Faiss("Flat").build(vectors).search(queries, 10), Exact().build(vectors).search(queries, 10)
    np.testing.assert_array_equal(ours.scores, exact.scores)
    np.testing.assert_array_equal(ours.rows, exact.rows)
