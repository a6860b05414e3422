"""Clients that others wrote for other servers talk to this one, over a socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="pip install fastapi")
pytest.importorskip("uvicorn", reason="pip install uvicorn")

from helpers.live_server import live_server

from dssm_lightning.retrieval.retriever import Retriever

TOKEN = "0123456789abcdef"
TEXTS = ["list files", "remove a folder"]


@pytest.fixture(scope="module")
def address(shop_bundle: Path) -> Iterator[str]:
    with live_server(f"shop={shop_bundle}", token=TOKEN) as found:
        yield found


@pytest.fixture(scope="module")
def wanted(shop_bundle: Path) -> Any:
    return Retriever.load(shop_bundle).encode_query(TEXTS)


@pytest.fixture
def openai(address: str) -> Iterator[Any]:
    package = pytest.importorskip("openai", reason="pip install openai")
    with package.OpenAI(base_url=f"{address}/v1", api_key=TOKEN, max_retries=0, timeout=20) as found:
        yield found


@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_openai_embeds(openai: Any, wanted: Any, encoding: str | None) -> None:
    options = {} if encoding is None else {"encoding_format": encoding}
    found = openai.embeddings.create(model="shop", input=TEXTS, **options)
    vectors = [each.embedding for each in found.data]
    if encoding == "base64" and isinstance(vectors[0], str):
        import base64

        vectors = [np.frombuffer(base64.b64decode(each), "<f4") for each in vectors]
    np.testing.assert_allclose(np.array(vectors, np.float32), wanted, atol=1e-6)
    assert found.model == "shop"
    assert found.usage.prompt_tokens == found.usage.total_tokens == 5


def test_openai_lists_models(openai: Any) -> None:
    assert [each.id for each in openai.models.list()] == ["shop", "shop:candidate"]
    assert openai.models.retrieve("shop").owned_by == "dssm-lightning"


def test_openai_has_our_errors(openai: Any, address: str) -> None:
    """Its message has the status alone, unless a server writes errors as OpenAI does; ``body`` has ours."""
    package = pytest.importorskip("openai", reason="pip install openai")
    with pytest.raises(package.NotFoundError, match="404") as missing:
        openai.embeddings.create(model="shopp", input="a")
    assert "'shopp'" in missing.value.body
    assert missing.value.response.json()["error_type"] == "not_found"
    assert missing.value.request_id, "of the header X-Request-ID"
    with pytest.raises(package.UnprocessableEntityError) as tokens:
        openai.embeddings.create(model="shop", input=[[1, 2, 3]])
    assert "tokens" in tokens.value.body
    with (
        package.OpenAI(base_url=f"{address}/v1", api_key="wrong", max_retries=0, timeout=20) as stranger,
        pytest.raises(package.AuthenticationError) as refused,
    ):
        stranger.models.list()
    assert "token" in refused.value.body


def test_openai_answers_many_at_once(address: str, wanted: Any) -> None:
    """The asynchronous client, as a web server uses it."""
    package = pytest.importorskip("openai", reason="pip install openai")
    import asyncio

    async def ask() -> list[Any]:
        async with package.AsyncOpenAI(base_url=f"{address}/v1", api_key=TOKEN, max_retries=0, timeout=30) as client:
            return await asyncio.gather(
                *(client.embeddings.create(model="shop", input=TEXTS[n % 2]) for n in range(20))
            )

    for number, found in enumerate(asyncio.run(ask())):
        np.testing.assert_allclose(np.array(found.data[0].embedding, np.float32), wanted[number % 2], atol=1e-6)


@pytest.mark.parametrize("path", ["", "/embed"])
def test_hugging_face_embeds(address: str, wanted: Any, path: str) -> None:
    """Its client of text-embeddings-inference, with the address of the server or of /embed."""
    package = pytest.importorskip("huggingface_hub", reason="pip install huggingface-hub")
    client = package.InferenceClient(model=f"{address}{path}", token=TOKEN, timeout=20)
    for text, row in zip(TEXTS, wanted, strict=True):
        np.testing.assert_allclose(client.feature_extraction(text), row[None], atol=1e-6)
    found = client.feature_extraction(
        TEXTS[0], normalize=True, prompt_name="query", truncate=True, truncation_direction="Right"
    )
    np.testing.assert_allclose(np.linalg.norm(found), 1, atol=1e-5)


def test_hugging_face_shows_our_errors(address: str) -> None:
    package = pytest.importorskip("huggingface_hub", reason="pip install huggingface-hub")
    client = package.InferenceClient(model=f"{address}/embed", token=TOKEN, timeout=20)
    with pytest.raises(Exception, match=r"prompt_name.*passage"):
        client.feature_extraction("a", prompt_name="passage")
    with pytest.raises(Exception, match="401"):
        package.InferenceClient(model=f"{address}/embed", token="wrong", timeout=20).feature_extraction("a")
