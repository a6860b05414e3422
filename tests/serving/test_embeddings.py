"""Embeddings as other servers' clients ask for them: TEI's /embed, OpenAI's /v1/embeddings and /v1/models."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="pip install fastapi")
pytest.importorskip("httpx", reason="pip install httpx")

from starlette.testclient import TestClient

from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.serving.app import build_app
from dssm_lightning.serving.routes.embeddings import TRUNCATED
from dssm_lightning.serving.serving import Serving
from dssm_lightning.serving.settings import Limits, ServingSettings, name_bundles

TEXTS = ["list files", "remove a folder"]


@pytest.fixture(scope="module")
def retriever(shop_bundle: Path) -> Retriever:
    return Retriever.load(shop_bundle)


@pytest.fixture(scope="module")
def client(shop_bundle: Path) -> Iterator[TestClient]:
    bundles = name_bundles([f"shop={shop_bundle}", f"other={shop_bundle}"])
    with TestClient(build_app(Serving(ServingSettings(bundles, Limits(max_batch=4, max_text=50))))) as found:
        yield found


@pytest.fixture(scope="module")
def films(exported_history: Path) -> Iterator[TestClient]:
    """Queries of several columns."""
    settings = ServingSettings(name_bundles([f"films={exported_history / 'bundle'}"]))
    with TestClient(build_app(Serving(settings))) as found:
        yield found


def refusal(answer: Any) -> tuple[int, str]:
    assert set(answer.json()) == {"error", "error_type"}
    return answer.status_code, answer.json()["error"]


def close(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(np.array(found, np.float32), wanted, atol=1e-6)


# -- TEI ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/embed", "/"])
def test_embeddings_are_those_of_the_model(client: TestClient, retriever: Retriever, path: str) -> None:
    close(client.post(path, json={"inputs": TEXTS}).json(), retriever.encode_query(TEXTS))
    close(client.post(path, json={"inputs": TEXTS[0]}).json(), retriever.encode_query(TEXTS[:1]))


@pytest.mark.parametrize("name", [None, "query", "candidate"])
def test_the_prompt_names_the_tower(client: TestClient, retriever: Retriever, name: str | None) -> None:
    found = client.post("/embed", json={"inputs": TEXTS, "prompt_name": name}).json()
    encode = retriever.encode_candidate if name == "candidate" else retriever.encode_query
    close(found, encode(TEXTS))


def test_embeddings_of_length_1_by_request(client: TestClient, retriever: Retriever) -> None:
    found = np.array(client.post("/embed", json={"inputs": TEXTS, "normalize": True}).json())
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    wanted = retriever.encode_query(TEXTS)
    close(found, wanted / np.linalg.norm(wanted, axis=1, keepdims=True))
    close(client.post("/embed", json={"inputs": TEXTS, "normalize": False}).json(), wanted)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"inputs": []}, 422, ["inputs", "empty"]),
        ({"inputs": ["a"] * 5}, 413, ["inputs", "5", "4"]),
        ({"inputs": [1, 2]}, 422, ["inputs", "tokens"]),
        ({"inputs": [[1, 2], [3]]}, 422, ["inputs", "tokens"]),
        ({"inputs": ["a", 7]}, 422, ["inputs", "tokens"]),
        ({"inputs": {"text": "a"}}, 422, ["inputs"]),
        ({"inputs": None}, 422, ["inputs"]),
        ({}, 422, ["inputs"]),
        ({"inputs": ""}, 422, ["words"]),
        ({"inputs": "a" * 51}, 422, ["51", "50"]),
        ({"inputs": "a", "dimensions": 2}, 422, ["dimensions", "2"]),
        ({"inputs": "a", "dimensions": 10**30}, 422, ["dimensions"]),
        ({"inputs": "a", "prompt_name": "quary"}, 422, ["prompt_name", "quary", "did you mean 'query'"]),
        ({"inputs": "a", "truncation_direction": "left"}, 422, ["truncation_direction", "left"]),
        ({"inputs": "a", "truncate": "yes"}, 422, ["truncate"]),
        ({"inputs": "a", "input": "a"}, 422, ["'input'", "did you mean 'inputs'"]),
    ],
)
def test_what_embed_refuses(client: TestClient, body: Any, status: int, words: list[str]) -> None:
    found, message = refusal(client.post("/embed", json=body))
    assert found == status
    assert all(word in message for word in words), message


def test_the_width_may_be_asked_for(client: TestClient, retriever: Retriever) -> None:
    width = retriever.corpus.embeddings.shape[1]
    body = {"inputs": "list", "dimensions": width, "truncation_direction": "Right"}
    assert client.post("/embed", json=body).status_code == 200


def test_a_query_of_several_columns_belongs_to_encode(films: TestClient) -> None:
    for path, body in (("/embed", {"inputs": "a"}), ("/v1/embeddings", {"input": "a", "model": "films"})):
        status, message = refusal(films.post(path, json=body))
        assert status == 422
        assert "/encode" in message
        assert "history" in message, "the columns are named"


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A model that reads the first two words."""
    from helpers.bundles import make_shop_bundle

    from dssm_lightning.features import Words

    folder = tmp_path_factory.mktemp("short")
    bundle = make_shop_bundle(folder, query=[Words(name="words", max_length=2)])
    with TestClient(build_app(Serving(ServingSettings(name_bundles([f"short={bundle}"]))))) as found:
        yield found


def test_what_is_cut_off_is_told(short: TestClient) -> None:
    texts = ["list copy", "list copy move", "list"]
    status, message = refusal(short.post("/embed", json={"inputs": texts}))
    assert status == 413
    assert all(word in message for word in ("inputs[1]", "2 of 3", "truncate"))
    answer = short.post("/embed", json={"inputs": texts, "truncate": True})
    assert answer.status_code == 200
    assert answer.headers[TRUNCATED] == "1"
    assert TRUNCATED not in short.post("/embed", json={"inputs": "list"}).headers
    close(answer.json()[1], answer.json()[0])
    found = short.post("/v1/embeddings", json={"input": texts, "model": "short"}).json()
    assert [len(each) for each in found["truncated"]] == [0, 1, 0]
    (cut,) = found["truncated"][1]
    assert (cut["kept"], cut["total"], cut["unit"], cut["column"]) == (2, 3, "words", "words")


# -- OpenAI ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "side"), [("shop", "query"), ("shop:query", "query"), ("other:candidate", "candidate")]
)
def test_openai_embeddings(client: TestClient, retriever: Retriever, model: str, side: str) -> None:
    found = client.post("/v1/embeddings", json={"input": TEXTS, "model": model}).json()
    wanted = retriever.encode_query(TEXTS) if side == "query" else retriever.encode_candidate(TEXTS)
    assert set(found) == {"object", "data", "model", "usage", "truncated"}
    assert found["object"] == "list"
    assert found["model"] == model
    assert found["usage"] == {"prompt_tokens": 5, "total_tokens": 5}, "words between spaces"
    assert [(each["object"], each["index"]) for each in found["data"]] == [("embedding", 0), ("embedding", 1)]
    close([each["embedding"] for each in found["data"]], wanted)


def test_base64_is_little_endian_float32(client: TestClient, retriever: Retriever) -> None:
    body = {"input": TEXTS[0], "model": "shop", "encoding_format": "base64"}
    (found,) = client.post("/v1/embeddings", json=body).json()["data"]
    numbers = np.frombuffer(base64.b64decode(found["embedding"]), "<f4")
    np.testing.assert_allclose(numbers, retriever.encode_query(TEXTS[0])[0], atol=1e-6)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"input": "a", "model": "shopp"}, 404, ["shopp", "shop", "other"]),
        ({"input": "a", "model": "shop:document"}, 404, ["shop:document", "name:candidate"]),
        ({"input": "a", "model": ""}, 404, ["shop"]),
        ({"input": "a", "model": "x" * 100_000}, 404, ["shop"]),
        ({"input": "a"}, 422, ["model"]),
        ({"input": [[1, 2]], "model": "shop"}, 422, ["input", "tokens"]),
        ({"input": [5], "model": "shop"}, 422, ["input", "tokens"]),
        ({"input": [], "model": "shop"}, 422, ["input", "empty"]),
        ({"input": ["a"] * 5, "model": "shop"}, 413, ["input", "5"]),
        ({"input": "a", "model": "shop", "encoding_format": "base46"}, 422, ["encoding_format", "base64"]),
        ({"input": "a", "model": "shop", "dimensions": 3}, 422, ["dimensions", "3"]),
    ],
)
def test_what_openai_embeddings_refuse(client: TestClient, body: Any, status: int, words: list[str]) -> None:
    found, message = refusal(client.post("/v1/embeddings", json=body))
    assert found == status
    assert all(word in message for word in words), message
    assert len(message) < 500


def test_models(client: TestClient) -> None:
    found = client.get("/v1/models").json()
    assert found["object"] == "list"
    assert [each["id"] for each in found["data"]] == ["shop", "shop:candidate", "other", "other:candidate"]
    for each in found["data"]:
        assert client.get(f"/v1/models/{each['id']}").json() == each
        assert each["object"] == "model"
        assert each["created"] > 1.6e9, "when the bundle was written"
    assert refusal(client.get("/v1/models/nothing"))[0] == 404


def test_many_texts_are_one_batch(client: TestClient, retriever: Retriever) -> None:
    texts = ["list", "copy the file", "show time", "print"]
    found = client.post("/v1/embeddings", json={"input": texts, "model": "shop"}).json()
    close([each["embedding"] for each in found["data"]], retriever.encode_query(texts))
