"""The page in a real browser: search, filters, similar candidates, comparisons, links."""

from __future__ import annotations

import re
from typing import Any

import pytest
from helpers.chromium import OpenTab, ids_of

from dssm_lightning.retrieval.retriever import Retriever

pytest_plugins = ["helpers.page_fixtures"]
pytestmark = [pytest.mark.timeout(120), pytest.mark.flaky(reruns=1)]  # a busy machine stops a browser for seconds


def box(page: Any, place: int = 0) -> Any:
    return page.locator("#query input[type=search]").nth(place)


# -- search ------------------------------------------------------------------------------------------------------------


def test_results_appear_while_one_types(tab: OpenTab, shop: Retriever) -> None:
    found = tab()
    box(found.page).press_sequentially("copy file", delay=20)
    wanted = shop.search("copy file", 24)
    found.wait_for_hits(ids_of(wanted))
    card = found.page.locator(".hit").first
    assert card.locator("h3").inner_text() == wanted[0].display["text"]
    assert float(card.locator(".place").inner_text().split()[-1]) == pytest.approx(wanted[0].score, abs=0.01)
    assert found.page.locator(".summary[role=status]", has_text="24 results").is_visible()
    assert "ms" in found.page.locator(".pane .summary, section .summary").first.inner_text()
    assert found.page.title() == "copy file – shop"
    assert found.is_quiet()


def test_an_answer_that_comes_late_is_dropped(tab: OpenTab, shop: Retriever) -> None:
    found, held = tab(), []

    def hold(route: Any) -> None:
        if '"copy"' in route.request.post_data:
            held.append(route)
        else:
            route.continue_()

    found.page.route("**/search", hold)
    box(found.page).fill("copy")
    while not held:
        found.page.wait_for_timeout(20)
    box(found.page).fill("copy file")
    found.wait_for_hits(ids_of(shop.search("copy file", 24)))
    held[0].fulfill(json={"hits": [], "truncated": [], "bundle": "shop"})
    found.page.wait_for_timeout(200)
    assert found.hits() == ids_of(shop.search("copy file", 24))


def test_what_is_typed_is_one_entry_of_the_history(tab: OpenTab, shop: Retriever) -> None:
    found = tab("#q=move")
    box(found.page).press("End")
    box(found.page).press_sequentially(" file", delay=120)
    found.wait_for_hits(ids_of(shop.search("move file", 24)))
    assert found.page.url.endswith("#q=move+file")
    found.page.go_back()
    found.wait_for_hits(ids_of(shop.search("move", 24)))
    assert box(found.page).input_value() == "move"


def test_an_empty_box_shows_the_start(tab: OpenTab) -> None:
    found = tab("#q=copy")
    box(found.page).fill("   ")
    found.page.locator("#welcome").wait_for()
    assert found.hits() == []
    assert found.page.locator(".alert:not(:empty)").count() == 0
    assert found.is_quiet()


def test_the_number_of_results_and_the_weight_of_words(tab: OpenTab, shop: Retriever) -> None:
    found = tab("#q=copy+file")
    found.page.locator("select[name=k]").select_option("12")
    found.wait_for_hits(ids_of(shop.search("copy file", 12)))
    found.page.get_by_label("Shared words").fill("1")
    found.wait_for_hits(ids_of(shop.search("copy file", 12, hybrid=1.0)))
    assert found.page.locator("#hybrid-now").inner_text() == "× 1"
    assert "hybrid=1" in found.page.url
    assert found.is_quiet()


def test_no_more_is_asked_for_than_there_is(tab: OpenTab, shop: Retriever) -> None:
    found = tab("#q=copy&k=5000")
    assert found.hits() == ids_of(shop.search("copy", 30))
    found = tab('#similar="i3"&k=5000')
    assert len(found.hits()) == 29
    assert found.is_quiet()


# -- filters -----------------------------------------------------------------------------------------------------------


def test_boxes_are_composed_to_a_filter(tab: OpenTab, shop: Retriever) -> None:
    found = tab("#q=copy")
    panel = found.page.locator("#filters")
    panel.get_by_label("red", exact=True).check()
    found.wait_for_hits(ids_of(shop.search("copy", 24, filter="tags = 'red'")))
    panel.get_by_label("yes", exact=True).check()
    wanted = ids_of(shop.search("copy", 24, filter="tags = 'red' and sold"))
    found.wait_for_hits(wanted)
    assert found.page.locator("#filters-on").inner_text() == "(2)"
    found.page.reload()
    found.wait_for_hits(wanted)
    assert panel.get_by_label("red", exact=True).is_checked()
    panel.get_by_text("Clear filters").click()
    found.wait_for_hits(ids_of(shop.search("copy", 24)))
    assert not panel.get_by_label("red", exact=True).is_checked()
    assert found.is_quiet()


def test_ranges_of_numbers_and_dates(tab: OpenTab, shop: Retriever) -> None:
    found = tab("#q=copy")
    found.page.get_by_label("price from").fill("3.5")
    found.page.get_by_label("price from").press("Enter")
    found.wait_for_hits(ids_of(shop.search("copy", 24, filter="price >= 3.5")))
    found.page.get_by_label("made to").fill("2014-06-01")
    found.page.get_by_label("made to").press("Tab")
    found.wait_for_hits(ids_of(shop.search("copy", 24, filter="price >= 3.5 and made <= '2014-06-01'")))
    found.page.get_by_label("price to").fill("many")
    found.page.get_by_label("price to").press("Enter")
    assert found.page.get_by_text("“many” is no number.").is_visible()
    assert "max.price" not in found.page.url
    assert found.is_quiet()


def test_a_condition_of_ones_own(tab: OpenTab, shop: Retriever) -> None:
    found = tab("#q=copy&in.tags=new")
    found.page.get_by_text("Your own condition").click()
    found.page.get_by_label("Your own condition").fill("price < 4 or not sold")
    found.page.get_by_label("Your own condition").press("Enter")
    found.wait_for_hits(ids_of(shop.search("copy", 24, filter="tags = 'new' and (price < 4 or not sold)")))
    assert found.is_quiet()


def test_a_filter_that_nothing_fits(tab: OpenTab) -> None:
    found = tab("#q=copy&where=price+%3E+1000")
    found.page.get_by_text("Nothing fits.").wait_for()
    assert found.hits() == []
    assert found.is_quiet()


def test_texts_are_quoted(tab: OpenTab, films: Retriever) -> None:
    found = tab("#bundle=films&q.words=film&q.mood=happy&q.age=30&k=20")
    found.page.locator("#filters").get_by_label("It's \\ odd").check()
    found.wait_for_hits(ids_of(films.search(FILM, 20, filter="genres = 'It\\'s \\\\ odd'")))
    assert found.is_quiet()


def test_whole_numbers_are_exact(tab: OpenTab, films: Retriever) -> None:
    """JavaScript would round 9007199254740995 to …996."""
    found = tab("#bundle=films&q.words=film&q.mood=happy&q.age=30&k=20")
    assert "9007199254740995" in found.page.locator("#panes").inner_text()
    found.page.get_by_label("votes from").fill("9007199254741021")
    found.page.get_by_label("votes from").press("Enter")
    wanted = ids_of(films.search(FILM, 20, filter="votes >= 9007199254741021"))
    assert len(wanted) == 6
    found.wait_for_hits(wanted)


FILM: dict[str, Any] = {"words": "film", "mood": "happy", "age": 30}


# -- similar candidates, and the way back ------------------------------------------------------------------------------


def test_similar_and_back(tab: OpenTab, shop: Retriever) -> None:
    found = tab("#q=copy+file")
    first = found.hits()[0]
    found.page.locator(".hit").first.click()
    found.wait_for_hits(ids_of(shop.similar(first, 24)))
    assert found.page.get_by_role("heading", name=re.compile("^Similar to ")).is_visible()
    second = found.hits()[0]
    found.page.locator(".hit").first.click()
    found.wait_for_hits(ids_of(shop.similar(second, 24)))
    found.page.get_by_text("← Back").click()
    found.wait_for_hits(ids_of(shop.similar(first, 24)))
    found.page.go_back()
    found.wait_for_hits(ids_of(shop.search("copy file", 24)))
    assert found.page.locator("#back").is_hidden()
    found.page.go_forward()
    found.wait_for_hits(ids_of(shop.similar(first, 24)))
    assert found.is_quiet()


def test_a_link_to_similar_ones_stands_alone(tab: OpenTab, shop: Retriever) -> None:
    found = tab('#q=copy&in.tags=red&similar="i4"')
    wanted = shop.similar("i4", 24, filter="tags = 'red'")
    assert found.hits() == ids_of(wanted)
    title = shop.search("x", 30, filter="item = 'i4'")[0].display["text"]
    found.page.get_by_role("heading", name=f"Similar to {title}").wait_for()
    found.page.get_by_text("← Back").click()
    found.wait_for_hits(ids_of(shop.search("copy", 24, filter="tags = 'red'")))
    assert found.is_quiet()


def test_typing_leaves_the_similar_ones(tab: OpenTab, shop: Retriever) -> None:
    found = tab('#similar="i4"')
    box(found.page).fill("move")
    found.wait_for_hits(ids_of(shop.search("move", 24)))
    assert "similar" not in found.page.url


def test_a_candidate_that_is_gone(tab: OpenTab) -> None:
    found = tab('#similar="i99"')
    alert = found.page.locator(".alert:not(:empty)")
    assert "i99" in alert.inner_text()
    assert alert.get_by_text("Try now").count() == 0
    assert found.hits() == []


# -- comparisons -------------------------------------------------------------------------------------------------------


def marks(found: Any, place: int) -> list[str]:
    return [each.inner_text() for each in found.page.locator("#panes > section").nth(place).locator(".mark").all()]


def wanted_marks(own: list[str], other: list[str]) -> list[str]:
    return [f"#{other.index(each) + 1}" if each in other else "only here" for each in own]


def check_comparison(found: Any, left: list[str], right: list[str]) -> None:
    found.wait_for_hits(left, 0)
    found.wait_for_hits(right, 1)
    for place, (own, other) in enumerate([(left, right), (right, left)]):
        for said, wanted in zip(marks(found, place), wanted_marks(own, other), strict=True):
            assert wanted in said
    both = len(set(left) & set(right))
    said = found.page.locator("#agreement").inner_text()
    assert said == f"Both found {both}; only the first found {len(left) - both}, only the second {len(right) - both}."


def test_two_queries(tab: OpenTab, shop: Retriever) -> None:
    found = tab("#q=copy+file&k=12")
    found.page.get_by_text("Queries", exact=True).click()
    assert found.page.evaluate("document.activeElement === document.querySelectorAll('#query input')[1]")
    box(found.page, 1).press_sequentially("move folder", delay=10)
    left, right = ids_of(shop.search("copy file", 12)), ids_of(shop.search("move folder", 12))
    check_comparison(found, left, right)
    moved = next(place for place, each in enumerate(left) if each in right and right.index(each) != place)
    step = right.index(left[moved]) - moved
    assert f"{'▲' if step > 0 else '▼'} {abs(step)}" in marks(found, 0)[moved]
    found.page.reload()
    check_comparison(found, left, right)
    found.page.get_by_text("Off", exact=True).click()
    found.wait_for_hits(left)
    assert found.page.locator("#panes > section").nth(1).is_hidden()
    assert found.page.locator(".mark").count() == 0
    assert found.is_quiet()


def test_two_bundles(tab: OpenTab, shop: Retriever, large: Retriever) -> None:
    found = tab("#q=copy+file&k=12")
    found.page.get_by_text("Bundles", exact=True).click()
    left, right = ids_of(shop.search("copy file", 12)), ids_of(large.search("copy file", 12))
    check_comparison(found, left, right)
    assert [each.inner_text() for each in found.page.locator("h2").all()[:2]] == ["shop", "large"]
    found.page.locator("#panes > section").nth(1).locator(".hit").first.click()
    check_comparison(found, ids_of(shop.similar(right[0], 12)), ids_of(large.similar(right[0], 12)))
    found.page.get_by_text("← Back").click()
    check_comparison(found, left, right)
    assert found.is_quiet()


def test_a_bundle_that_reads_other_columns_says_so(tab: OpenTab) -> None:
    found = tab("#q=copy&versus=bundle&bundle2=films")
    second = found.page.locator("#panes > section").nth(1)
    second.locator(".alert:not(:empty)").wait_for()
    assert "'words'" in second.locator(".alert").inner_text() or "mood" in second.locator(".alert").inner_text()
    assert len(found.hits(0)) == 24


def test_another_bundle(tab: OpenTab, large: Retriever) -> None:
    found = tab("#q=copy&in.tags=red")
    found.page.locator("select[name=bundle]").select_option("large")
    found.wait_for_hits(ids_of(large.search("copy", 24)))
    assert found.page.locator("#name").inner_text() == "large"
    assert found.page.locator("#facts").inner_text() == "40 candidates"
    assert found.is_quiet()


# -- links -------------------------------------------------------------------------------------------------------------


def test_a_link_to_a_bundle_that_is_not_served(tab: OpenTab, shop: Retriever) -> None:
    found = tab("#bundle=gone&q=copy")
    assert found.page.get_by_text("This server has no bundle “gone”").is_visible()
    assert found.hits() == ids_of(shop.search("copy", 24))


@pytest.mark.parametrize(
    "view",
    [
        "#q=copy&k=-7&hybrid=x&versus=none&similar={&seen",
        "#q=copy&qj.=[&rj.a=1",
        "#q=copy&in.constructor=&__proto__=1&q.__proto__=x&%zz&.=.",
    ],
)
def test_a_link_of_nonsense_breaks_nothing(tab: OpenTab, view: str) -> None:
    found = tab(view)
    box(found.page).fill("move file")
    found.page.wait_for_function("() => document.title.startsWith('move file')")
    assert not [each for each in found.complaints if "422" not in each]
    assert found.strangers() == []


def test_a_filter_of_a_column_that_is_gone_is_refused_not_ignored(tab: OpenTab) -> None:
    found = tab("#q=copy&in.colour=red")
    assert "colour" in found.page.locator(".alert:not(:empty)").inner_text()
    assert found.hits() == []


def test_the_server_is_told_no_query_by_an_address(tab: OpenTab) -> None:
    found = tab("#q=secret")
    found.page.reload()
    assert not [url for url in found.asked if "secret" in url.partition("#")[0]]
