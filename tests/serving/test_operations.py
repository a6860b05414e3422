"""What operators and pages read: health, the facts of the bundles, candidates and their pictures, reloads."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.bundles import change_manifest, copied, make_shop_bundle, refit_manifest
from helpers.gallery import make_gallery
from helpers.retrievers import shop_table
from helpers.serving import Server, served

from dssm_lightning.serving.serving import Serving
from dssm_lightning.serving.settings import ServingSettings, name_bundles
from dssm_lightning.utils.errors import UserError

TOKEN = "0123456789abcdef"
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_gallery(tmp_path_factory.mktemp("gallery"))


@pytest.fixture(scope="module")
def server(gallery: Path, shop_bundle: Path) -> Iterator[Server]:
    with served(f"gallery={gallery}", f"shop={shop_bundle}", limits={"max_k": 15, "max_text": 100}) as found:
        yield found


# -- facts -------------------------------------------------------------------------------------------------------------


def test_a_server_says_that_it_lives_and_is_ready(server: Server) -> None:
    assert server.get("/health").value == {"status": "alive"}
    assert server.get("/ready").value == {"status": "ready"}


def test_a_server_that_stops_or_whose_files_changed_is_not_ready(shop_bundle: Path) -> None:
    with served(shop_bundle) as server:
        server.serving.changed = "a file of bundle 'shop' has changed"
        answer = server.get("/ready")
        assert (answer.status, answer.error) == (503, "a file of bundle 'shop' has changed")
        assert answer.headers["retry-after"] == "1"
        server.serving.changed = None
        server.serving.drain()
        assert (server.get("/ready").status, server.get("/health").status) == (503, 200)
        assert server.post("/search", {"query": "copy"}).status == 200, "what arrives is answered"


def test_a_server_that_has_not_loaded_answers_503(shop_bundle: Path) -> None:
    server = Server(Serving(ServingSettings(name_bundles([str(shop_bundle)]))))
    for answer in (server.get("/ready"), server.get("/info"), server.post("/search", {"query": "copy"})):
        assert (answer.status, "loaded" in answer.error) == (503, True)
    assert server.get("/health").status == 200
    server.close()


def test_the_facts_of_a_bundle_are_those_that_the_page_needs(server: Server) -> None:
    found = server.get("/info").value
    assert (found["token_required"], found["limits"]["max_k"]) == (False, 15)
    gallery, shop = found["bundles"]
    assert (gallery["name"], gallery["candidates"], gallery["width"], gallery["history"]) == (
        "gallery",
        12,
        16,
        "liked",
    )
    assert (gallery["id_column"], gallery["display"], gallery["scorer"]) == ("item", ["title"], "Dot")
    assert (shop["history"], shop["hybrid"], shop["pictures"], len(shop["checksum"])) == (None, True, False, 64)
    columns = {each["column"]: each for each in gallery["query_columns"]}
    assert [columns[name]["kind"] for name in ("words", "photo", "liked")] == ["HashedWords", "Image", "History"]
    assert [columns[name]["text"] for name in ("words", "photo", "liked")] == [True, False, False]
    assert [columns[name]["picture"] for name in ("words", "photo", "liked")] == [False, True, False]
    assert [columns[name]["list"] for name in ("words", "photo", "liked")] == [False, False, True]
    assert [columns[name]["needed"] for name in ("words", "photo", "liked")] == [False, False, False]


def test_filters_are_described_by_their_columns(server: Server) -> None:
    found = {each["column"]: each for each in server.get("/info").value["bundles"][0]["filters"]}
    assert found["tags"] == {**found["tags"], "kind": "text", "list": True, "values": ["new", "red"]}
    assert found["price"] == {**found["price"], "kind": "number", "list": False, "min": 0.5, "max": 5.5}
    assert (found["made"]["kind"], found["made"]["min"], found["made"]["max"]) == ("date", "2020-01-01", "2020-01-12")
    assert (found["sold"]["kind"], found["sold"]["values"]) == ("truth", [False, True])
    assert len(found["title"]["values"]) == 12
    for column, facts in found.items():
        value = json.dumps((facts["values"] or [facts["min"]])[0]).replace('"', "'")
        body = {"query": {"words": "a"}, "k": 1, "filter": f"{column} = {value}"}
        assert server.post("/search", body).status == 200, column


def test_the_numbers_of_prometheus_are_text(server: Server) -> None:
    server.post("/search", {"query": "copy", "bundle": "shop"})
    answer = server.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    text = answer.content.decode()
    assert 'dssm_requests_total{method="POST",path="/search",status="200"}' in text
    assert 'dssm_stage_seconds_count{kind="search",stage="encode"}' in text
    assert 'dssm_bundle_candidates{bundle="shop"} 30.0' in text


@pytest.mark.parametrize("path", ["/nothing", "/search/", "/pictures/gallery", "/.git/config"])
def test_an_unknown_address_is_404(server: Server, path: str) -> None:
    answer = server.get(path)
    assert (answer.status, answer.value["error_type"]) == (404, "not_found")
    assert path in answer.error


# -- candidates --------------------------------------------------------------------------------------------------------


def test_candidates_are_found_by_their_words(server: Server) -> None:
    found = server.post("/candidates", {"text": "THING number 1", "k": 3}).value
    assert [hit["id"] for hit in found["hits"]] == ["i1", "i10", "i11"]
    assert found["hits"][0]["display"] == {"title": "thing number 1"}
    assert "score" not in found["hits"][0]
    assert server.post("/candidates", {"text": "no such", "k": 3}).value["hits"] == []


@pytest.mark.parametrize(
    ("body", "status"), [({"text": "a", "k": 0}, 422), ({"text": "a", "k": 16}, 422), ({"text": "a" * 101}, 422)]
)
def test_candidates_have_limits(server: Server, body: Any, status: int) -> None:
    assert server.post("/candidates", body).status == status


def test_a_picture_of_a_candidate_is_at_the_address_of_its_hit(server: Server) -> None:
    hits = server.post("/search", {"query": {"words": "number"}, "k": 12}).value["hits"]
    assert {hit["id"]: hit["picture"] is None for hit in hits} == {f"i{n}": n % 3 == 0 for n in range(12)}
    address = next(hit["picture"] for hit in hits if hit["id"] == "i4")
    assert address.startswith("/pictures/gallery/4?v=")
    answer = server.get(address)
    assert (answer.status, answer.headers["content-type"].partition("/")[0]) == (200, "image")
    assert "immutable" in answer.headers["cache-control"]
    assert server.get("/pictures/gallery/4").headers["cache-control"] == "no-cache"
    assert "picture" not in server.post("/search", {"query": "copy", "bundle": "shop", "k": 1}).value["hits"][0]


@pytest.mark.parametrize(
    "path",
    ["gallery/0", "gallery/12", "gallery/-1", "gallery/x", "gallery/1e3", "gallery/" + "9" * 99, "shop/1", "none/1"],
)
def test_a_picture_that_is_not_there_is_404(server: Server, path: str) -> None:
    assert server.get(f"/pictures/{path}").status == 404
    assert server.get("/pictures/gallery/4?v=other").status == 404


# -- reloads -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model over 40 candidates."""
    return make_shop_bundle(tmp_path_factory.mktemp("larger"), table=shop_table(40))


def replace_bundle(place: Path, bundle: Path) -> None:
    shutil.rmtree(place)
    shutil.copytree(bundle, place)


def test_a_reload_needs_a_token(server: Server) -> None:
    answer = server.post("/reload", {})
    assert (answer.status, "SIGHUP" in answer.error) == (403, True)


def test_a_reload_serves_what_the_folder_holds_now(shop_bundle: Path, larger: Path, tmp_path: Path) -> None:
    place = copied(shop_bundle, tmp_path / "served")
    with served(place, token=TOKEN) as server:
        before = server.get("/info", **BEARER).value["bundles"][0]
        old = server.serving.bundle()
        replace_bundle(place, larger)
        told: list[int] = []
        server.serving.tell_others = lambda: told.append(1)
        answer = server.post("/reload", {}, **BEARER)
        after = server.get("/info", **BEARER).value["bundles"][0]
        assert answer.value == {"bundles": [{"name": "served", "checksum": after["checksum"]}]}
        assert (before["candidates"], after["candidates"], told) == (30, 40, [1])
        assert before["checksum"] != after["checksum"]
        with pytest.raises(UserError, match="closed"):
            len(old.retriever)


def test_a_broken_bundle_is_not_taken(shop_bundle: Path, tmp_path: Path) -> None:
    place = copied(shop_bundle, tmp_path / "served")
    with served(place, token=TOKEN) as server:
        wanted = server.post("/search", {"query": "copy"}, **BEARER).value
        (place / "query.onnx").write_bytes(b"broken")
        answer = server.post("/reload", {}, **BEARER)
        assert (answer.status, "query.onnx" in answer.error) == (409, True)
        assert server.post("/search", {"query": "copy"}, **BEARER).value == wanted
        assert server.serving.is_ready
        assert server.serving.telemetry.value("dssm_reloads_total", result="refused") == 1


def test_a_bundle_that_opens_but_cannot_answer_is_not_taken(shop_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(shop_bundle, token=TOKEN) as server:
        from dssm_lightning.retrieval.bundle.onnx_towers import OnnxTowers

        def fail(*values: Any) -> None:
            raise RuntimeError("no such operator")

        with monkeypatch.context() as patch:
            patch.setattr(OnnxTowers, "encode", fail)
            answer = server.post("/reload", {}, **BEARER)
        assert (answer.status, "no such operator" in answer.error) == (409, True)
        assert server.post("/search", {"query": "copy"}, **BEARER).status == 200


def test_a_bundle_that_cannot_be_opened_is_an_error_at_the_start(shop_bundle: Path, tmp_path: Path) -> None:
    place = copied(shop_bundle, tmp_path / "served")
    change_manifest(place, lambda values: {**values, "format": 99})
    for settings in (["/nowhere"], [str(shop_bundle), str(place)]):
        serving = Serving(ServingSettings(name_bundles(settings)))
        with pytest.raises(UserError, match=r"nowhere|format 99"):
            serving.open()
        assert not serving.bundles


def test_ten_reloads_under_load_lose_no_request(shop_bundle: Path, larger: Path, tmp_path: Path) -> None:
    place = copied(shop_bundle, tmp_path / "served")

    async def client(server: Server, stop: asyncio.Event, sizes: set[int]) -> int:
        asked = 0
        while not stop.is_set() or asked < 5:
            answer = await server.ask("POST", "/search", b'{"query": "copy file", "k": 30}', BEARER)
            assert answer.status == 200, answer.content
            sizes.add(max(int(hit["id"][1:]) for hit in answer.value["hits"]))
            asked += 1
        return asked

    async def check(server: Server) -> set[int]:
        stop, sizes = asyncio.Event(), set[int]()
        clients = [asyncio.create_task(client(server, stop, sizes)) for _ in range(6)]
        for number in range(10):
            await asyncio.to_thread(replace_bundle, place, (larger, shop_bundle)[number % 2])
            assert (await server.ask("POST", "/reload", b"{}", BEARER)).status == 200
        stop.set()
        await asyncio.gather(*clients)
        return sizes

    with served(place, token=TOKEN) as server:
        sizes = server.run(check(server))
        assert min(sizes) == 29, "the old bundle answered"
        assert max(sizes) > 29, "the new one did, too"
        assert server.serving.bundle()._in_use == 0


def test_two_reloads_at_once_are_one(shop_bundle: Path) -> None:
    with served(shop_bundle, token=TOKEN) as server:
        found = server.post_all("/reload", [{}, {}], **BEARER)
        assert sorted(answer.status for answer in found) == [200, 409]


# -- whatever a bundle holds -------------------------------------------------------------------------------------------


def test_answers_are_json_whatever_the_bundle_holds(shop_bundle: Path, tmp_path: Path) -> None:
    """Another program may have written the bundle: with NaN, and with halves of surrogate pairs."""
    place = copied(shop_bundle, tmp_path / "served")
    rows = place / "corpus" / "rows.jsonl"
    first, _, rest = rows.read_bytes().partition(b"\n")
    text = json.dumps(json.loads(first)[1]).encode()
    odd = first.replace(text, b'"\\ud800' + b"x" * (len(text) - 8) + b'"').replace(b"null", b"NaN ", 1)
    assert len(odd) == len(first) != odd.count(b"x")
    rows.write_bytes(odd + b"\n" + rest)
    refit_manifest(place)
    with served(place) as server:
        for path, body in (
            ("/search", {"query": "copy", "k": 30}),
            ("/similar", {"id": "i3", "k": 29}),
            ("/candidates", {"text": "", "k": 30}),
        ):
            hits = {hit["id"]: hit["display"] for hit in server.post(path, body).value["hits"]}
            assert hits["i0"]["text"].startswith("\\ud800xx"), path
        for path in ("/info", "/openapi.json", "/metrics"):
            answer = server.get(path)
            assert answer.status == 200, path
            assert answer.content.decode("utf-8")
        assert server.get("/info").value["bundles"][0]["candidates"] == 30
