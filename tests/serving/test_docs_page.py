"""The page /docs, as files and in a real browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="pip install fastapi")
pytest.importorskip("swagger_ui_bundle", reason="pip install swagger-ui-bundle")

from helpers.live_server import live_server
from helpers.serving import served
from starlette.testclient import TestClient

from dssm_lightning.serving import docs_page, openapi
from dssm_lightning.serving.app import build_app
from dssm_lightning.serving.serving import Serving
from dssm_lightning.serving.settings import ServingSettings, name_bundles

TOKEN = "0123456789abcdef"
FILES = [*docs_page.ASSETS, *docs_page.OWN]


@pytest.fixture(scope="module")
def client(shop_bundle: Path) -> Iterator[TestClient]:
    settings = ServingSettings(name_bundles([f"shop={shop_bundle}"]), token=TOKEN)
    with TestClient(build_app(Serving(settings))) as found:
        yield found


def test_the_page_and_its_files_need_no_token(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert set(re.findall(r'(?:src|href)="docs/([^"]+)"', page.text)) == set(FILES)
    for name in FILES:
        answer = client.get(f"/docs/{name}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(("text/css", "text/javascript"))
    assert client.get("/openapi.json").status_code == 401


def test_a_reload_meanwhile_does_not_close_what_the_document_describes(
    shop_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe = openapi.describe_bodies
    with served(f"shop={shop_bundle}") as server:

        def describe_and_reload(*arguments: Any) -> None:
            describe(*arguments)
            server.serving.bundle().retire()

        monkeypatch.setattr(openapi, "describe_bodies", describe_and_reload)
        answer = server.get("/openapi.json")
        assert answer.status == 200
        assert answer.value["paths"]["/search"]["post"]["requestBody"]["content"]["application/json"]["examples"]


def test_nothing_is_inline_and_nothing_is_elsewhere(client: TestClient) -> None:
    page = client.get("/docs").text
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|https?://", page)
    assert "unsafe" not in client.get("/docs").headers["content-security-policy"]
    for name in docs_page.OWN:
        assert "http" not in client.get(f"/docs/{name}").text


@pytest.mark.parametrize("name", ["x", "docs.html", "..%2fguard.py", "%2e%2e", "swagger-ui.css.map", "DOCS.JS"])
def test_other_files_are_not_served(client: TestClient, name: str) -> None:
    answer = client.get(f"/docs/{name}", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 404
    assert set(answer.json()) == {"error", "error_type"}


def test_without_the_package_the_line_that_installs_it_is_named(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name=name)

    docs_page._asset.cache_clear()
    monkeypatch.setattr(docs_page, "import_module", missing)
    answer = client.get("/docs/swagger-ui.css")
    assert answer.status_code == 503
    assert "pip install swagger-ui-bundle" in answer.json()["error"]


# -- in a browser ------------------------------------------------------------------------------------------------------


class Seen:
    """What a page wrote to the console and asked for."""

    def __init__(self, page: Any) -> None:
        self.errors: list[str] = []
        self.addresses: list[str] = []
        page.on("console", lambda message: message.type in ("error", "warning") and self.errors.append(message.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.addresses.append(request.url))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=60_000)
        yield found
        found.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context()
    context.set_default_timeout(30_000)
    yield context.new_page()
    context.close()


def ask_the_first_example(page: Any) -> str:
    """Send the example of /search, as a person does, and return what is shown of the answer."""
    operation = page.locator("#operations-search-search")
    operation.get_by_role("button").first.click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    text: str = operation.locator(".live-responses-table .response").first.inner_text()
    return text


def test_a_person_asks_an_example(page: Any, shop_bundle: Path) -> None:
    with live_server(f"shop={shop_bundle}") as address:
        seen = Seen(page)
        page.goto(f"{address}/docs")
        assert "200" in ask_the_first_example(page)
        page.locator("#operations-search-encode").get_by_role("button").first.click()
        page.locator(".model-container .model-box-control").first.click()
        assert page.locator(".opblock-summary-path").count() > 10
        assert not seen.errors
        assert all(each.startswith((address, "data:")) for each in seen.addresses)


def test_the_token_that_a_person_types_is_used(page: Any, shop_bundle: Path) -> None:
    with live_server(f"shop={shop_bundle}", token=TOKEN) as address:
        page.goto(f"{address}/docs")
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Open").click()
        page.get_by_text("does not hold this server's token").wait_for()
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_label("Token").press("Enter")
        assert "200" in ask_the_first_example(page)
        assert not page.get_by_label("Token").is_visible()
        seen = Seen(page)
        page.reload()
        page.locator(".opblock-summary-path").first.wait_for()
        assert not seen.errors, "the tab keeps the token"
        assert TOKEN not in " ".join(seen.addresses)


def test_a_server_that_is_gone_is_told(page: Any, shop_bundle: Path) -> None:
    with live_server(f"shop={shop_bundle}") as address:
        page.route("**/openapi.json", lambda route: route.abort())
        page.goto(f"{address}/docs")
        page.get_by_role("alert").get_by_text("cannot be reached").wait_for()
