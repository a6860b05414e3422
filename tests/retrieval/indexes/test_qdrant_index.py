"""``Qdrant`` in this process, and on a server: the client's stand-in, and that of DSSM_QDRANT_URL if it is set."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.index_folders import change_manifest
from helpers.vectors import brute_force, clustered, recall

from dssm_lightning.retrieval.indexes import Exact, Qdrant, load_index, recall_table
from dssm_lightning.retrieval.indexes.qdrant_server import Server
from dssm_lightning.utils.errors import UserError

pytest.importorskip("qdrant_edge")
pytest.importorskip("qdrant_client")

COUNT = 3_000
URL = os.environ.get("DSSM_QDRANT_URL")


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    return clustered(COUNT)


# -- in this process ---------------------------------------------------------------------------------------------------


def test_it_finds_what_a_loop_finds(data: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, queries = data
    index = Qdrant().build(vectors)
    scores, rows = index.search(queries, 10)
    expected_scores, expected = brute_force(vectors, queries, 10)
    assert recall(rows, expected) > 0.98
    np.testing.assert_allclose(scores, np.einsum("qkd,qd->qk", vectors[rows], queries), atol=1e-6)
    np.testing.assert_allclose(scores[:, 0], expected_scores[:, 0], atol=1e-5)
    with ThreadPoolExecutor(4) as pool:
        single = list(pool.map(lambda query: index.search(query[None], 10).rows[0], queries))
    np.testing.assert_array_equal(np.stack(single), rows)
    table = recall_table(index, Exact().build(vectors), queries, 10)
    assert [row.recall >= 0.98 for row in table] == [True] * 4
    assert table[0].size > vectors.nbytes


def test_vectors_of_any_length_and_few_of_them() -> None:
    index = Qdrant().build([[1, 0], [10, 0], [0.9, 0]])
    assert index.search([[1, 0]], 3).rows.tolist() == [[1, 0, 2]]
    assert index.build([[0, 1]]).search([[1, 1]], 1).rows.tolist() == [[0]]


def test_it_is_saved_and_loaded(data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    vectors, queries = data
    index = Qdrant(str(tmp_path / "qdrant"), ef=64).build(vectors, rows=np.arange(COUNT) + 3)
    index.save(tmp_path / "index")
    found = index.search(queries, 5)
    loaded = load_index(tmp_path / "index", vectors)
    assert isinstance(loaded, Qdrant)
    assert loaded.settings == index.settings
    np.testing.assert_array_equal(loaded.search(queries, 5).rows, found.rows)
    index.build(vectors[:100])  # in place of the folder that `loaded` has open
    assert index.search(queries, 5).rows.max() < 100
    with pytest.raises(UserError, match=r"qdrant holds the vectors of another corpus"):
        load_index(tmp_path / "index")


def test_a_folder_of_another_corpus_of_the_same_size(tmp_path: Path) -> None:
    Qdrant(str(tmp_path / "qdrant")).build(np.eye(3)).save(tmp_path / "index")
    Qdrant(str(tmp_path / "qdrant")).build(-np.eye(3))
    for verify in (True, False):
        with pytest.raises(UserError, match=r"qdrant holds the vectors of another corpus"):
            load_index(tmp_path / "index", verify=verify)


def test_a_build_that_breaks_off_leaves_the_folder_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import qdrant_edge

    index = Qdrant(str(tmp_path / "qdrant")).build(np.eye(3))
    index.save(tmp_path / "index")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(qdrant_edge, "Point", full)
    with pytest.raises(OSError, match="No space"):
        index.build(np.eye(4))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "qdrant"]
    assert index.search([[0, 0, 1]], 1).rows.tolist() == [[2]]
    assert load_index(tmp_path / "index").search([[0, 0, 1]], 1).rows.tolist() == [[2]]


def test_a_folder_with_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match=r"no saved index.*edge_config\.json"):
        Qdrant(str(tmp_path)).build(np.eye(3))
    with pytest.raises(UserError, match=r"no saved index.*index\.json"):
        Exact().build(np.eye(3)).save(tmp_path)
    assert (tmp_path / "letter.txt").exists()


def test_what_cannot_be_saved_or_opened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="temporary folder cannot be saved"):
        Qdrant().build(np.eye(3)).save(tmp_path / "index")
    Qdrant(str(tmp_path / "qdrant")).build(np.eye(3)).save(tmp_path / "index")
    (tmp_path / "qdrant").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="qdrant is no folder of Qdrant"):
        load_index(tmp_path / "index")
    with pytest.raises(UserError, match="location is 'ftp://x'"):
        load_index(tmp_path / "index", location="ftp://x")
    assert load_index(tmp_path / "index", location=str(tmp_path / "elsewhere")).count == 3


def test_a_folder_does_not_choose_who_sees_the_queries(tmp_path: Path) -> None:
    Qdrant(str(tmp_path / "qdrant")).build(np.eye(3)).save(tmp_path / "index")
    change_manifest(tmp_path / "index", settings={"location": "http://127.0.0.1:9"})
    with pytest.raises(UserError, match=r"names the server http://127\.0\.0\.1:9.*location="):
        load_index(tmp_path / "index")
    with pytest.raises(UserError, match=r"Qdrant at http://127\.0\.0\.1:9"):
        load_index(tmp_path / "index", location="http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"location": 5}, "location is 5"),
        ({"ef": 0}, "ef is 0"),
        ({"m": 1.5}, r"m is 1\.5"),
        ({"collection": ""}, "collection is ''"),
    ],
)
def test_a_wrong_setting(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Qdrant(**settings)


@pytest.mark.parametrize(("package", "location"), [("qdrant_edge", None), ("qdrant_client", "http://localhost:1")])
def test_qdrant_is_not_installed(package: str, location: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"{package} is not installed.*dssm-lightning\[qdrant\]"):
        Qdrant(location).build(np.eye(3))


# -- on a server -------------------------------------------------------------------------------------------------------


@pytest.fixture(
    params=[":memory:", pytest.param(URL, marks=pytest.mark.skipif(URL is None, reason="no DSSM_QDRANT_URL"))]
)
def server(request: pytest.FixtureRequest) -> Iterator[Qdrant]:
    index = Qdrant(request.param, collection=f"dssm-test-{os.getpid()}", ef=200)
    index._engine = engine = index._connected()
    assert isinstance(engine, Server)
    yield index
    for each in engine.client.get_collections().collections:
        if each.name.startswith(index.collection):
            engine.client.delete_collection(each.name)
    engine.client.close()


def engine_of(index: Qdrant) -> Server:
    assert isinstance(index._engine, Server)
    return index._engine


def names(index: Qdrant) -> list[str]:
    found = engine_of(index).client.get_collections().collections
    return sorted(each.name for each in found if each.name.startswith(index.collection))


def test_the_server_finds_what_a_loop_finds(server: Qdrant, data: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, queries = data
    server.build(vectors)
    assert recall(server.search(queries, 10).rows, brute_force(vectors, queries, 10)[1]) > 0.98
    allowed = np.arange(COUNT) % 7 == 0
    assert recall(server.search(queries, 10, allowed).rows, brute_force(vectors, queries, 10, allowed)[1]) > 0.999


def test_a_new_corpus_takes_the_place_of_the_old_one(server: Qdrant) -> None:
    server.build(np.eye(3))
    [first] = names(server)
    server.build(np.eye(3)[::-1])
    [second] = names(server)
    assert first != second
    assert server.search([[0, 0, 1]], 1).rows.tolist() == [[0]]
    server.build(np.eye(3)[::-1])  # the same again
    assert names(server) == [second]


def test_a_build_that_breaks_off_is_not_visible_and_continues(server: Qdrant, monkeypatch: pytest.MonkeyPatch) -> None:
    from qdrant_client.http.exceptions import ResponseHandlingException

    vectors, _ = clustered(5_000, width=4)
    server.build(np.eye(4))
    client = engine_of(server).client
    upsert, sent = client.upsert, []

    def breaking(name: str, points: Any, **options: Any) -> Any:
        if len(sent) == 2:
            raise ResponseHandlingException(OSError("Connection refused"))
        sent.append(points.ids[0])
        return upsert(name, points, **options)

    monkeypatch.setattr(client, "upsert", breaking)
    with pytest.raises(UserError, match=r"Connection refused.*continues where it stopped"):
        server.build(vectors)
    assert server.count == 4
    assert server.search([[0, 0, 1, 0]], 1).rows.tolist() == [[2]]  # the old corpus still answers
    assert len(names(server)) == 2
    sent.append(-1)  # the server is back
    server.build(vectors)
    assert sent == [0, 2048, -1, 4096]
    assert len(names(server)) == 1
    assert server.count == 5_000


def test_a_collection_of_that_name_is_not_touched(server: Qdrant) -> None:
    from qdrant_client import models

    client = engine_of(server).client
    params = models.VectorParams(size=3, distance=models.Distance.DOT)
    client.create_collection(server.collection, vectors_config=params)
    with pytest.raises(UserError, match="is a collection, not an alias"):
        server.build(np.eye(3))
    assert client.collection_exists(server.collection)


def test_a_graph_of_other_settings_is_not_continued(server: Qdrant) -> None:
    server.build(np.eye(3))
    before = names(server)
    server.m = 8
    server.build(np.eye(3))
    assert names(server) != before
    assert len(names(server)) == 1


def test_another_process_gave_the_server_other_vectors(server: Qdrant) -> None:
    """Its places mean nothing here: an error, not a wrong answer."""
    server.build(np.eye(3))
    other = Qdrant(server.location, server.collection)
    other._engine = Server(engine_of(server).client, str(server.location), server.collection)
    other.build(np.eye(3)[::-1])
    with pytest.raises((UserError, ValueError), match=r"not found|doesn't exist"):
        server.search([[0, 0, 1]], 1)
    assert other.search([[0, 0, 1]], 1).rows.tolist() == [[0]]


def test_the_server_holds_other_vectors(server: Qdrant) -> None:
    server.build(np.eye(3))
    engine = engine_of(server)
    engine.open(3, server._corpus or 0)
    with pytest.raises(UserError, match="does not hold these vectors"):
        engine.open(4, server._corpus or 0)
    with pytest.raises(UserError, match="does not hold these vectors"):
        engine.open(3, 5)


def test_no_server_answers() -> None:
    with pytest.raises(UserError, match=r"Qdrant at http://127\.0\.0\.1:9: .*continues where it stopped"):
        Qdrant("http://127.0.0.1:9").build(np.eye(3))
