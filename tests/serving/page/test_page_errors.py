"""The page in a real browser when something goes wrong: refusals, a busy server, no server, a token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.chromium import FOUR_PICTURES, OpenTab, Tab, ids_of
from helpers.live_server import live_server

from dssm_lightning.retrieval.retriever import Retriever

pytest_plugins = ["helpers.page_fixtures"]
pytestmark = [pytest.mark.timeout(120), pytest.mark.flaky(reruns=1)]  # a busy machine stops a browser for seconds


def alert(found: Tab) -> Any:
    shown = found.page.locator(".alert:not(:empty)")
    shown.wait_for()
    return shown


def answer(status: int, message: str, times: int = 1, **headers: str) -> Any:
    """A handler that answers some requests so, and lets the others through."""
    left = [times]

    def handle(route: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            route.continue_()
        else:
            route.fulfill(status=status, json={"error": message, "error_type": "test"}, headers=headers)

    return handle


def test_a_refusal_is_shown_in_the_servers_words(tab: OpenTab, shop: Retriever) -> None:
    found = tab("#q=copy&where=prize+%3E+3")
    assert "The server refuses this" in alert(found).inner_text()
    assert "'prize'" in alert(found).inner_text()
    assert "did you mean 'price'?" in alert(found).inner_text()
    assert alert(found).get_attribute("role") == "alert"
    assert found.page.get_by_text("Try now").count() == 0, "the same question gets the same answer"
    found.page.get_by_label("Your own condition").fill("price > 3")
    found.page.get_by_label("Your own condition").press("Enter")
    found.wait_for_hits(ids_of(shop.search("copy", 24, filter="price > 3")))
    assert found.page.locator(".alert:not(:empty)").count() == 0
    assert found.strangers() == []


def test_a_text_that_is_too_long(tab: OpenTab) -> None:
    found = tab()
    found.page.locator("#query input").fill("x" * 10_001)
    assert "10,000" in alert(found).inner_text()
    assert found.hits() == []


def test_a_busy_server_is_asked_again_when_it_said(tab: OpenTab, shop: Retriever) -> None:
    found = tab()
    found.page.route("**/search", answer(429, "1,024 queries wait", **{"Retry-After": "2"}))
    found.page.locator("#query input").fill("copy")
    shown = alert(found)
    assert "The server is busy" in shown.inner_text()
    assert "Trying again in 2 s." in shown.inner_text()
    asked = len([url for url in found.asked if url.endswith("/search")])
    found.page.wait_for_timeout(900)
    assert len([url for url in found.asked if url.endswith("/search")]) == asked, "it waits"
    found.wait_for_hits(ids_of(shop.search("copy", 24)))


def test_nobody_need_wait(tab: OpenTab, shop: Retriever) -> None:
    found = tab()
    found.page.route("**/search", answer(503, "the bundles are being loaded", **{"Retry-After": "600"}))
    found.page.locator("#query input").fill("copy")
    assert "the bundles are being loaded" in alert(found).inner_text()
    found.page.get_by_text("Try now").click()
    found.wait_for_hits(ids_of(shop.search("copy", 24)))


def test_another_query_ends_the_wait(tab: OpenTab, shop: Retriever) -> None:
    found = tab()
    found.page.route("**/search", answer(429, "busy", **{"Retry-After": "1"}))
    found.page.locator("#query input").fill("copy")
    alert(found)
    found.page.locator("#query input").fill("move")
    found.wait_for_hits(ids_of(shop.search("move", 24)))
    asked = len(found.asked)
    found.page.wait_for_timeout(1500)
    assert len(found.asked) == asked, "the query before is not asked again"


@pytest.mark.parametrize(("status", "said"), [(504, "The server took too long"), (500, "This did not work")])
def test_other_errors_can_be_tried_again(tab: OpenTab, shop: Retriever, status: int, said: str) -> None:
    found = tab()
    found.page.route("**/search", answer(status, "no answer after 30 s"))
    found.page.locator("#query input").fill("copy")
    assert said in alert(found).inner_text()
    assert "no answer after 30 s" in alert(found).inner_text()
    found.page.wait_for_timeout(300)
    assert found.hits() == []
    found.page.get_by_text("Try now").click()
    found.wait_for_hits(ids_of(shop.search("copy", 24)))


def test_an_answer_of_something_between(tab: OpenTab) -> None:
    """Such as the error page of a proxy."""
    found = tab()
    found.page.route("**/search", lambda route: route.fulfill(status=502, body="<h1>Bad <b>gateway</b></h1>"))
    found.page.locator("#query input").fill("copy")
    assert "502" in alert(found).inner_text()
    assert "gateway" not in alert(found).inner_text()


def test_slow_answers_are_told(tab: OpenTab) -> None:
    found, held = tab(), []
    found.page.route("**/search", lambda route: held.append(route))
    found.page.locator("#query input").fill("copy")
    found.page.locator("section[aria-busy=true]").get_by_text("Searching …").wait_for()
    held[0].continue_()
    found.page.locator(".hit").first.wait_for()
    assert found.page.locator("[aria-busy]").count() == 0


# -- no server ---------------------------------------------------------------------------------------------------------


def test_a_server_that_was_stopped(browser: Any, shop_bundle: Path) -> None:
    with live_server(f"shop={shop_bundle}") as at:
        found = Tab(browser, at)
        found.open("#q=copy")
    try:
        assert len(found.hits()) == 24
        found.page.locator("#query input").fill("move")
        assert "No connection" in alert(found).inner_text()
        assert "Is it still running?" in alert(found).inner_text()
        assert found.hits() == [], "what was found before is no answer"
        assert found.strangers() == []
    finally:
        found.close()


def test_the_page_comes_back_by_itself(tab: OpenTab, shop: Retriever) -> None:
    found = tab()
    lost = [True]
    found.page.route("**/search", lambda route: route.abort() if lost[0] else route.continue_())
    found.page.locator("#query input").fill("copy")
    assert "Trying again in 3 s." in alert(found).inner_text()
    lost[0] = False
    found.wait_for_hits(ids_of(shop.search("copy", 24)))


def test_a_server_that_is_not_ready_yet(browser: Any, address: str) -> None:
    found = Tab(browser, address)
    try:
        found.page.route("**/info", answer(503, "the bundles are being loaded"))
        found.open("#q=copy")
        assert "the bundles are being loaded Trying again." in alert(found).inner_text()
        found.page.locator(".hit").first.wait_for()
        assert found.page.locator(".alert:not(:empty)").count() == 0
    finally:
        found.close()


# -- a token -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(shop_bundle: Path, film_bundle: Path) -> Any:
    """The address of a server that asks for a token."""
    with live_server(f"shop={shop_bundle}", f"films={film_bundle}", token="open-sesame") as found:
        yield found


def give(found: Tab, token: str) -> None:
    found.page.get_by_label("Token, of DSSM_API_TOKEN").fill(token)
    found.page.keyboard.press("Enter")


def test_a_token_is_asked_for(tab: OpenTab, guarded: str, shop: Retriever) -> None:
    found = tab("#q=copy", at=guarded)
    assert found.page.get_by_role("dialog", name="This server asks for a token").is_visible()
    assert found.violations() == []
    give(found, "wrong")
    found.page.get_by_text("The server refuses this token. Is a letter missing?").wait_for()
    assert found.hits() == []
    give(found, "open-sesame")
    found.wait_for_hits(ids_of(shop.search("copy", 24)))
    assert found.page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
    assert "sesame" not in found.page.url
    found.page.reload()
    found.wait_for_hits(ids_of(shop.search("copy", 24)))
    assert not [each for each in found.complaints if "401" not in each]
    assert found.strangers() == []


def test_pictures_are_shown_with_the_token(tab: OpenTab, guarded: str) -> None:
    found = tab("#bundle=films&q.words=film&q.mood=happy&q.age=30&k=12", at=guarded)
    give(found, "open-sesame")
    found.page.locator(".hit").first.wait_for()
    found.page.wait_for_function(FOUR_PICTURES)
    assert found.page.locator(".hit img").first.get_attribute("src").startswith("blob:")


def test_a_token_that_is_changed_is_asked_for_again(tab: OpenTab, guarded: str, shop: Retriever) -> None:
    found = tab("#q=copy", at=guarded)
    give(found, "open-sesame")
    found.wait_for_hits(ids_of(shop.search("copy", 24)))
    found.page.evaluate("sessionStorage.setItem('dssm-token', 'old')")
    found.page.locator("#query input").fill("move")
    found.page.get_by_role("dialog", name="This server asks for a token").wait_for()
    give(found, "open-sesame")
    found.wait_for_hits(ids_of(shop.search("move", 24)))
